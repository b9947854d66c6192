//! The plans of the queries that lists and housekeeping run, at a realistic size.

use ihuman_shared::access::Role;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgRow};

use crate::support::Auth;

const USERS: &str = include_str!("../src/users/store.rs");
const SEARCH: &str = include_str!("../src/users/store/search.sql");
const SESSIONS: &str = include_str!("../src/sessions/store.rs");
const REFRESH_TOKENS: &str = include_str!("../src/auth/store.rs");
const API_KEYS: &str = include_str!("../src/api_keys/store.rs");
const SETTINGS: &str = include_str!("../src/settings/store.rs");
const LOCKS: &str = include_str!("../src/locks/store.rs");
const PASSKEYS: &str = include_str!("../src/passkeys/store.rs");
const USER_IMPORTS: &str = include_str!("../src/user_imports/store.rs");
const REVOCATIONS: &str = include_str!("../src/revocations/store.rs");
const CHALLENGES: &str = include_str!("../src/auth/store/challenge.rs");
const MFA: &str = include_str!("../src/mfa/store.rs");
const MAILS: &str = include_str!("../src/mail/store.rs");
const EMAIL_TOKENS: &str = include_str!("../src/emails/store.rs");
const IDEMPOTENCY: &str = include_str!("../../shared/src/idempotency/store.rs");

/// How plans may be made: a prepared statement that ran five times may get one plan
/// for whatever it is asked.
const BOTH: [&str; 2] = [
    "begin; set local plan_cache_mode = force_custom_plan",
    "begin; set local plan_cache_mode = force_generic_plan",
];

const CUTOFF: &str = "now() - interval '30 days'";

/// What a team of years leaves behind, made by SQL as that is quicker: most of it is
/// somebody else's, and little of it is due to be forgotten.
const HISTORY: &str = "
    insert into auth.users (user_id, kind, email, display_name, password_hash, role, state)
    select gen_random_uuid(), 'person', 'name' || n || '@example.com', 'Name' || n, repeat('x', 97),
        case when n % 400 = 0 then 'developer' else 'viewer' end,
        case when n % 500 = 0 then 'deactivated' else 'active' end
    from generate_series(1, 60000) n;
    insert into auth.users (user_id, kind, display_name, role)
    select gen_random_uuid(), 'service_account', 'Robot' || n, 'service' from generate_series(1, 150) n;

    insert into auth.sessions (session_id, user_id, auth_time, refreshed_at, expires_at, created_at)
    select gen_random_uuid(), user_id, t, t, t + interval '7 days', t
    from (select user_id, now() - random() * interval '31 days' as t from auth.users where kind = 'person') u;
    insert into auth.refresh_tokens (token_hash, session_id, expires_at)
    select sha256(session_id::text::bytea), session_id, expires_at from auth.sessions;
    insert into auth.api_keys (api_key_id, user_id, name, scopes, secret_hash, expires_at)
    select gen_random_uuid(), user_id, 'key', '{}', '', now() + random() * interval '90 days' from auth.users;
    insert into auth.settings (user_id, name, value) select user_id, 'theme', '1' from auth.users;
    insert into auth.locks (kind, scope, subject_hash, user_id, failures, failed_at, wait_until)
    select 'password', 'account', sha256(user_id::text::bytea), user_id, 1, t, t
    from (select user_id, now() - random() * interval '31 days' as t from auth.users) u;
    insert into auth.passkeys (passkey_id, user_id, credential_id, public_key, sign_count, name, transports,
        user_verifying, backup_eligible, backed_up)
    select gen_random_uuid(), user_id, sha256(user_id::text::bytea), repeat('x', 77)::bytea, 0, 'key', '{}',
        true, false, false from auth.users where kind = 'person';
    insert into auth.used_passkey_challenges (nonce, expires_at)
    select sha256(n::text::bytea), now() + random() * interval '62 minutes' - interval '61 minutes'
    from generate_series(1, 20000) n;
    insert into auth.user_imports (user_import_id, results, created_at)
    select gen_random_uuid(), jsonb_build_object('results', repeat('x', 100)),
        now() - random() * interval '26 hours' from generate_series(1, 5000);
    insert into auth.idempotency_keys (principal_id, method, request_id, request_digest, entity_id, created_at)
    select gen_random_uuid(), 'CreateApiKey', gen_random_uuid(), '', gen_random_uuid(),
        now() - random() * interval '25 hours' from generate_series(1, 20000);
    insert into auth.login_challenges (challenge_hash, user_id, token_version, expires_at)
    select sha256(user_id::text::bytea), user_id, 1, now() + random() * interval '61 minutes' - interval '1 minute'
    from auth.users where kind = 'person';
    insert into auth.totps (user_id, is_confirmed, mfa_secret_sealed, expires_at, created_at)
    select user_id, false, '', now() + random() * interval '61 minutes' - interval '1 minute', now()
    from auth.users where kind = 'person';
    insert into auth.mails (mail_id, kind, user_id, created_at)
    select gen_random_uuid(), 'password_changed', user_id, now() - random() * interval '31 days'
    from auth.users where kind = 'person';
    insert into auth.email_tokens (user_id, kind, mail_id, token_hash, email, token_version, expires_at)
    select user_id, 'verify_email', gen_random_uuid(), sha256(user_id::text::bytea), email, 1,
        now() + random() * interval '61 hours' - interval '1 hour'
    from auth.users where kind = 'person';
    insert into auth.revocations (revocation_id, xact, kind, subject_id, expires_at)
    select gen_random_uuid(), n, 'session', gen_random_uuid(), now() + random() * interval '1 hour'
    from generate_series(1, 20000) n;
    analyze";

