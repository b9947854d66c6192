//! Every column of the schema that is sealed.

use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// The table of a sealed column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    SigningKeys,
    RefreshTokens,
    IdempotencyKeys,
    Totps,
    ApiKeyHashKeys,
}

/// One sealed value.
pub(crate) struct Sealed {
    /// The key of its row, as text.
    pub(crate) place: String,
    /// What the value is bound to.
    pub(crate) belongs_to: String,
    pub(crate) sealed: Vec<u8>,
}

/// Whether an account has a password whose pepper is derived from the master key.
pub(crate) async fn has_peppered_passwords(conn: &mut PgConnection) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from users where password_hash like 'pepper:%') as "found!""#
    );
    Ok(found.fetch_one(conn).await?)
}

/// Every value, which nobody else changes until the transaction ends.
pub(crate) async fn list(conn: &mut PgConnection, table: Table) -> Result<Vec<Sealed>> {
    let rows = match table {
        Table::SigningKeys => {
            sqlx::query_as!(
                Sealed,
                r#"select kid as place, kid as belongs_to, private_key_sealed as sealed
                   from signing_keys where length(private_key_sealed) > 0 for update"#,
            )
            .fetch_all(conn)
            .await?
        }
        Table::RefreshTokens => {
            sqlx::query_as!(
                Sealed,
                r#"select encode(token_hash, 'hex') as "place!", session_id::text as "belongs_to!",
                       successor_sealed as "sealed!"
                   from refresh_tokens where successor_sealed is not null for update"#,
            )
            .fetch_all(conn)
            .await?
        }
        Table::IdempotencyKeys => {
            sqlx::query_as!(
                Sealed,
                r#"select (principal_id, method, request_id)::text as "place!", entity_id::text as "belongs_to!", sealed as "sealed!"
                   from idempotency_keys where sealed is not null for update"#,
            )
            .fetch_all(conn)
            .await?
        }
        Table::Totps => {
            sqlx::query_as!(
                Sealed,
                r#"select (user_id, is_confirmed)::text as "place!", user_id::text as "belongs_to!",
                       mfa_secret_sealed as sealed
                   from totps for update"#,
            )
            .fetch_all(conn)
            .await?
        }
        Table::ApiKeyHashKeys => {
            sqlx::query_as!(
                Sealed,
                r#"select api_key_hash_key_id::text as "place!", api_key_hash_key_id::text as "belongs_to!", sealed
                   from api_key_hash_keys for update"#,
            )
            .fetch_all(conn)
            .await?
        }
    };
    Ok(rows)
}

/// Replaces each value that [`list`] gave.
pub(crate) async fn update(conn: &mut PgConnection, table: Table, rows: Vec<Sealed>) -> Result<()> {
    let (places, sealed): (Vec<String>, Vec<Vec<u8>>) =
        rows.into_iter().map(|it| (it.place, it.sealed)).unzip();
    match table {
        Table::SigningKeys => {
            sqlx::query!(
                "update signing_keys set private_key_sealed = new.sealed
                 from unnest($1::text[], $2::bytea[]) as new (place, sealed) where kid = new.place",
                &places,
                &sealed,
            )
            .execute(conn)
            .await?
        }
        Table::RefreshTokens => {
            sqlx::query!(
                "update refresh_tokens set successor_sealed = new.sealed
                 from unnest($1::text[], $2::bytea[]) as new (place, sealed)
                 where token_hash = decode(new.place, 'hex')",
                &places,
                &sealed,
            )
            .execute(conn)
            .await?
        }
        Table::IdempotencyKeys => {
            sqlx::query!(
                "update idempotency_keys k set sealed = new.sealed
                 from unnest($1::text[], $2::bytea[]) as new (place, sealed)
                 where (k.principal_id, k.method, k.request_id)::text = new.place",
                &places,
                &sealed,
            )
            .execute(conn)
            .await?
        }
        Table::Totps => {
            sqlx::query!(
                "update totps t set mfa_secret_sealed = new.sealed
                 from unnest($1::text[], $2::bytea[]) as new (place, sealed)
                 where (t.user_id, t.is_confirmed)::text = new.place",
                &places,
                &sealed,
            )
            .execute(conn)
            .await?
        }
        Table::ApiKeyHashKeys => {
            sqlx::query!(
                "update api_key_hash_keys k set sealed = new.sealed
                 from unnest($1::text[], $2::bytea[]) as new (place, sealed)
                 where k.api_key_hash_key_id = new.place::uuid",
                &places,
                &sealed,
            )
            .execute(conn)
            .await?
        }
    };
    Ok(())
}

/// What the database knows its master key by, once it has one.
pub(crate) async fn find_check_value(conn: &mut PgConnection) -> Result<Option<Vec<u8>>> {
    let found = sqlx::query_scalar!("select check_value from master_key_checks");
    Ok(found.fetch_optional(conn).await?)
}

/// Writes what the database knows its master key by.
pub(crate) async fn put_check_value(conn: &mut PgConnection, check_value: &[u8]) -> Result<()> {
    sqlx::query!(
        "insert into master_key_checks (check_value) values ($1)
         on conflict (is_only) do update set check_value = excluded.check_value",
        check_value,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn insert_hash_key(
    conn: &mut PgConnection,
    id: Uuid,
    sealed: &[u8],
) -> Result<()> {
    sqlx::query!(
        "insert into api_key_hash_keys (api_key_hash_key_id, sealed) values ($1, $2)",
        id,
        sealed,
    )
    .execute(conn)
    .await?;
    Ok(())
}
