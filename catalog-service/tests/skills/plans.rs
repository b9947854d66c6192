//! The plans of the queries that lists and searches run, at a realistic size.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::start;

const NEWEST: &str = include_str!("../../src/skills/store/list_newest.sql");
const BY_NAME: &str = include_str!("../../src/skills/store/list_by_name.sql");
const BY_POPULARITY: &str = include_str!("../../src/skills/store/list_by_popularity.sql");
const BY_RATING: &str = include_str!("../../src/skills/store/list_by_rating.sql");
const SEARCH: &str = include_str!("../../src/skills/store/search.sql");
const HEADS: &str = include_str!("../../src/skills/store/heads.sql");

/// Published skills of many kinds, made by SQL as that is quicker.
pub(crate) async fn insert_skills(db: &PgPool, author_id: Uuid, count: i32) {
    for statement in [
        "insert into catalog.skills (skill_id, name, description, license, compatibility, metadata,
             category, difficulty, tags, author_id, version)
         select gen_random_uuid(), 'skill-' || n, 'Does word' || n % 97 || ' and more.', '', '', '{}',
                'category-' || n % 40, (array['beginner', 'intermediate', 'advanced', 'expert'])[n % 4 + 1],
                array['tag-' || n % 200, 'tag-' || n % 3], $1, 1
         from generate_series(1, $2) n",
        "insert into catalog.skill_versions (skill_id, version, digest, body, allowed_tools,
             parameters_schema, created_by)
         select skill_id, 1, '', '', '{}', '{\"type\": \"object\"}', $1 from catalog.skills where $2 > 0",
        "insert into catalog.skill_stats (skill_id, execution_count, rating_sum, rating_count)
         select skill_id, abs(hashtext(name)) % 1000, abs(hashtext(name)) % 50, 10
         from catalog.skills where $1 is not null and $2 > 0",
    ] {
        sqlx::query(statement).bind(author_id).bind(count).execute(db).await.unwrap();
    }
}

/// The plan of a query, made for these arguments as the service has it made.
pub(crate) async fn plan(conn: &mut PgConnection, query: &str, arguments: &[&str]) -> String {
    let explain = format!("explain execute listed ({})", arguments.join(", "));
    run(conn, "set plan_cache_mode = force_custom_plan; set search_path = catalog".to_owned())
        .await;
    run(conn, format!("prepare listed as {query}")).await;
    let rows = run(conn, explain).await;
    run(conn, "deallocate listed".to_owned()).await;
    let lines: Vec<String> = rows.iter().map(|it| it.get(0)).collect();
    lines.join("\n")
}

async fn run(conn: &mut PgConnection, statement: String) -> Vec<PgRow> {
    #[expect(clippy::disallowed_types, reason = "the texts are those of the store")]
    let statement = AssertSqlSafe(statement);
    sqlx::raw_sql(statement).fetch_all(conn).await.unwrap()
}

#[tokio::test]
async fn no_list_and_no_search_reads_a_whole_table() {
    let (catalog, developer, _) = start().await;
    let db = &catalog.database.superuser;
    insert_skills(db, developer.user_id, 20_000).await;
    // Somebody else's few, for the filter by author.
    let other = catalog.credentials.person(ihuman_shared::access::Role::Developer).await;
    let few = "update catalog.skills set author_id = $1 where name like 'skill-1_0'";
    sqlx::query(few).bind(other.user_id).execute(db).await.unwrap();
    sqlx::query("analyze").execute(db).await.unwrap();
    let id = format!("'{}'", Uuid::now_v7());
    let author = format!("'{}'", other.user_id);
    let mut conn = db.acquire().await.unwrap();

    let filters = [
        ["null", "null", "null", "null"],
        ["'category-7'", "null", "null", "null"],
        ["null", "'expert'", "null", "null"],
        ["null", "null", "'tag-150'", "null"],
        ["null", "null", "null", &author],
        ["'category-7'", "'expert'", "'tag-150'", &author],
    ];
    for filter in filters {
        for (query, after) in [
            (NEWEST, vec!["null"]),
            (NEWEST, vec![&id]),
            (BY_NAME, vec!["null"]),
            (BY_NAME, vec!["'skill-5'"]),
            (BY_POPULARITY, vec!["null", "null"]),
            (BY_POPULARITY, vec!["500", &id]),
            (BY_RATING, vec!["null", "null"]),
            (BY_RATING, vec!["2.5", &id]),
        ] {
            let arguments = [filter.to_vec(), after, vec!["51"]].concat();
            let plan = plan(&mut conn, query, &arguments).await;
            assert!(!plan.contains("Seq Scan"), "{query}{arguments:?}\n{plan}");
        }
    }
    for (words, after) in [
        ("'word5'", ["null", "null"]),
        ("'word5 more -word7'", ["null", "null"]),
        ("'\"skill 77\"'", ["1.5", id.as_str()]),
    ] {
        let arguments = [vec![words, "'skill-77'"], after.to_vec(), vec!["51"]].concat();
        let plan = plan(&mut conn, SEARCH, &arguments).await;
        assert!(plan.contains("skills_search_idx") && !plan.contains("Seq Scan"), "{plan}");
    }
    let page: Vec<Uuid> = sqlx::query_scalar("select skill_id from catalog.skills limit 50")
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    let page: Vec<String> = page.iter().map(|it| format!("'{it}'")).collect();
    let page = format!("array[{}]::uuid[]", page.join(", "));
    let plan = plan(&mut conn, HEADS, &[&page]).await;
    assert!(!plan.contains("Seq Scan"), "{plan}");
}
