//! The programs of the workspace, built from source.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncReadExt;

use crate::{process::Group, workspace};

/// The services' programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// auth-service.
    pub(crate) auth: PathBuf,
    /// catalog-service.
    pub(crate) catalog: PathBuf,
}

impl Programs {
    /// Builds them, with cargo's own progress on the terminal.
    pub(crate) async fn build(release: bool) -> Result<Self> {
        let mut command = workspace::cargo();
        command.args(["build", "--package=auth-service", "--package=catalog-service", "--bins"]);
        // The messages name the programs, wherever they are put.
        command.arg("--message-format=json-render-diagnostics");
        if release {
            command.arg("--release");
        }
        // A DATABASE_URL in the environment is where to run, not what to compile against.
        command.env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL").stdout(Stdio::piped());

        let mut group = Group::spawn(&mut command)?;
        let mut messages = String::new();
        if let Some(mut stdout) = group.child.stdout.take() {
            stdout.read_to_string(&mut messages).await?;
        }
        if !group.child.wait().await?.success() {
            bail!("the services do not build");
        }
        let mut built = executables(&messages);
        let mut take = |name: &str| {
            built.remove(name).with_context(|| format!("the workspace has no program {name}"))
        };
        Ok(Self { auth: take("auth-service")?, catalog: take("catalog-service")? })
    }
}

fn executables(messages: &str) -> HashMap<String, PathBuf> {
    let parsed = messages.lines().filter_map(|it| serde_json::from_str(it).ok());
    parsed
        .filter_map(|message: serde_json::Value| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, Path::new(message["executable"].as_str()?).to_owned()))
        })
        .collect()
}
