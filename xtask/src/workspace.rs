//! Where things are: the workspace, and what xtask keeps beside it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;

/// The directory of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is inside the workspace")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> tokio::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(program);
    command.current_dir(root());
    command
}

/// The directory for clusters, secrets and downloaded binaries. The superuser's is
/// outside the workspace, which another account may not be able to enter, and
/// PostgreSQL does not run as the superuser.
pub(crate) fn home() -> Result<PathBuf> {
    let (home, mode) = if rustix::process::geteuid().is_root() {
        (Path::new("/var/tmp").join(format!("ihuman-{}", hash(&root().to_string_lossy()))), 0o711)
    } else {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), |dir| root().join(dir));
        (target.join("dev-postgres"), 0o700)
    };
    create_own(&home, mode)?;
    Ok(home)
}

/// Twelve hexadecimal digits that stand for the text.
pub(crate) fn hash(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Creates a directory with this mode. One that is there must be ours: in a place
/// where anybody may create directories, somebody else's could be waiting.
pub(crate) fn create_own(dir: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(dir)?;
            if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
                bail!("{} is not a directory of ours: remove it", dir.display());
            }
            Ok(())
        }
        done => {
            done.with_context(|| format!("cannot create {}", dir.display()))?;
            // Whatever the umask has taken away.
            fs::set_permissions(dir, Permissions::from_mode(mode))?;
            Ok(())
        }
    }
}
