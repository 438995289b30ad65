//! `cargo xtask down`.

use std::path::Path;

use anyhow::Result;

use crate::dev::process;
use crate::dev::state_file::Processes;

/// Stops the recorded processes of `data` that still are ours. The data stays.
pub(crate) fn run(data: &Path) -> Result<()> {
    let recorded = Processes::load(data)?;
    let running = recorded
        .processes
        .iter()
        .filter(|record| process::is_alive(record))
        .count();
    process::stop(&recorded.processes)?;
    if !recorded.processes.is_empty() {
        Processes::default().store(data)?;
    }
    match running {
        0 => println!("nothing runs on {}", data.display()),
        _ => println!("stopped {running} processes; the data is kept in {}", data.display()),
    }
    Ok(())
}
