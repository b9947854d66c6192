//! Reading the configuration, and leaving with one clear line when it is wrong.

use std::{
    error::Error as _,
    path::PathBuf,
    process::{ExitCode, exit},
};

use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ErrorKind},
};

use crate::credentials::MasterKey;

/// `EX_USAGE` of sysexits.h.
const USAGE: i32 = 64;

/// What an operator must set right before a program can start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

impl Problem {
    /// What the operator must know of a master key that would make a mess.
    pub fn another_master_key() -> Self {
        Problem("the master key is not the one of this database".to_owned())
    }
}

/// Where the master key is.
#[derive(clap::Args, Clone)]
#[group(required = true, multiple = false)]
pub struct MasterKeyConfig {
    /// 32 random bytes in base64, the same for both services.
    #[arg(long, env = "IHUMAN_MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<MasterKey>,

    /// A file that holds the master key.
    #[arg(long, env = "IHUMAN_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
}

impl MasterKeyConfig {
    /// The key, from the variable or the file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(&self) -> Result<MasterKey, String> {
        match (&self.master_key, &self.master_key_file) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(path)) => MasterKey::read(path),
            (None, None) => Err("IHUMAN_MASTER_KEY or IHUMAN_MASTER_KEY_FILE must be set".into()),
        }
    }
}

/// Reads the configuration from flags and the environment. A wrong value ends
/// the process with one line and exit code 64.
pub fn parse<C: Parser + CommandFactory>() -> C {
    C::try_parse().unwrap_or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        // Without the value, which may be a mistyped secret.
        ErrorKind::ValueValidation => {
            let what = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            let problem = error.source().map(ToString::to_string);
            refuse(&format!("{} {}", what.unwrap_or_default(), problem.unwrap_or_default()))
        }
        _ => {
            let text = error.to_string();
            let line: Vec<_> =
                text.lines().map(str::trim).take_while(|it| !it.is_empty()).collect();
            refuse(line.join(" ").trim_start_matches("error: "))
        }
    })
}

/// How a program ends: with one line when it failed, as [`refuse`] does when the
/// configuration is why.
pub fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(problem) = error.downcast_ref::<Problem>() {
        refuse(&problem.to_string());
    }
    eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
    ExitCode::FAILURE
}

/// Ends the process with one line about the configuration and exit code 64.
pub fn refuse(problem: &str) -> ! {
    eprintln!("configuration: {problem}");
    exit(USAGE)
}
