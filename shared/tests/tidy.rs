//! The invariants of ARCHITECTURE.md that a compiler can't see.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// No file is longer: who reads one should be able to keep it in mind.
const LINES_MAX: usize = 400;

#[test]
fn data_flows_from_rpc_to_domain_to_store_and_never_back() {
    for source in rooms() {
        let knows = |word: &str| source.code.contains(word);
        let allowed = match source.name() {
            // The doors: gRPC, and plain HTTP where a standard asks for it.
            "rpc.rs" | "web.rs" => !knows("sqlx::query") && !knows("store::"),
            name if name == "store.rs" || source.is_below("store") => {
                !knows("tonic") && !knows("ihuman_proto") && !knows("::rpc")
            }
            _ => !knows("ihuman_proto") && !knows("tonic::") && !knows("::rpc::"),
        };
        assert!(allowed, "{} knows more than its step of the way", source.path.display());
    }
}

#[test]
fn only_a_store_contains_sql() {
    for source in sources(&["auth-service/src", "catalog-service/src", "shared/src"]) {
        let in_store = source.name() == "store.rs" || source.is_below("store");
        let in_tests = source.is_below("testing");
        let has_sql = ["query!", "query_as!", "query_scalar!", "sqlx::query"]
            .iter()
            .any(|it| source.code.contains(it));
        assert!(in_store || in_tests || !has_sql, "{} has SQL", source.path.display());
    }
}

#[test]
fn no_status_code_is_chosen_outside_of_the_error_type_and_the_server() {
    for source in sources(&["auth-service/src", "catalog-service/src", "shared/src"]) {
        let path = source.path.to_string_lossy().into_owned();
        let allowed = path.ends_with("shared/src/error.rs")
            || source.is_below("server")
            || source.is_below("testing");
        let chooses = [
            "tonic::Code",
            "[Code::",
            " Code::",
            "(Code::",
            "Status::internal(",
            "Status::invalid_argument(",
            "Status::new(",
        ]
        .iter()
        .any(|it| source.code.contains(it));
        assert!(allowed || !chooses, "{path} chooses a status code");
    }
}

#[test]
fn no_service_migrates_the_database() {
    for service in ["auth-service", "catalog-service"] {
        let manifest = read(&root().join(service).join("Cargo.toml"));
        assert!(!manifest.contains("ihuman-migrations"), "{service} depends on the migrations");
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short_enough_to_read() {
    let all = ["proto", "shared", "auth-service", "catalog-service", "migrations", "xtask"];
    for source in sources(&all) {
        let path = source.path.display();
        assert!(source.text.starts_with("//!"), "{path} does not begin with what it is");
        let lines = source.text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines");
    }
}

#[test]
fn each_rpc_is_in_the_room_of_its_noun() {
    let contract = ["auth", "catalog"].map(|it| root().join(format!("proto/ihuman/{it}/v1")));
    for (service, dir) in ["auth-service", "catalog-service"].iter().zip(contract) {
        let all_rpcs: Vec<Source> =
            rooms().into_iter().filter(|it| it.name() == "rpc.rs").collect();
        for entry in fs::read_dir(dir).unwrap() {
            let proto = read(&entry.unwrap().path());
            let Some(name) = between(&proto, "\nservice ", " {") else { continue };
            let of_service = format!("{service}/src");
            let implements = format!("impl {name} for ");
            let found = all_rpcs
                .iter()
                .filter(|it| it.path.to_string_lossy().contains(&of_service))
                .any(|it| it.code.contains(&implements));
            assert!(found, "no rpc.rs of {service} implements {name}");
        }
    }
}

/// One file of Rust.
struct Source {
    path: PathBuf,
    text: String,
    /// The text without its comments.
    code: String,
}

impl Source {
    fn name(&self) -> &str {
        self.path.file_name().and_then(|it| it.to_str()).unwrap()
    }

    fn is_below(&self, dir: &str) -> bool {
        self.path.components().any(|it| it.as_os_str() == dir)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of the services' rooms.
fn rooms() -> Vec<Source> {
    let all = sources(&["auth-service/src", "catalog-service/src"]);
    let top = |it: &Source| it.path.parent().unwrap().ends_with("src");
    let rooms: Vec<Source> = all.into_iter().filter(|it| !top(it)).collect();
    assert!(rooms.iter().any(|it| it.name() == "rpc.rs"), "the rooms were not found");
    rooms
}

fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for dir in dirs {
        collect(&root().join(dir), &mut found);
    }
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = read(&path);
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
            found.push(Source { path, text, code });
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|it| it.0)
}