/// The statement of a function of a store, as it is written there.
fn statement(store: &'static str, function: &str) -> &'static str {
    let found = store.split_once(&format!("fn {function}("));
    let (_, after) = found.and_then(|it| it.1.split_once("sqlx::query")).unwrap();
    let (before, text) = after.split_once('"').unwrap();
    let end = if before.ends_with("r#") { "\"#" } else { "\"" };
    text.split_once(end).unwrap().0
}

struct Planner<'a>(&'a mut PgConnection);

impl Planner<'_> {
    /// Checks that every plan for these arguments reads `index`, and no whole table.
    async fn reads(&mut self, index: &str, begins: &[&str], statement: &str, arguments: &str) {
        for begin in begins {
            self.run(format!("set search_path = auth; {begin}; prepare it as {statement}")).await;
            let execute =
                if arguments.is_empty() { "it".into() } else { format!("it ({arguments})") };
            let rows = self.run(format!("explain execute {execute}")).await;
            self.run("rollback; deallocate it".to_owned()).await;
            let plan: Vec<String> = rows.iter().map(|it| it.get(0)).collect();
            let plan = plan.join("\n");
            let is_good = plan.contains(index) && !plan.contains("Seq Scan");
            assert!(is_good, "{statement}\n({arguments}) after {begin}, without {index}:\n{plan}");
        }
    }

    async fn run(&mut self, sql: String) -> Vec<PgRow> {
        #[expect(clippy::disallowed_methods, reason = "the texts are those of the stores")]
        let sql = AssertSqlSafe(sql);
        sqlx::raw_sql(sql).fetch_all(&mut *self.0).await.unwrap()
    }
}

#[tokio::test]
async fn no_list_reads_a_whole_table() {
    let auth = Auth::start().await;
    let mut conn = auth.database.superuser.acquire().await.unwrap();
    let mut planner = Planner(&mut conn);
    planner.run(HISTORY.to_owned()).await;
    let user = format!("'{}'", auth.credentials.person(Role::Developer).await.user_id);
    let place = "'a0000000-0000-7000-8000-000000000000'";
    let list = statement(USERS, "list");
    // Lists with filters are planned for those that are set.
    let (_, begin) = USERS.split_once("READ: &str = \"").unwrap();
    let begin = begin.split_once('"').unwrap().0.replace('\\', "");

    for after in ["null", place] {
        for (index, filters) in [
            ("users_pkey", "null, null, null"),
            ("users_role_idx", "'developer', null, null"),
            ("users_state_idx", "null, null, 'deactivated'"),
            ("users_service_account_idx", "null, 'service_account', null"),
            // Nearly everybody: either index is as good, by which rows were sampled.
            ("Index Scan", "'viewer', 'person', 'active'"),
        ] {
            planner.reads(index, &[&begin], list, &format!("{filters}, {after}, 51")).await;
        }
        let words = format!("null, null, null, {after}, 51, 'name123'");
        planner.reads("users_words_idx", &[&begin], SEARCH, &words).await;
        let live = format!("{user}, now(), {CUTOFF}, {after}, 51");
        let sessions = statement(SESSIONS, "list_live");
        planner.reads("sessions_user_idx", &BOTH, sessions, &live).await;
        for expiring in ["null, null", "now(), now() + interval '7 days'"] {
            let keys = format!("{user}, {after}, {expiring}, 51");
            planner.reads("api_keys_user_idx", &BOTH, statement(API_KEYS, "list"), &keys).await;
        }
    }
    let settings = format!("{user}, null, 51");
    planner.reads("settings_pkey", &BOTH, statement(SETTINGS, "list"), &settings).await;
    let locks = format!("{user}, 10");
    planner.reads("locks_user_idx", &BOTH, statement(LOCKS, "list_of_user"), &locks).await;
    let revocations = "19900, now(), null, null, 51";
    planner.reads("revocations_xact_idx", &BOTH, statement(REVOCATIONS, "list"), revocations).await;
}

