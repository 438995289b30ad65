//! `cargo xtask status`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::dev::readiness::{Readiness, readiness};
use crate::dev::state_file::{ProcessRecord, Processes};
use crate::dev::{demo, process};

/// Prints the recorded processes of `data`; fails unless all are ready.
pub(crate) fn run(data: &Path) -> Result<()> {
    let recorded = Processes::load(data)?;
    ensure!(
        !recorded.processes.is_empty(),
        "nothing runs on {}: `cargo xtask up` starts it",
        data.display()
    );
    let states: Vec<State> = recorded.processes.iter().map(state).collect();
    let header = ["process", "pid", "uptime", "ops", "state"].map(str::to_owned).to_vec();
    let rows = recorded
        .processes
        .iter()
        .zip(&states)
        .map(|(record, state)| row(record, state));
    for line in demo::align(&std::iter::once(header).chain(rows).collect::<Vec<_>>()) {
        println!("{line}");
    }
    let ready = states.iter().filter(|state| matches!(state, State::Ready)).count();
    ensure!(
        ready == states.len(),
        "{} of {} processes are ready",
        ready,
        states.len()
    );
    Ok(())
}

enum State {
    Ready,
    NotReady(String),
    Gone,
}

fn state(record: &ProcessRecord) -> State {
    if !process::is_alive(record) {
        return State::Gone;
    }
    match readiness(record.ops) {
        Readiness::Ready => State::Ready,
        Readiness::NotYet(why) => State::NotReady(why),
    }
}

fn row(record: &ProcessRecord, state: &State) -> Vec<String> {
    let (pid, uptime, state) = match state {
        State::Gone => ("-".to_owned(), "-".to_owned(), "gone".to_owned()),
        State::Ready => (record.pid.to_string(), uptime(record), "ready".to_owned()),
        State::NotReady(why) => (record.pid.to_string(), uptime(record), format!("not ready: {why}")),
    };
    vec![record.name.clone(), pid, uptime, record.ops.to_string(), state]
}

fn uptime(record: &ProcessRecord) -> String {
    let started = UNIX_EPOCH + Duration::from_millis(record.started_unix_ms);
    // The clock may have been set back since.
    show(SystemTime::now().duration_since(started).unwrap_or_default())
}

/// The two largest units: `3d 4h`, `2m 5s`.
fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m 5s"),
            (3600, "1h 0m"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(show(Duration::from_secs(seconds)), text);
        }
    }
}
