-- Where a session was last used from.

alter table auth.sessions
    -- Null until the session is refreshed.
    add column refresh_ip_address inet;
