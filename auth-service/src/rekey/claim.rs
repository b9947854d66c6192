//! Which master key is the one of the database: that of the first start.

use ihuman_shared::{config::Problem, credentials::Sealer, platform::Platform};

use super::store::{self, Table};
use crate::signing_keys;

/// Makes the master key of `platform` that of the database, unless it has one.
///
/// # Errors
/// [`Problem`], when the database has another one, or one that is not known but opens
/// none of its signing keys. Nothing is written then.
pub async fn claim_master_key(platform: &Platform) -> anyhow::Result<()> {
    let master_key = &platform.master_key;
    let mut tx = platform.db.begin().await?;
    // Of two that start at the same time with different keys, one must see the other's.
    signing_keys::store::lock(&mut tx).await?;
    if let Some(known) = store::find_check_value(&mut tx).await? {
        return Ok(master_key.compare(&known)?);
    }
    // What releases before the check value have sealed tells as well.
    let sealer = Sealer::new(master_key, signing_keys::PURPOSE);
    let sealed = store::list(&mut tx, Table::SigningKeys).await?;
    if !sealed.is_empty()
        && sealed.iter().all(|it| sealer.open(&it.belongs_to, &it.sealed).is_err())
    {
        return Err(Problem::another_master_key().into());
    }
    store::put_check_value(&mut tx, &master_key.check_value()).await?;
    tx.commit().await?;
    Ok(())
}
