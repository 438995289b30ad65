//! One started program: its output in a file, its signals, its end. Killed when dropped.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const LOG_TAIL_LINES: usize = 15;

/// A program that runs, or ran and can be started again with the same arguments.
#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet.
    pub(crate) fn new(program: &Path, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self {
            program: program.to_owned(),
            arguments,
            log,
            child: None,
        }
    }

    /// Starts it with none of its own options from this process's environment.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.program.display());
        }
        let open = || {
            let log = OpenOptions::new().create(true).append(true).open(&self.log);
            log.with_context(|| format!("cannot write {}", self.log.display()))
        };
        let mut command = Command::new(&self.program);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("TENANTRY_") || name.starts_with("ETCD_") {
                command.env_remove(&key);
            }
        }
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// # Errors
    /// When it was not started.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child
            .as_ref()
            .map(Child::id)
            .context("the process was not started")
    }

    /// # Errors
    /// With the end of its log, when it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.program.display(), self.log_tail()),
        }
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop as a service manager does, and waits until it has.
    ///
    /// # Errors
    /// When it runs on for longer than `patience`; it is killed then.
    pub(crate) async fn stop(&mut self, patience: Duration) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has a positive id")?, Signal::TERM)?;
        let deadline = Instant::now() + patience;
        while let Some(child) = &mut self.child {
            if child.try_wait()?.is_some() {
                self.child = None;
            } else if Instant::now() >= deadline {
                self.kill();
                bail!("{} did not stop in time", self.program.display());
            } else {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Waits until it has ended by itself, and gives back what it printed.
    ///
    /// # Errors
    /// When it fails, or runs on for longer than `patience`; it is killed then.
    pub(crate) async fn finish(&mut self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        while let Some(child) = &mut self.child {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                if !status.success() {
                    bail!("{} failed: {status}\n{}", self.program.display(), self.log_tail());
                }
            } else if Instant::now() >= deadline {
                self.kill();
                bail!("{} did not end in time", self.program.display());
            } else {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        self.printed()
    }

    /// What it has printed so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub(crate) fn printed(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..);
        tail.unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until there is a value.
///
/// # Errors
/// After `patience`, with what was waited for.
pub(crate) async fn value_of<T, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = ask().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The program of this name in the folder of this process's own.
///
/// # Errors
/// When it is not there.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("a process knows its program")?;
    let path = this.parent().unwrap_or(Path::new("")).join(name);
    ensure!(path.is_file(), "{} is missing: build it first", path.display());
    Ok(path)
}

/// `count` addresses of loopback on which nobody listens at this moment. Below the range of outgoing connections, so that
/// a killed process finds its port free again.
///
/// # Errors
/// When there are not enough.
pub(crate) fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    const FIRST: u16 = 12_000;
    const LAST: u16 = 31_999;
    // Held until all are found. Each process begins at another place.
    let mut listeners = Vec::new();
    let begin = u16::try_from(std::process::id() % 18_000).unwrap_or_default();
    for port in (FIRST + begin..=LAST).chain(FIRST..FIRST + begin) {
        if listeners.len() == count {
            break;
        }
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    if listeners.len() < count {
        bail!("this machine has no free ports");
    }
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses
        .collect::<std::io::Result<_>>()
        .context("a bound socket has an address")
}
