//! .
#[allow(dead_code, reason = "the commands that use it are written on another branch")]
mod samples;
fn main() {}
