//! Programs that we run, and their end, which none of them outlives.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// A program and all that it starts in turn: killed together when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
}

impl Group {
    /// Starts the program in a process group of its own, so that a Ctrl-C reaches
    /// us alone and we decide what stops when.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", name(command)))?;
        Ok(Self { child })
    }

    /// Asks the program to stop, and kills it if it has not after this time.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.send(Signal::TERM);
        let _ = tokio::time::timeout(patience, self.child.wait()).await;
    }

    fn send(&self, signal: Signal) {
        // There is no id any more once the program has ended and was waited for.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}

/// Runs a program to its end, with our output as its own.
pub(crate) async fn run(command: &mut Command) -> Result<ExitStatus> {
    let mut group = Group::spawn(command)?;
    Ok(group.child.wait().await?)
}

/// Runs a program to its end, which must be a success.
pub(crate) async fn succeed(command: &mut Command) -> Result<()> {
    let status = run(command).await?;
    if !status.success() {
        bail!("{}: {status}", name(command));
    }
    Ok(())
}

/// Returns when somebody wants us to stop, with the exit code that says so.
pub(crate) async fn interrupted() -> Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        _ = hang_up.recv() => 129,
    })
}

fn name(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
