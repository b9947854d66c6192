//! Settings: small JSON values that an account keeps for itself.

pub(crate) mod rpc;
pub(crate) mod store;

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    page::Page,
};
use serde_json::{Value, json};

use self::store::Setting;
use crate::{context::Context, users};

/// How many settings an account has at the most.
const COUNT_MAX: i64 = 200;
const NAME_MAX: usize = 128;

/// What a setting is called.
#[derive(Clone, Debug)]
pub(crate) struct SettingName(String);

impl SettingName {
    /// # Errors
    /// `InvalidFields`, when it is no such name.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let allowed = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let begins_well = text.starts_with(|it: char| it.is_ascii_lowercase());
        if !begins_well || text.len() > NAME_MAX || !text.bytes().all(allowed) {
            let problem = "must have 1 to 128 characters of a-z, 0-9, \".\", \"_\" and \"-\", beginning with a letter";
            return Err(Error::invalid(field, problem));
        }
        Ok(SettingName(text))
    }
}

/// One setting of the caller's.
pub(crate) async fn get(
    context: &Context,
    caller: &Principal,
    name: &SettingName,
) -> Result<Setting> {
    let mut conn = context.db.acquire().await?;
    let setting = store::find(&mut conn, caller.user_id, &name.0).await?;
    setting.ok_or(Error::NotFound("setting"))
}

/// The caller's settings.
pub(crate) async fn list(
    context: &Context,
    caller: &Principal,
    page: Page<String>,
) -> Result<(Vec<Setting>, String)> {
    let mut conn = context.db.acquire().await?;
    let after = page.after.as_deref();
    let settings = store::list(&mut conn, caller.user_id, after, page.limit()).await?;
    page.cut(settings, |last| last.name.clone())
}

/// Creates or replaces a setting of the caller's.
pub(crate) async fn set(
    context: &Context,
    caller: &Principal,
    name: &SettingName,
    value: &Value,
) -> Result<Setting> {
    let user_id = caller.user_id;
    let mut tx = context.db.begin().await?;
    // Two sets at the same time must not both be the last that fits.
    users::store::lock(&mut tx, user_id).await?;
    let old = store::find(&mut tx, user_id, &name.0).await?;
    if old.is_none() && store::count(&mut tx, user_id).await? >= COUNT_MAX {
        let description = format!("an account has at most {COUNT_MAX}");
        return Err(Error::QuotaExceeded { subject: "settings", description });
    }
    let setting = store::upsert(&mut tx, user_id, &name.0, value).await?;
    let (old, new) = (old.as_ref().map_or(Value::Null, recorded), recorded(&setting));
    let change = Change::changed("setting.set", "setting", &name.0, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(setting)
}

/// Removes a setting of the caller's.
pub(crate) async fn delete(
    context: &Context,
    caller: &Principal,
    name: &SettingName,
) -> Result<()> {
    let mut tx = context.db.begin().await?;
    let deleted = store::delete(&mut tx, caller.user_id, &name.0).await?;
    let old = recorded(&deleted.ok_or(Error::NotFound("setting"))?);
    let change = Change::changed("setting.delete", "setting", &name.0, old, Value::Null);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(())
}

/// The audit trail is for others to read, and the value is its owner's own matter.
fn recorded(setting: &Setting) -> Value {
    json!({"bytes": setting.value.to_string().len()})
}
