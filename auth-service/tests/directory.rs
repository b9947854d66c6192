//! Finding accounts by what they are called, and counting them.

use chrono::TimeDelta;
use ihuman_proto::auth::v1 as pb;
use ihuman_shared::{
    access::Role,
    testing::{Caller, violations},
};
use uuid::Uuid;

use crate::support::{Auth, EMAIL, registration};

impl Auth {
    async fn find(&self, caller: &Caller, query: &str) -> Vec<String> {
        let request = pb::ListUsersRequest { query: query.to_owned(), ..Default::default() };
        let users = self.users(caller).list_users(request).await.unwrap().into_inner().users;
        users.into_iter().map(|it| it.email).collect()
    }

    async fn named(&self, email: &str, display_name: &str) {
        let registration =
            pb::RegisterRequest { display_name: display_name.to_owned(), ..registration(email) };
        self.auth().register(registration).await.unwrap();
    }
}

#[tokio::test]
async fn an_account_is_found_by_the_beginnings_of_its_words_in_any_order() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.named("ann@northwind.org", "Ann Müller").await;
    auth.named("bob.smith@northwind.org", "Bob O'Smith").await;
    let find = async |query: &str| auth.find(&admin, query).await;

    assert_eq!(find("ann").await, ["ann@northwind.org"]);
    assert_eq!(find("MÜL an").await, ["ann@northwind.org"]);
    assert_eq!(find("north").await, ["bob.smith@northwind.org", "ann@northwind.org"]);
    assert_eq!(find("bob.smith@northwind.org").await, ["bob.smith@northwind.org"]);
    assert_eq!(find("o'smi").await, ["bob.smith@northwind.org"]);
    // What would be syntax of a search is not.
    assert_eq!(find("' | 'ann").await, ["ann@northwind.org"]);
    for nobody in ["wind", "ann bob", "@", "ann:* & !x", "\\"] {
        assert!(find(nobody).await.is_empty(), "{nobody}");
    }
    assert_eq!(find("  ").await.len(), 3);
}

#[tokio::test]
async fn letters_of_every_script_are_letters_in_both_cases() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.named("one@northwind.org", "Иван Петров").await;
    auth.named("two@northwind.org", "Ärla Öst").await;
    auth.named("three@northwind.org", "Carl Rask").await;
    let find = async |query: &str| auth.find(&admin, query).await;

    for query in ["Иван", "иван", "ИВ пЕТР"] {
        assert_eq!(find(query).await, ["one@northwind.org"], "{query}");
    }
    for query in ["Är", "är", "ÖST"] {
        assert_eq!(find(query).await, ["two@northwind.org"], "{query}");
    }
}

#[tokio::test]
async fn a_search_has_pages_and_filters_like_the_whole_list() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    for at in 0..5 {
        auth.named(&format!("ann{at}@northwind.org"), "Ann").await;
    }
    let page = pb::ListUsersRequest {
        query: "ann".to_owned(),
        page_size: 3,
        ..pb::ListUsersRequest::default()
    };
    let list = async |request| auth.users(&admin).list_users(request).await;

    let first = list(page.clone()).await.unwrap().into_inner();
    let next = pb::ListUsersRequest { page_token: first.next_page_token.clone(), ..page.clone() };
    let second = list(next.clone()).await.unwrap().into_inner();
    let admins = pb::ListUsersRequest { role: Role::Admin.to_contract(), ..page.clone() };

    assert_eq!((first.users.len(), second.users.len()), (3, 2));
    assert!(second.next_page_token.is_empty());
    assert!(list(admins).await.unwrap().into_inner().users.is_empty());
    let other = pb::ListUsersRequest { query: "bob".to_owned(), ..next };
    assert_eq!(violations(&list(other).await.unwrap_err()), ["page_token"]);
    let long = pb::ListUsersRequest { query: "a".repeat(101), ..page };
    assert_eq!(violations(&list(long).await.unwrap_err()), ["query"]);
}

#[tokio::test]
async fn accounts_are_counted_by_role_kind_and_state_and_by_what_is_recent() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.credentials.service_account(Role::Service).await;
    let (idle, gone) =
        (auth.credentials.person(Role::Viewer).await, auth.credentials.person(Role::Viewer).await);
    let old = async |user_id: Uuid| {
        for sql in [
            "update auth.users set created_at = now() - interval '31 days' where user_id = $1",
            "update auth.sessions set refreshed_at = now() - interval '31 days' where user_id = $1",
        ] {
            auth.execute(sql, user_id).await;
        }
    };
    old(idle.user_id).await;
    let delete = pb::DeleteUserRequest { user_id: gone.user_id.to_string() };
    auth.users(&admin).delete_user(delete).await.unwrap();
    auth.deactivate(&admin, idle.user_id).await.unwrap();
    auth.service.clock.advance(TimeDelta::seconds(1));

    let stats = auth.users(&admin).get_user_stats(pb::GetUserStatsRequest {}).await.unwrap();

    let stats = stats.into_inner();
    let role = |role: Role| {
        let of = stats.by_role.iter().find(|it| it.role == role.to_contract());
        of.unwrap().count
    };
    assert_eq!(stats.total, 3);
    assert_eq!(Role::ALL.map(role), [1, 0, 0, 1, 1]);
    let kinds: Vec<_> = stats.by_kind.iter().map(|it| (it.kind, it.count)).collect();
    assert_eq!(kinds, [(1, 2), (2, 1)]);
    let states: Vec<_> = stats.by_state.iter().map(|it| (it.state, it.count)).collect();
    assert_eq!(states, [(1, 2), (2, 1), (3, 1)]);
    assert_eq!((stats.new_count, stats.active_count), (2, 1));
}

#[tokio::test]
async fn support_sees_who_has_a_second_factor() {
    let auth = Auth::start().await;
    let manager = auth.manager().await;
    let with = auth.person_with_mfa(EMAIL).await.user;
    let without = auth.register("bob@example.com").await;
    let mut users = auth.users(&manager);

    let mut enabled = Vec::new();
    for user in [&with, &without] {
        let request = pb::GetUserRequest { user_id: user.id.clone() };
        let response = users.get_user(request).await.unwrap().into_inner();
        enabled.push(response.user.unwrap().mfa_enabled);
    }
    for query in ["", "ann"] {
        let request = pb::ListUsersRequest { query: query.to_owned(), ..Default::default() };
        let listed = users.list_users(request).await.unwrap().into_inner().users;
        let found: Vec<_> = listed.iter().filter(|it| it.mfa_enabled).map(|it| &it.id).collect();
        assert_eq!(found, [&with.id], "{query:?}");
    }

    assert_eq!(enabled, [true, false]);
}
