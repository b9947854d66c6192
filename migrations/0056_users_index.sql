-- The few accounts of programs among many of people, newest first.
create index users_service_account_idx on auth.users (user_id desc) where kind = 'service_account';
