//! `cargo xtask prepare`: writes `.sqlx`, which lets the workspace build with no database.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use ihuman_migrations::migrate;

use crate::{
    postgres::Server,
    process,
    temporary::{Database, Directory},
    workspace,
};

/// Asks a freshly migrated database about every query of the workspace, and keeps
/// the answers. With `check` it only compares them with those that are kept.
pub(crate) async fn run(check: bool) -> Result<()> {
    let server = Server::throw_away()?;
    let database = Database::create(&server).await?;
    migrate(&database.options, |_| {}).await?;
    let answers = Directory::create()?;
    compile(&database_url(&server, &database)?, answers.path()).await?;
    let new = read(answers.path())?;

    let dir = workspace::root().join(".sqlx");
    let old = read(&dir)?;
    let stale = difference(&old, &new);
    if stale.is_empty() {
        println!(".sqlx is up to date: {} queries", new.len());
        return Ok(());
    }
    if check {
        bail!(".sqlx is not up to date: run `cargo xtask prepare`\n{}", stale.join("\n"));
    }
    replace(&dir, &old, &new)?;
    println!(".sqlx now has {} queries:\n{}", new.len(), stale.join("\n"));
    Ok(())
}

type Answers = BTreeMap<String, Vec<u8>>;

/// sqlx asks the database while it compiles, so everything with a query in it must
/// be compiled again. Cargo does that when a file is newer than its last build;
/// the files get their old times back, which spares other builds.
async fn compile(database_url: &str, answers: &Path) -> Result<()> {
    let _newer = Newer::make(roots_with_queries().await?)?;
    process::succeed(
        workspace::cargo()
            .args(["check", "--workspace", "--all-targets"])
            .env("DATABASE_URL", database_url)
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", answers),
    )
    .await
}

/// The services name their own tables, and the shared crate those that both have
/// in their own schema, without the schema: their search paths find them.
fn database_url(server: &Server, database: &Database) -> Result<String> {
    let name = database.options.get_database().context("the database has no name")?;
    let (server, query) = server.url().split_once('?').unwrap_or((server.url(), ""));
    let authority = server.find("://").map(|at| at + 3).context("DATABASE_URL is no URL")?;
    let end = server[authority..].find('/').map_or(server.len(), |at| authority + at);
    let options = "options=-c%20search_path%3Dauth%2Ccatalog";
    let separator = if query.is_empty() { "" } else { "&" };
    Ok(format!("{}/{name}?{query}{separator}{options}", &server[..end]))
}

/// The first file of each target of each package that uses sqlx.
async fn roots_with_queries() -> Result<Vec<PathBuf>> {
    let output =
        workspace::cargo().args(["metadata", "--no-deps", "--format-version=1"]).output().await?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut roots = Vec::new();
    for package in list(&metadata["packages"]) {
        if list(&package["dependencies"]).iter().any(|it| it["name"] == "sqlx") {
            let targets = list(&package["targets"]);
            roots
                .extend(targets.iter().filter_map(|it| it["src_path"].as_str()).map(PathBuf::from));
        }
    }
    if roots.is_empty() {
        bail!("cargo metadata names no package that uses sqlx");
    }
    Ok(roots)
}

/// Files that look changed; as they were when dropped.
struct Newer(Vec<(PathBuf, SystemTime)>);

impl Newer {
    fn make(files: Vec<PathBuf>) -> Result<Self> {
        let mut newer = Self(Vec::new());
        for path in files {
            let before = fs::metadata(&path)?.modified()?;
            set_modified(&path, SystemTime::now())?;
            newer.0.push((path, before));
        }
        Ok(newer)
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            let _ = set_modified(path, *before);
        }
    }
}

fn set_modified(path: &Path, time: SystemTime) -> Result<()> {
    let file = File::options().append(true).open(path)?;
    file.set_times(FileTimes::new().set_modified(time))
        .with_context(|| format!("cannot change the time of {}", path.display()))
}

fn read(dir: &Path) -> Result<Answers> {
    let mut answers = Answers::new();
    if !dir.exists() {
        return Ok(answers);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") && name.ends_with(".json") {
            answers.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(answers)
}

fn difference(old: &Answers, new: &Answers) -> Vec<String> {
    let added = new.keys().filter(|it| !old.contains_key(*it)).map(|it| format!("  added {it}"));
    let gone = old.keys().filter(|it| !new.contains_key(*it)).map(|it| format!("  gone {it}"));
    let changed = new.iter().filter_map(|(name, answer)| {
        let before = old.get(name)?;
        (before != answer).then(|| format!("  changed {name}"))
    });
    added.chain(gone).chain(changed).collect()
}

fn replace(dir: &Path, old: &Answers, new: &Answers) -> Result<()> {
    fs::create_dir_all(dir)?;
    for name in old.keys().filter(|it| !new.contains_key(*it)) {
        fs::remove_file(dir.join(name))?;
    }
    for (name, answer) in new.iter().filter(|(name, answer)| old.get(*name) != Some(*answer)) {
        fs::write(dir.join(name), answer)?;
    }
    Ok(())
}
