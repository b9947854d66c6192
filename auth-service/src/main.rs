//! The auth-service program.

mod prompt;

use std::process::ExitCode;

use anyhow::Context as _;
use auth_service::{
    CreatedAdmin, SERVICE,
    config::{Command, Config, IdentityConfig, NewMasterKeyConfig},
};
use ihuman_shared::{
    Error,
    access::Role,
    clock::Clock,
    config,
    platform::{Platform, PlatformConfig},
    probe::probe,
    server::Shutdown,
};

#[tokio::main]
async fn main() -> ExitCode {
    config::exit_code(run(config::parse()).await)
}

async fn run(config: Config) -> anyhow::Result<()> {
    match config.command {
        None => {
            config.identity.check().unwrap_or_else(|problem| config::refuse(&problem));
            let stack = async |platform: &_| auth_service::stack(platform, &config.identity).await;
            SERVICE.run(config.listen, config.platform, &config.telemetry, stack).await
        }
        Some(Command::CreateAdmin { email }) => {
            create_admin(config.platform, &config.identity, email).await
        }
        Some(Command::Recover { email }) => recover(config.platform, &config.identity, email).await,
        Some(Command::Rekey { new }) => rekey(config.platform, new).await,
        Some(Command::Probe) => probe(config.listen, &config.platform.server).await,
    }
}

/// What a command stands on.
async fn connect(platform: PlatformConfig) -> anyhow::Result<Platform> {
    let platform = SERVICE.connect(platform, Clock::default(), Shutdown::new()).await?;
    auth_service::claim_master_key(&platform).await?;
    Ok(platform)
}

async fn create_admin(
    platform: PlatformConfig,
    identity: &IdentityConfig,
    email: String,
) -> anyhow::Result<()> {
    let password = prompt::password().context("can't read the password")?;
    let platform = connect(platform).await?;
    match auth_service::create_admin(&platform, identity, email.clone(), password).await {
        Ok(CreatedAdmin::Created) => println!("{email} is an administrator now"),
        Ok(CreatedAdmin::Exists(role)) => {
            let there = format!("{email} is there already, with the role {}", role.text());
            // Who asked for an administrator has none.
            anyhow::ensure!(role == Role::Admin, "{there}; nothing was changed");
            println!("{there}; nothing was changed");
        }
        Err(error @ Error::InvalidFields(_)) => config::refuse(&error.to_string()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn recover(
    platform: PlatformConfig,
    identity: &IdentityConfig,
    email: String,
) -> anyhow::Result<()> {
    let password = prompt::password().context("can't read the password")?;
    let platform = connect(platform).await?;
    match auth_service::recover(&platform, identity, email.clone(), password).await {
        Ok(()) => println!("{email} logs in with the new password and nothing else from now on"),
        Err(error @ (Error::InvalidFields(_) | Error::NotFound(_) | Error::WrongState { .. })) => {
            config::refuse(&error.to_string())
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn rekey(platform: PlatformConfig, new: NewMasterKeyConfig) -> anyhow::Result<()> {
    let new = new.read().unwrap_or_else(|problem| config::refuse(&problem));
    let platform = connect(platform).await?;
    match auth_service::rekey(&platform, &new).await {
        Ok(rekeyed) => println!("sealed again under the new master key: {rekeyed:?}"),
        Err(error @ Error::InvalidFields(_)) => config::refuse(&error.to_string()),
        // The message of a fault hides what it is from callers; an operator may know.
        Err(Error::Internal(fault)) => return Err(fault),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
