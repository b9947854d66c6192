//! The account that PostgreSQL runs as: it refuses to run as the superuser.

use std::{fs, os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};

/// An unprivileged account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// None if we are unprivileged ourselves, otherwise `postgres` or else `nobody`.
    pub(crate) fn find() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        for name in ["postgres", "nobody"] {
            if let Some(account) = entry(&passwd, name) {
                return Ok(Some(account));
            }
        }
        bail!("PostgreSQL does not run as root, and there is no account postgres or nobody")
    }

    /// Has the command run as this account, without root's groups.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives the file or directory to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot change the owner of {}", path.display()))
    }
}

fn entry(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some(Account { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:\nnobody:x:65534:65533::/:\n";

        let account = entry(passwd, "nobody").unwrap();

        assert_eq!((account.uid, account.gid), (65534, 65533));
        assert!(entry(passwd, "postgres").is_none());
        assert!(entry(passwd, "root").is_none(), "root is not unprivileged");
    }
}