#[tokio::test]
async fn what_ends_the_sessions_of_one_account_looks_at_no_other() {
    let auth = Auth::start().await;
    let mut conn = auth.database.superuser.acquire().await.unwrap();
    let mut planner = Planner(&mut conn);
    planner.run(HISTORY.to_owned()).await;
    let user = format!("'{}'", auth.credentials.person(Role::Developer).await.user_id);

    for (function, arguments) in [
        ("lock_live", format!("{user}, now(), {CUTOFF}")),
        ("revoke_all", format!("{user}, now()")),
    ] {
        let statement = statement(SESSIONS, function);
        planner.reads("sessions_user_idx", &BOTH, statement, &arguments).await;
    }
    let find = statement(REFRESH_TOKENS, "find_session");
    planner.reads("refresh_tokens_pkey", &BOTH, find, "'\\x00'").await;
    let forget = statement(REFRESH_TOKENS, "forget_successors");
    planner.reads("refresh_tokens_session_idx", &BOTH, forget, &user).await;
}

#[tokio::test]
async fn the_passkeys_of_one_account_are_found_without_those_of_others() {
    let auth = Auth::start().await;
    let mut conn = auth.database.superuser.acquire().await.unwrap();
    let mut planner = Planner(&mut conn);
    planner.run(HISTORY.to_owned()).await;
    let user = format!("'{}'", auth.credentials.person(Role::Developer).await.user_id);

    for after in ["null", &user] {
        let list = statement(PASSKEYS, "list");
        planner.reads("passkeys_user_idx", &BOTH, list, &format!("{user}, {after}, 51")).await;
    }
    for function in ["count", "delete_of_user"] {
        planner.reads("passkeys_user_idx", &BOTH, statement(PASSKEYS, function), &user).await;
    }
    let find = statement(PASSKEYS, "find_credential");
    planner.reads("passkeys_credential_key", &BOTH, find, "'\\x00'").await;
    let used = statement(PASSKEYS, "is_used_challenge");
    planner.reads("used_passkey_challenges_pkey", &BOTH, used, "'\\x00'").await;
}

#[tokio::test]
async fn housekeeping_reads_what_is_due_and_nothing_else() {
    let auth = Auth::start().await;
    let mut conn = auth.database.superuser.acquire().await.unwrap();
    let mut planner = Planner(&mut conn);
    planner.run(HISTORY.to_owned()).await;

    for (index, store, function, arguments) in [
        ("sessions_end_idx", SESSIONS, "delete_ended", CUTOFF),
        ("refresh_tokens_expires_idx", REFRESH_TOKENS, "delete_expired", CUTOFF),
        ("locks_failed_idx", LOCKS, "delete_forgotten", CUTOFF),
        (
            "used_passkey_challenges_expires_idx",
            PASSKEYS,
            "delete_expired_challenges",
            "now() - interval '1 hour'",
        ),
        ("user_imports_created_idx", USER_IMPORTS, "delete_old", "now() - interval '25 hours'"),
        ("idempotency_keys_created_idx", IDEMPOTENCY, "delete_old", "now() - interval '24 hours'"),
        ("login_challenges_expires_idx", CHALLENGES, "delete_expired", "now()"),
        ("totps_expires_idx", MFA, "delete_expired", "now()"),
        ("mails_created_idx", MAILS, "delete_gone", CUTOFF),
        ("email_tokens_expires_idx", EMAIL_TOKENS, "delete_expired", "now()"),
        ("revocations_expires_idx", REVOCATIONS, "delete_expired", "now()"),
    ] {
        let arguments = format!("{arguments}, 5000");
        planner.reads(index, &BOTH[..1], statement(store, function), &arguments).await;
    }
}
