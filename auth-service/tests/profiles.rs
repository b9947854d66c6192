//! How accounts present themselves, and who may change that.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use prost_types::FieldMask;
use tonic::Status;
use uuid::Uuid;

use crate::support::Auth;

const PICTURE: &str = "https://example.com/ann.png";

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|it| (*it).to_owned()).collect() })
}

fn user(id: Uuid, display_name: &str, avatar_url: &str) -> pb::User {
    let (display_name, avatar_url) = (display_name.to_owned(), avatar_url.to_owned());
    pb::User { id: id.to_string(), display_name, avatar_url, ..pb::User::default() }
}

impl Auth {
    async fn update_self(
        &self,
        caller: &Caller,
        user: pb::User,
        paths: &[&str],
    ) -> Result<pb::User, Status> {
        let request = pb::UpdateCurrentUserRequest { user: Some(user), update_mask: mask(paths) };
        let response = self.users(caller).update_current_user(request).await?;
        Ok(response.into_inner().user.unwrap())
    }

    async fn update(
        &self,
        caller: &Caller,
        user: pb::User,
        paths: &[&str],
    ) -> Result<pb::User, Status> {
        let request = pb::UpdateUserRequest { user: Some(user), update_mask: mask(paths) };
        Ok(self.users(caller).update_user(request).await?.into_inner().user.unwrap())
    }
}

#[tokio::test]
async fn a_person_changes_what_the_mask_names_of_the_own_account_and_nothing_else() {
    let auth = Auth::start().await;
    let viewer = auth.credentials.person(Role::Viewer).await;

    let named =
        auth.update_self(&viewer, user(Uuid::nil(), "Ann", PICTURE), &["display_name"]).await;
    let named = named.unwrap();
    let pictured = auth.update_self(&viewer, user(Uuid::nil(), "Bob", PICTURE), &["avatar_url"]);
    let pictured = pictured.await.unwrap();
    let both = auth.update_self(&viewer, user(Uuid::nil(), "Cat", ""), &["*"]).await.unwrap();

    assert_eq!((named.display_name.as_str(), named.avatar_url.as_str()), ("Ann", ""));
    assert_eq!(named.id, viewer.user_id.to_string());
    assert_eq!((pictured.display_name.as_str(), pictured.avatar_url.as_str()), ("Ann", PICTURE));
    assert_eq!((both.display_name.as_str(), both.avatar_url.as_str()), ("Cat", ""));
    assert!(auth.accepts(&viewer).await.is_ok(), "a name is not in the token");
    let records = auth.audit("user.update").await;
    assert_eq!(records.len(), 3);
    records[0].is_by(&viewer);
    assert_eq!(records[0].old_values.as_ref().unwrap()["display_name"], "Somebody");
    assert_eq!(records[0].new_values.as_ref().unwrap()["display_name"], "Ann");
}

#[tokio::test]
async fn a_profile_that_is_not_allowed_is_refused_by_each_field() {
    let auth = Auth::start().await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let refused = async |display_name: &str, avatar_url: &str, paths: &[&str]| {
        let user = user(Uuid::nil(), display_name, avatar_url);
        violations(&auth.update_self(&viewer, user, paths).await.unwrap_err())
    };

    assert_eq!(
        refused("", "http://example.com", &["*"]).await,
        ["user.display_name", "user.avatar_url"]
    );
    assert_eq!(refused("Ann", "", &[]).await, ["update_mask"]);
    assert_eq!(refused("Ann", "", &["email"]).await, ["update_mask"]);
    assert_eq!(refused("Ann", "", &["*", "display_name"]).await, ["update_mask"]);
    assert!(auth.audit("user.update").await.is_empty());
}

#[tokio::test]
async fn a_manager_changes_the_profile_of_anybody_but_an_administrator() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let viewer = auth.credentials.person(Role::Viewer).await;
    let paths = ["display_name"];

    let changed = auth.update(&manager, user(viewer.user_id, "Ann", ""), &paths).await.unwrap();
    auth.update(&manager, user(viewer.user_id, "Ann", ""), &paths).await.unwrap();
    let refused = auth.update(&manager, user(admin.user_id, "Root", ""), &paths).await.unwrap_err();
    let unknown = auth.update(&manager, user(Uuid::now_v7(), "Ann", ""), &paths).await.unwrap_err();
    let other = auth.update(&viewer, user(admin.user_id, "Root", ""), &paths).await.unwrap_err();

    assert_eq!(changed.display_name, "Ann");
    assert_eq!(reason(&refused), Reason::NotAllowed);
    assert_eq!(reason(&unknown), Reason::NotFound);
    assert_eq!(reason(&other), Reason::PermissionMissing);
    auth.audited("user.update").await.is_by(&manager);
    let denied = auth.audit("/ihuman.auth.v1.UserService/UpdateUser").await;
    assert_eq!(denied.len(), 2);
}
