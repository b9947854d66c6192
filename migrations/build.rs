//! Has the crate compiled again when a migration is added or taken away.

fn main() {
    println!("cargo:rerun-if-changed=.");
}
