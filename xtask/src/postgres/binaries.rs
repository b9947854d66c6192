//! Finds PostgreSQL's programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{account::Account, install};

/// The oldest version that is supported.
const MAJOR_MIN: u32 = 14;
/// The programs that are needed.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// PostgreSQL's programs, and how to run them.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    dir: PathBuf,
    /// The major version, such as 17.
    pub(crate) major: u32,
    /// Who runs them, if not we.
    pub(crate) account: Option<Account>,
}

impl Binaries {
    /// Finds them, and installs them if there are none. With `major`, only that
    /// version will do: it is the one that made the data.
    pub(crate) fn find(home: &Path, major: Option<u32>) -> Result<Self> {
        let account = Account::find()?;
        if let Some(dir) = env::var_os("IHUMAN_PG_BIN") {
            let found = Self::look(Path::new(&dir), account).with_context(|| {
                format!("IHUMAN_PG_BIN: no working PostgreSQL in {}", dir.display())
            })?;
            if found.suits(major) {
                return Ok(found);
            }
            bail!("IHUMAN_PG_BIN has PostgreSQL {}: {}", found.major, wanted(major));
        }
        let mut others = Vec::new();
        for dir in candidates().into_iter().chain([install::npm_bin(home)]) {
            match Self::look(&dir, account) {
                Ok(found) if found.suits(major) => return Ok(found),
                Ok(found) => others.push(found.major),
                Err(_) => {}
            }
        }
        if major.is_some() {
            bail!("only PostgreSQL {others:?} was found: {}", wanted(major));
        }
        let dir = install::install(home)?;
        Self::look(&dir, account)
    }

    /// A command with nothing of our environment that would configure PostgreSQL.
    pub(crate) fn command(&self, program: &str) -> Command {
        command(&self.dir.join(program), self.account)
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn suits(&self, major: Option<u32>) -> bool {
        major.map_or(self.major >= MAJOR_MIN, |major| self.major == major)
    }

    fn look(dir: &Path, account: Option<Account>) -> Result<Self> {
        for program in PROGRAMS {
            if !dir.join(program).is_file() {
                bail!("there is no {program}");
            }
        }
        // Run as who will run it: a directory of ours may be closed to that account.
        let output = command(&dir.join("postgres"), account).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let major = major(&text).with_context(|| format!("postgres --version said {text:?}"))?;
        Ok(Self { dir: dir.to_owned(), major, account })
    }
}

fn command(program: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").current_dir("/").stdin(std::process::Stdio::null());
    if let Some(account) = account {
        account.apply(&mut command);
    }
    command
}

fn wanted(major: Option<u32>) -> String {
    match major {
        Some(major) => format!(
            "the data was made by PostgreSQL {major}; point IHUMAN_PG_BIN to that, or throw \
             the data away with --fresh"
        ),
        None => format!("{MAJOR_MIN} or newer is needed"),
    }
}

/// "postgres (PostgreSQL) 17.5 (Debian 17.5-1)" is 17, and "18beta1" is 18.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|it: char| !it.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

/// Where PostgreSQL may be, the likeliest first.
fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    dirs.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    dirs.extend(newest_first("/usr", "pgsql-", "bin"));
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        dirs.extend(newest_first(homebrew, "postgresql@", "bin"));
        dirs.push(Path::new(homebrew).join("postgresql/bin"));
    }
    dirs.extend(newest_first("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    dirs.retain(|dir| dir.is_absolute());
    dirs
}

/// The directories `<parent>/<prefix><number>/<child>`, the highest number first.
pub(super) fn newest_first(parent: &str, prefix: &str, child: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(child)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 17\n"), Some(17));
        assert_eq!(major("command not found"), None);
    }
}
