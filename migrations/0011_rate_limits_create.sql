-- How many requests each subject was granted in its window, by all replicas together.

-- Unlogged: to lose it in a crash costs one window of accuracy. Room on each page
-- and no further index, so that an update stays on its page.
create unlogged table auth.rate_limits
(
    -- A user, an API key or an address, as in "user:0190…".
    subject    text primary key,
    granted    bigint      not null,
    -- What the last request for a lease was granted.
    last_grant bigint      not null,
    ends_at    timestamptz not null
) with (fillfactor = 50);

-- Leases up to `wanted` requests of the subject's window, which begins with its
-- first lease. Never more than half of what is left, so that no replica holds
-- much of what another one needs; `remaining` is what is left then.
create function auth.lease_requests(subject text, wanted bigint, max_requests bigint, window_ms bigint)
    returns table (granted bigint, remaining bigint, resets_in_ms bigint)
    language sql security definer
    set search_path = ''
as $$
    insert into auth.rate_limits as r (subject, granted, last_grant, ends_at)
    values (subject, least(wanted, max_requests), least(wanted, max_requests),
            now() + window_ms * interval '1 millisecond')
    on conflict on constraint rate_limits_pkey do update set
        granted = case
            when r.ends_at <= now() then excluded.granted
            else r.granted + greatest(least(wanted, (max_requests - r.granted + 1) / 2), 0)
        end,
        last_grant = case
            when r.ends_at <= now() then excluded.granted
            else greatest(least(wanted, (max_requests - r.granted + 1) / 2), 0)
        end,
        -- A window that was made shorter is shorter at once.
        ends_at = case
            when r.ends_at <= now() then excluded.ends_at
            else least(r.ends_at, excluded.ends_at)
        end
    returning r.last_grant, greatest(max_requests - r.granted, 0),
              greatest(ceil(extract(epoch from r.ends_at - now()) * 1000), 1)::bigint
$$;

revoke all on function auth.lease_requests(text, bigint, bigint, bigint) from public;
grant execute on function auth.lease_requests(text, bigint, bigint, bigint) to ihuman_auth, ihuman_catalog;
grant select, delete on auth.rate_limits to ihuman_auth;
