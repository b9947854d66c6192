//! How the story is told: what is seen, and what is wrong.

use std::fmt::Debug;

use anyhow::{Result, anyhow, bail};
use ihuman_proto::{auth::v1::User, catalog::v1::ExecutionState};
use tonic::{Code, Response, Status};

use crate::client::{explain, reason};

/// A line about one revision of an execution.
pub(super) fn show(revision: i64, now: ExecutionState, percent: i32, step: &str) {
    see(&format!("revision {revision}: {} {percent:>3} % {step}", state(now)));
}

/// A line about what is seen.
pub(super) fn see(line: &str) {
    println!("   {line}");
}

/// The message of an answer that must be a success.
pub(super) fn call<T>(rpc: &str, result: Result<Response<T>, Status>) -> Result<T> {
    expect(rpc, result.map(Response::into_inner))
}

/// What must be a success.
pub(super) fn expect<T>(rpc: &str, result: Result<T, Status>) -> Result<T> {
    result.map_err(|status| anyhow!("expected {rpc} to succeed, got {}", explain(&status)))
}

/// A refusal that must come, with this code and reason.
pub(super) fn refuse<T: Debug>(
    rpc: &str,
    result: Result<T, Status>,
    code: Code,
    why: &str,
) -> Result<()> {
    match result {
        Err(status) if status.code() == code && reason(&status) == why => {
            see(&format!("{rpc}: {}", explain(&status)));
            Ok(())
        }
        Err(status) => bail!("expected {rpc} to be {code:?} {why}, got {}", explain(&status)),
        Ok(answer) => bail!("expected {rpc} to be {code:?} {why}, got {answer:?}"),
    }
}

/// The role's name, without its prefix.
pub(super) fn role(user: &User) -> &'static str {
    user.role().as_str_name().trim_start_matches("ROLE_")
}

/// The state's name, without its prefix.
pub(super) fn state(state: ExecutionState) -> &'static str {
    state.as_str_name().trim_start_matches("EXECUTION_STATE_")
}

/// JSON on one line, cut where a terminal would break it several times.
pub(super) fn brief(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
