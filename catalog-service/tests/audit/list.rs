//! Reading the trail: who may, filters and pages.

use std::collections::HashSet;

use ihuman_proto::catalog::v1::{AuditOutcome, AuditRecord, ListAuditRecordsRequest};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use prost_types::Timestamp;
use sqlx::{Connection as _, PgConnection, PgPool};
use tonic::Code;
use uuid::Uuid;

use super::{Audit, audit, list};
use crate::{skills::plans::plan, support::Catalog};

const LIST: &str = include_str!("../../src/audit/store/list.sql");

async fn start() -> (Catalog, Audit) {
    let catalog = Catalog::start().await;
    let admin = catalog.credentials.person(Role::Admin).await;
    let client = audit(&catalog, &admin);
    (catalog, client)
}

/// One record a minute until `newest` minutes ago, of two actors and three actions;
/// each tenth is a refusal.
async fn insert_records(db: &PgPool, actors: [Uuid; 2], count: i32, newest: i32) {
    sqlx::query(
        "insert into audit.audit_logs (audit_log_id, created_at, actor_id, action, entity_type,
             entity_id, outcome, reason)
         select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7000'
                    || lpad(to_hex(n), 16, '8'))::uuid,
                at, case when n % 100 = 0 then $2 else $1 end,
                (array['skill.create', 'skill.update', 'user.create'])[n % 3 + 1],
                case when n % 10 = 0 then '' else (array['skill', 'skill', 'user'])[n % 3 + 1] end,
                case when n % 10 = 0 then '' else (n % 500)::text end,
                case when n % 10 = 0 then 'denied' else 'succeeded' end,
                case when n % 10 = 0 then 'PERMISSION_MISSING' else '' end
         from (select n, date_trunc('milliseconds', now()) - make_interval(mins => $3 + $4 - n) as at
               from generate_series(1, $3) n) records",
    )
    .bind(actors[0])
    .bind(actors[1])
    .bind(count)
    .bind(newest)
    .execute(db)
    .await
    .unwrap();
}

#[tokio::test]
async fn only_administrators_read_the_trail() {
    let (catalog, mut admins) = start().await;

    for role in [Role::Developer, Role::Executor, Role::Viewer, Role::Service] {
        for caller in [
            catalog.credentials.person(role).await,
            catalog.credentials.service_account(role).await,
        ] {
            let mut client = audit(&catalog, &caller);
            let status = list(&mut client, ListAuditRecordsRequest::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(reason(&status).as_str_name(), "ERROR_REASON_PERMISSION_MISSING");
        }
    }
    let refusals = list(&mut admins, ListAuditRecordsRequest::default()).await.unwrap();
    assert_eq!(refusals.len(), 8);
}

#[tokio::test]
async fn the_services_own_role_can_not_read_the_table() {
    let (catalog, _) = start().await;
    let url = catalog.database.url("ihuman_catalog");
    let mut conn = PgConnection::connect(&url).await.unwrap();

    let denied = sqlx::query("select from audit.audit_logs").execute(&mut conn).await.unwrap_err();
    assert!(denied.to_string().contains("permission denied"), "{denied}");

    let mut tx = conn.begin().await.unwrap();
    sqlx::query("set local role ihuman_audit").execute(&mut *tx).await.unwrap();
    sqlx::query("select from audit.audit_logs").execute(&mut *tx).await.unwrap();
    let denied = sqlx::query("delete from audit.audit_logs").execute(&mut *tx).await.unwrap_err();
    assert!(denied.to_string().contains("permission denied"), "{denied}");
}

#[tokio::test]
async fn the_role_of_readers_is_given_back_with_the_connection() {
    let (catalog, mut client) = start().await;
    let developer = catalog.credentials.person(Role::Developer).await;
    let mut skills = crate::skills::skills(&catalog, &developer);

    for number in 0..20 {
        list(&mut client, ListAuditRecordsRequest::default()).await.unwrap();
        let skill = crate::skills::a_skill(&format!("skill-{number}"));
        crate::skills::publish(&mut skills, skill).await.unwrap();
    }
}

#[tokio::test]
async fn each_filter_keeps_what_it_names() {
    let (catalog, mut client) = start().await;
    let actors = [Uuid::now_v7(), Uuid::now_v7()];
    insert_records(&catalog.database.superuser, actors, 200, 0).await;
    let any = || ListAuditRecordsRequest { page_size: 200, ..Default::default() };
    let mut of = async |request| list(&mut client, request).await.unwrap();

    let all = of(any()).await;
    assert_eq!(all.len(), 200);
    let expect = |keep: &dyn Fn(&AuditRecord) -> bool| -> Vec<AuditRecord> {
        all.iter().filter(|it| keep(it)).cloned().collect()
    };
    let actor_id = actors[1].to_string();
    let by_actor = of(ListAuditRecordsRequest { actor_id: actor_id.clone(), ..any() }).await;
    assert_eq!(by_actor, expect(&|it| it.actor_id == actor_id));
    assert_eq!(by_actor.len(), 2);
    let action = "skill.update".to_owned();
    let by_action = of(ListAuditRecordsRequest { action, ..any() }).await;
    assert_eq!(by_action, expect(&|it| it.action == "skill.update"));
    let entity_type = "skill".to_owned();
    let by_type = of(ListAuditRecordsRequest { entity_type: entity_type.clone(), ..any() }).await;
    assert_eq!(by_type, expect(&|it| it.entity_type == "skill"));
    let entity_id = "7".to_owned();
    let by_entity = of(ListAuditRecordsRequest { entity_type, entity_id, ..any() }).await;
    assert_eq!(by_entity, expect(&|it| it.entity_type == "skill" && it.entity_id == "7"));
    for outcome in [AuditOutcome::Denied, AuditOutcome::Succeeded] {
        let by_outcome = of(ListAuditRecordsRequest { outcome: outcome.into(), ..any() }).await;
        assert_eq!(by_outcome, expect(&|it| it.outcome() == outcome));
    }
}

#[tokio::test]
async fn a_time_begins_with_its_start_and_ends_before_its_end() {
    let (catalog, mut client) = start().await;
    let actors = [Uuid::now_v7(), Uuid::now_v7()];
    insert_records(&catalog.database.superuser, actors, 150, 0).await;
    let any = || ListAuditRecordsRequest { page_size: 200, ..Default::default() };
    let all = list(&mut client, any()).await.unwrap();
    let (start_time, end_time) = (all[99].create_time, all[49].create_time);

    let between = ListAuditRecordsRequest { start_time, end_time, ..any() };
    assert_eq!(list(&mut client, between).await.unwrap(), all[50..100]);
    let since = ListAuditRecordsRequest { start_time, ..any() };
    assert_eq!(list(&mut client, since).await.unwrap(), all[..100]);
    let until = ListAuditRecordsRequest { end_time, ..any() };
    assert_eq!(list(&mut client, until).await.unwrap(), all[50..]);
    let ancient = Some(Timestamp { seconds: -62_135_596_800, nanos: 0 });
    let remote = Some(Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 });
    let whole = ListAuditRecordsRequest { start_time: ancient, end_time: remote, ..any() };
    assert_eq!(list(&mut client, whole).await.unwrap(), all);
    let none = ListAuditRecordsRequest { start_time: remote, end_time: ancient, ..any() };
    assert_eq!(list(&mut client, none).await.unwrap(), []);
}

