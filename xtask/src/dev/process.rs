//! Starting processes that outlive this one, knowing them again, and stopping exactly those. Reads `/proc`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{self, Service};
use super::state_file::ProcessRecord;

/// After SIGTERM a process has this long before SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A process that this one started.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) record: ProcessRecord,
    /// Bytes that the log held before: what earlier runs wrote.
    pub(crate) log_start: u64,
}

/// Starts `service` in its own process group (Ctrl-C in the terminal does not reach it), its output appended to its log.
pub(crate) fn start(service: &Service, program: &Path, data: &Path) -> Result<Started> {
    let log = cluster::log_file(data, &service.name);
    let log_start = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let open = || OpenOptions::new().create(true).append(true).open(&log);
    let output = open().and_then(|file| Ok((file.try_clone()?, file)));
    let (stdout, stderr) = output.with_context(|| format!("cannot open {}", log.display()))?;
    let mut child = Command::new(program)
        .args(&service.args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {} ({})", service.name, program.display()))?;
    match identify(service, &child) {
        Ok(record) => Ok(Started {
            child,
            record,
            log_start,
        }),
        Err(error) => {
            // What could not be recorded could not be stopped later.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn identify(service: &Service, child: &Child) -> Result<ProcessRecord> {
    let pid = i32::try_from(child.id()).context("a pid beyond 31 bits")?;
    let Stat { start_ticks, .. } = stat(pid).with_context(|| format!("/proc does not show {}", service.name))?;
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(ProcessRecord {
        name: service.name.clone(),
        pid,
        start_ticks,
        boot_id: boot_id()?,
        started_unix_ms: u64::try_from(since_epoch.as_millis())?,
        ops: service.ops,
    })
}

/// Whether the very process of the record still runs. A zombie does not.
pub(crate) fn is_alive(record: &ProcessRecord) -> bool {
    let same_boot = boot_id().is_ok_and(|id| id == record.boot_id);
    same_boot && stat(record.pid).is_some_and(|stat| stat.running && stat.start_ticks == record.start_ticks)
}

/// Stops the processes that still are the recorded ones: nodes first, because they report to the control plane while they stop.
/// SIGTERM, a bounded wait, then SIGKILL.
///
/// # Errors
/// Names a process that could not be stopped.
pub(crate) fn stop(records: &[ProcessRecord]) -> Result<()> {
    let (members, nodes): (Vec<_>, Vec<_>) = records
        .iter()
        .partition(|record| record.name.starts_with(cluster::Role::ControlPlane.program()));
    for wave in [nodes, members] {
        stop_wave(&wave, STOP_TIMEOUT)?;
    }
    Ok(())
}

fn stop_wave(records: &[&ProcessRecord], patience: Duration) -> Result<()> {
    for record in records {
        send(record, Signal::TERM)?;
    }
    let left = wait_until_gone(records, patience);
    for record in &left {
        println!(
            "{} did not stop within {} s: killing it",
            record.name,
            patience.as_secs()
        );
        send(record, Signal::KILL)?;
    }
    match wait_until_gone(&left, STOP_TIMEOUT).as_slice() {
        [] => Ok(()),
        [record, ..] => bail!("{} (pid {}) cannot be killed", record.name, record.pid),
    }
}

fn wait_until_gone<'r>(records: &[&'r ProcessRecord], patience: Duration) -> Vec<&'r ProcessRecord> {
    let deadline = Instant::now() + patience;
    loop {
        let left: Vec<&ProcessRecord> = records.iter().copied().filter(|record| is_alive(record)).collect();
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn send(record: &ProcessRecord, signal: Signal) -> Result<()> {
    let Some(pid) = Pid::from_raw(record.pid).filter(|_| is_alive(record)) else {
        return Ok(());
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal {} (pid {})", record.name, record.pid)),
    }
}

/// The last `lines` lines of a service's log after the first `start` bytes, indented; says so when there are none.
pub(crate) fn log_tail(data: &Path, name: &str, start: u64, lines: usize) -> String {
    let path = cluster::log_file(data, name);
    let log = fs::read(&path).unwrap_or_default();
    let this_run = usize::try_from(start)
        .ok()
        .and_then(|start| log.get(start..))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(this_run);
    let all: Vec<&str> = text.lines().collect();
    let tail = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    match tail {
        [] => format!("  (it wrote nothing to {})", path.display()),
        tail => format!("  end of {}:\n    {}", path.display(), tail.join("\n    ")),
    }
}

struct Stat {
    running: bool,
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields of `/proc/PID/stat` after the command, which stands in parentheses and may itself contain any.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3 of the file, the start field 22.
    let start_ticks = fields.nth(22 - 3 - 1)?.parse().ok()?;
    Some(Stat {
        running: !matches!(state, "Z" | "X"),
        start_ticks,
    })
}

fn boot_id() -> Result<String> {
    let read = |path| -> io::Result<String> { Ok(fs::read_to_string(path)?.trim().to_owned()) };
    read("/proc/sys/kernel/random/boot_id").context("cannot read the boot id (up, down and status need Linux)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str) -> (Child, ProcessRecord, tempfile::TempDir) {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(cluster::logs(data.path())).unwrap();
        let mut service = cluster::services(data.path()).pop().unwrap();
        service.args = vec!["-c".into(), script.into()];
        let Started { child, record, .. } = start(&service, Path::new("/bin/sh"), data.path()).unwrap();
        (child, record, data)
    }

    #[test]
    fn a_started_process_is_known_again_and_stopped() {
        let (mut child, record, data) = sleeper("echo started; exec sleep 600");
        assert!(is_alive(&record));
        let other = ProcessRecord {
            start_ticks: record.start_ticks + 1,
            ..record.clone()
        };
        assert!(
            !is_alive(&other),
            "the same pid, started at another time, is another process"
        );
        let before_reboot = ProcessRecord {
            boot_id: "another".to_owned(),
            ..record.clone()
        };
        stop(&[other, before_reboot]).unwrap();
        assert!(is_alive(&record), "strangers are left alone");

        stop(std::slice::from_ref(&record)).unwrap();
        assert!(!is_alive(&record), "a zombie counts as stopped");
        child.wait().unwrap();
        let log = fs::read_to_string(cluster::log_file(data.path(), &record.name)).unwrap();
        assert!(log.is_empty() || log == "started\n", "{log}");
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let (mut child, record, data) = sleeper("trap '' TERM; echo deaf; while :; do sleep 0.05; done");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !log_tail(data.path(), &record.name, 0, 1).ends_with("deaf") {
            assert!(Instant::now() < deadline, "the script did not start");
            thread::sleep(POLL_INTERVAL);
        }
        stop_wave(&[&record], Duration::from_millis(100)).unwrap();
        assert!(!is_alive(&record));
        child.wait().unwrap();
    }

    #[test]
    fn stat_is_read_past_any_command_name() {
        let tail = "S 1 1 1 0 -1 4194304 10 0 0 0 1 2 0 0 20 0 1 0 4242 1000 10";
        for name in ["sh", "a b", "x) Z 1 1 ("] {
            let stat = parse_stat(&format!("17 ({name}) {tail}")).unwrap();
            assert!(stat.running, "{name}");
            assert_eq!(stat.start_ticks, 4242, "{name}");
        }
        assert!(
            !parse_stat(&format!("17 (sh) {}", tail.replacen('S', "Z", 1)))
                .unwrap()
                .running
        );
        assert!(parse_stat("17 (sh) S 1").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines_of_this_run() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(cluster::logs(data.path())).unwrap();
        let log = cluster::log_file(data.path(), "node-1");
        fs::write(&log, "a\nb\nc\n").unwrap();
        for (start, end) in [
            (0, ":\n    b\n    c"),
            (4, ":\n    c"),
            (6, "node-1.log)"),
            (7, "node-1.log)"),
        ] {
            let tail = log_tail(data.path(), "node-1", start, 2);
            assert!(tail.ends_with(end), "{start}: {tail}");
        }
        assert!(log_tail(data.path(), "node-2", 0, 2).starts_with("  (it wrote nothing to "));
    }
}
