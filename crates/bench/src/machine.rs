//! What a reader of the figures has to know about the machine that gave them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// One line: date, cores, processor, memory, kernel, file system of `folder`, load of the last minutes.
pub(crate) fn facts(folder: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism().context("cannot count the cores")?;
    let memory = field("/proc/meminfo", "MemTotal");
    let processor = field("/proc/cpuinfo", "model name");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    Ok(format!(
        "{date} · {cores} cores ({processor}), {memory} · Linux {kernel} · data on {fs} · load averages {load}",
        date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        fs = file_system(folder)?,
        load = load.join(" "),
    ))
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When it does not run.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib * 1024)
}

/// File descriptors that a process has open.
///
/// # Errors
/// When it does not run.
pub(crate) fn open_descriptors(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(u64::try_from(entries.count())?)
}

/// Processor time that a process has used so far, its own and the system's on its behalf.
///
/// # Errors
/// When it does not run.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name, in brackets, may hold anything; fields 14 and 15 of all are the 12th and 13th behind it.
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields);
    let ticks = fields.map(|fields| {
        fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
    });
    let ticks: u64 = ticks.with_context(|| format!("{path} is malformed"))?.sum();
    Ok(Duration::from_millis(
        ticks * 1_000 / rustix::param::clock_ticks_per_second(),
    ))
}

/// Where the time of all cores has gone so far, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CoresTime {
    all: u64,
    stolen: u64,
}

impl CoresTime {
    /// Until now. Nothing where the kernel does not tell.
    pub(crate) fn now() -> Self {
        Self::of(&read("/proc/stat"))
    }

    fn of(stat: &str) -> Self {
        let all_cores = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests had is in the first two.
        let ticks: Vec<u64> = all_cores
            .into_iter()
            .flat_map(str::split_whitespace)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        Self {
            all: ticks.iter().sum(),
            stolen: ticks.get(7).copied().unwrap_or_default(),
        }
    }

    /// The share of the time since `before` that the host of this machine had for others while this machine wanted it.
    #[expect(clippy::cast_precision_loss, reason = "ticks of hours are far below 2^53")]
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let stolen = self.stolen.saturating_sub(before.stolen) as f64;
        stolen / (self.all.saturating_sub(before.all).max(1)) as f64
    }
}

/// The same as [`processor_time`] to the nanosecond, for spans that are too short for its ticks; of the threads that run
/// now: what ended ones have used is missing.
///
/// # Errors
/// When it does not run.
pub(crate) fn threads_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    let mut nanos: u64 = 0;
    for thread in threads {
        // A thread may end between the two.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let used = text.split(' ').next().and_then(|used| used.parse::<u64>().ok());
        nanos += used.with_context(|| format!("a thread's schedstat below {path} is malformed"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Type and device of the mount that holds `folder`.
fn file_system(folder: &Path) -> Result<String> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot resolve {}", folder.display()))?;
    let mounts = read("/proc/self/mounts");
    let mut found = ("", "unknown");
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(_), Some(point), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // Later mounts cover earlier ones.
        if folder.starts_with(point) && point.len() >= found.0.len() {
            found = (point, kind);
        }
    }
    Ok(found.1.to_owned())
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

/// Empty when there is no such file: facts are told as far as they are known.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_told_as_a_share_of_all_cores() {
        let before = CoresTime::of("cpu  10 0 10 70 0 0 0 10 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let after = CoresTime::of("cpu  20 0 20 140 0 0 0 20 9 9\n");
        assert!((after.stolen_since(before) - 0.1).abs() < 1e-9);
        assert!(before.stolen_since(after).abs() < 1e-9);
        assert!(CoresTime::of("").stolen_since(CoresTime::default()).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_memory_and_a_process_that_is_gone_has_none() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(resident_bytes(u32::MAX).is_err());
        assert!(processor_time(std::process::id()).is_ok());
        assert!(processor_time(u32::MAX).is_err());
        assert!(threads_time(std::process::id()).unwrap() > Duration::ZERO);
        assert!(threads_time(u32::MAX).is_err());
    }

    #[test]
    fn the_facts_name_the_file_system() {
        let facts = facts(Path::new("/proc")).unwrap();
        assert!(facts.contains("data on proc"), "{facts}");
    }
}