#[tokio::test]
async fn pages_have_each_record_once_while_more_are_written() {
    let (catalog, mut client) = start().await;
    let viewer = catalog.credentials.person(Role::Viewer).await;
    insert_records(&catalog.database.superuser, [Uuid::now_v7(), Uuid::now_v7()], 23, 1).await;
    let request = ListAuditRecordsRequest { page_size: 5, ..Default::default() };
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditRecordsRequest { page_token, ..request.clone() };
        let page = client.list_audit_records(request).await.unwrap().into_inner();
        seen.extend(page.audit_records);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // Each refusal is a new record.
        let mut refused = audit(&catalog, &viewer);
        list(&mut refused, ListAuditRecordsRequest::default()).await.unwrap_err();
    }

    let ids: HashSet<&str> = seen.iter().map(|it| it.id.as_str()).collect();
    assert_eq!((ids.len(), seen.len()), (23, 23));
    assert!(seen.is_sorted_by(|one, other| one.id > other.id), "newest first");
}

#[tokio::test]
async fn filters_that_can_not_be_met_are_all_named() {
    let (_catalog, mut client) = start().await;
    let nowhere = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let request = ListAuditRecordsRequest {
        actor_id: "me".to_owned(),
        action: "a".repeat(201),
        entity_type: "e".repeat(65),
        outcome: 99,
        start_time: nowhere,
        end_time: nowhere,
        ..Default::default()
    };

    let status = list(&mut client, request).await.unwrap_err();
    let all = ["actor_id", "action", "entity_type", "outcome", "start_time", "end_time"];
    assert_eq!(violations(&status), all);

    let lonely = ListAuditRecordsRequest { entity_id: "7".to_owned(), ..Default::default() };
    assert_eq!(violations(&list(&mut client, lonely).await.unwrap_err()), ["entity_id"]);
    let negative = ListAuditRecordsRequest { page_size: -1, ..Default::default() };
    assert_eq!(violations(&list(&mut client, negative).await.unwrap_err()), ["page_size"]);
    let token = ListAuditRecordsRequest { page_token: "x".to_owned(), ..Default::default() };
    assert_eq!(violations(&list(&mut client, token).await.unwrap_err()), ["page_token"]);
}

#[tokio::test]
async fn no_filter_reads_the_whole_table() {
    let (catalog, _) = start().await;
    let db = &catalog.database.superuser;
    let actors = [Uuid::now_v7(), Uuid::now_v7()];
    insert_records(db, actors, 20_000, 0).await;
    sqlx::query("analyze audit.audit_logs").execute(db).await.unwrap();
    let mut conn = db.acquire().await.unwrap();
    let actor = format!("'{}'", actors[1]);
    let ago = |minutes: i64| {
        let time = chrono::Utc::now() - chrono::TimeDelta::minutes(minutes);
        let id = Uuid::from_u128((time.timestamp_millis() as u128) << 80);
        (format!("'{time}'"), format!("'{id}'"))
    };
    let ((start, first), (end, last)) = (ago(9_000), ago(8_000));
    let mut arguments = ["null"; 10];

    for (filters, index) in [
        (vec![], "audit_logs_pkey"),
        (vec![(0, actor.as_str())], "audit_logs_actor_idx"),
        (vec![(1, "'auth.rare'")], "audit_logs_action_idx"),
        (vec![(2, "'rare'")], "audit_logs_entity_type_idx"),
        (vec![(2, "'user'"), (3, "'7'")], "audit_logs_entity_idx"),
        (vec![(4, "'denied'")], "audit_logs_denied_idx"),
        (vec![(4, "'succeeded'")], "audit_logs_pkey"),
        (vec![(5, start.as_str()), (6, &end), (7, &first), (8, &last)], "audit_logs_pkey"),
        (vec![(9, last.as_str())], "audit_logs_pkey"),
    ] {
        arguments.fill("null");
        for (position, value) in &filters {
            arguments[*position] = value;
        }
        let arguments = [&arguments[..], &["51"]].concat();
        let plan = plan(&mut conn, LIST, &arguments).await;
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{filters:?}\n{plan}");
    }
}
