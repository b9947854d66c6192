//! The auth-service program.

mod prompt;

use anyhow::Context as _;
use auth_service::{
    CreatedAdmin, SERVICE,
    config::{Command, Config, IdentityConfig, NewMasterKeyConfig},
};
use ihuman_shared::{
    Error, clock::Clock, config, platform::PlatformConfig, probe::probe, server::Shutdown,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = config::parse();
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

async fn create_admin(
    platform: PlatformConfig,
    identity: &IdentityConfig,
    email: String,
) -> anyhow::Result<()> {
    let password = prompt::password().context("can't read the password")?;
    let platform = SERVICE.connect(platform, Clock::default(), Shutdown::new()).await?;
    match auth_service::create_admin(&platform, identity, email.clone(), password).await {
        Ok(CreatedAdmin::Created) => println!("{email} is an administrator now"),
        Ok(CreatedAdmin::Exists(role)) => {
            println!(
                "{email} is there already, with the role {}; nothing was changed",
                role.text()
            );
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
    let platform = SERVICE.connect(platform, Clock::default(), Shutdown::new()).await?;
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
    let platform = SERVICE.connect(platform, Clock::default(), Shutdown::new()).await?;
    match auth_service::rekey(&platform, &new).await {
        Ok(rekeyed) => println!("sealed again under the new master key: {rekeyed:?}"),
        Err(error @ Error::InvalidFields(_)) => config::refuse(&error.to_string()),
        // The message of a fault hides what it is from callers; an operator may know.
        Err(Error::Internal(fault)) => return Err(fault),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
