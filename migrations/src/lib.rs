//! The database schema, what applies it, and the passwords of the services' login roles.

mod roles;
mod run;

pub use roles::{LoginRole, Password, login_url, set_password};
pub use run::{Applied, Report, create_database, drop_database, migrate};
/// Which database, and as whom: parsed from a URL.
pub use sqlx::postgres::PgConnectOptions;

/// Every `NNNN_<noun>_<verb>.sql` of this directory, in order.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
