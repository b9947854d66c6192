//! `cargo xtask demo`: a story that is told step by step, each of which is checked.

mod identity;
mod skill;
mod stage;
mod telling;

use std::env;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};

use self::stage::Stage;
use crate::{
    client::{Clients, explain},
    http,
    installation::ADMIN_EMAIL,
    running::Running,
    temporary::Services,
    workspace,
};

/// Who tells it, at services that were there before.
const EMAIL: &str = "IHUMAN_ADMIN_EMAIL";
const PASSWORD: &str = "IHUMAN_ADMIN_PASSWORD";

/// Which services to tell it with.
#[derive(Args)]
pub(crate) struct Options {
    /// What it is about.
    #[arg(long, value_enum, default_value_t)]
    story: Story,
    /// auth-service; with IHUMAN_ADMIN_EMAIL and IHUMAN_ADMIN_PASSWORD in the environment,
    /// which also go before what `dev` knows.
    #[arg(long, value_name = "URL", requires = "target_catalog")]
    target_auth: Option<String>,
    /// catalog-service.
    #[arg(long, value_name = "URL", requires = "target_auth")]
    target_catalog: Option<String>,
}

/// What it is about.
#[derive(Clone, Copy, Default, ValueEnum)]
enum Story {
    /// A skill: published, run on a worker, watched to its end.
    #[default]
    Skill,
    /// An account: second factors, locks, API keys, signing keys, revocation.
    Identity,
}

/// Tells the story; an error says what was expected and is not so.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut own = None;
    let story = options.story;
    let target = match target(options).await? {
        Some(target) => target,
        None => Target::of(own.insert(Services::start().await?)),
    };
    let clients = Clients::new(&target.auth_url, &target.catalog_url)?;
    let (_, admin) = clients
        .login(&target.admin_email, &target.admin_password)
        .await
        .map_err(|status| anyhow!(explain(&status)))
        .with_context(|| {
            format!("{} cannot log in: set {EMAIL} and {PASSWORD}", target.admin_email)
        })?;
    let stage = Stage::new(clients, admin, target.catalog_url);
    match story {
        Story::Skill => skill::Story { stage }.tell().await?,
        Story::Identity => identity::Story { stage }.tell().await?,
    }
    println!("\nAll of it was as it should be.");
    Ok(())
}

struct Target {
    auth_url: String,
    catalog_url: String,
    admin_email: String,
    admin_password: String,
}

impl Target {
    fn of(services: &Services) -> Self {
        Self {
            auth_url: services.ports.auth_url(),
            catalog_url: services.ports.catalog_url(),
            admin_email: ADMIN_EMAIL.to_owned(),
            admin_password: services.admin_password.clone(),
        }
    }
}

impl Target {
    /// What `dev` knows, unless `variable` says otherwise: the password may have been
    /// changed, as `dev` advises.
    fn of_dev(running: Running, variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            auth_url: running.auth_url,
            catalog_url: running.catalog_url,
            admin_email: variable(EMAIL).unwrap_or(running.admin_email),
            admin_password: variable(PASSWORD).unwrap_or(running.admin_password),
        }
    }
}

/// The services that were named, or those of a running `dev`.
async fn target(options: Options) -> Result<Option<Target>> {
    if let (Some(auth_url), Some(catalog_url)) = (options.target_auth, options.target_catalog) {
        let variable = |name| env::var(name).with_context(|| format!("set {name}"));
        return Ok(Some(Target {
            auth_url,
            catalog_url,
            admin_email: variable(EMAIL)?,
            admin_password: variable(PASSWORD)?,
        }));
    }
    let Some(running) = Running::read(&workspace::home()?) else { return Ok(None) };
    if !http::ready(&running.auth_url).await || !http::ready(&running.catalog_url).await {
        return Ok(None);
    }
    println!("With the services of `cargo xtask dev`");
    Ok(Some(Target::of_dev(running, |name| env::var(name).ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_was_changed_is_told_by_a_variable() {
        let running = || Running {
            auth_url: String::new(),
            catalog_url: String::new(),
            admin_email: ADMIN_EMAIL.to_owned(),
            admin_password: "first".to_owned(),
            ids: Vec::new(),
        };
        let changed = |name: &str| (name == PASSWORD).then(|| "second".to_owned());

        let told = Target::of_dev(running(), changed);
        let untold = Target::of_dev(running(), |_| None);

        assert_eq!(
            (told.admin_email.as_str(), told.admin_password.as_str()),
            (ADMIN_EMAIL, "second")
        );
        assert_eq!(untold.admin_password, "first");
    }
}
