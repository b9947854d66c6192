//! The table that is printed, and what it promises.

use std::{fs, time::Duration};

use super::load::Measured;

/// What token-verified calls may take under a storm of logins, at the 99th percentile.
const P99_MAX_MS: f64 = 25.0;

/// A line of the table.
pub(super) struct Line {
    name: &'static str,
    measured: Measured,
    note: String,
}

impl Line {
    pub(super) fn new(name: &'static str, measured: Measured, note: String) -> Self {
        Self { name, measured, note }
    }

    /// The same with something else to say.
    pub(super) fn with_note(self, note: String) -> Self {
        Self { note, ..self }
    }

    /// Calls a second.
    pub(super) fn rate(&self) -> f64 {
        self.measured.rate()
    }

    /// Prints it.
    pub(super) fn print(&self) {
        let Self { name, measured, note } = self;
        let (p50, p99) = (measured.percentile_ms(50), measured.percentile_ms(99));
        println!("{name:<44} {:>9.1} {p50:>9.2} {p99:>9.2}  {note}", measured.rate());
    }

    /// Whether calls were as fast as is promised.
    pub(super) fn is_fast(&self) -> bool {
        self.measured.percentile_ms(99) < P99_MAX_MS
    }
}

/// Prints what the lines are of.
pub(super) fn head() {
    println!("\n{:<44} {:>9} {:>9} {:>9}", "", "per s", "p50 ms", "p99 ms");
}

/// Prints what it was measured on.
pub(super) fn machine(cores: usize, settings: &[(&'static str, String)]) {
    println!("{cores} cores, shared by client, server, PostgreSQL and echo; {}", load_average());
    for (name, value) in settings {
        println!("  {name}={value}");
    }
}

/// How busy the machine was with whatever else runs on it.
pub(super) fn load_average() -> String {
    match fs::read_to_string("/proc/loadavg") {
        Ok(text) => {
            let of = text.split(' ').take(3).collect::<Vec<_>>().join(" ");
            format!("load average {of}")
        }
        Err(_) => "load average not known".to_owned(),
    }
}

/// Says whether the promises were kept.
pub(super) fn verdict(under_storm: &[Line], refused: usize, lasted: Duration) -> bool {
    let fast = under_storm.iter().all(Line::is_fast);
    let is = |holds: bool| if holds { "kept" } else { "NOT KEPT" };
    println!("\np99 of token-verified calls under the storm below {P99_MAX_MS} ms: {}", is(fast));
    println!(
        "surplus logins refused with RESOURCE_EXHAUSTED and RetryInfo: {} ({refused} in {lasted:.0?})",
        is(refused > 0)
    );
    println!("{}", load_average());
    fast && refused > 0
}
