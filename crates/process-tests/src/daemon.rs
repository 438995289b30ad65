//! One of our processes: started, signalled, waited for, started again on the same folder.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::http::get;
use crate::programs::command;
use crate::wait::value_of;

const LOG_TAIL_LINES: usize = 25;
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// A process, or one that was and can be again. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: &'static str,
    arguments: Vec<String>,
    /// Metrics and probes.
    pub ops: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Not started yet; its output goes to a file in `folder`.
    #[must_use]
    pub fn new(name: String, program: &'static str, arguments: Vec<String>, ops: SocketAddr, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self {
            name,
            program,
            arguments,
            ops,
            log,
            child: None,
        }
    }

    /// The value that it is given for the flag `--name`.
    ///
    /// # Panics
    /// When it is given none.
    #[must_use]
    pub fn argument(&self, name: &str) -> &str {
        let flag = format!("--{name}");
        let at = self.arguments.iter().position(|argument| *argument == flag);
        at.and_then(|at| self.arguments.get(at + 1)).expect("it has the flag")
    }

    /// Gives it another value for the flag `--name` from the next start on.
    ///
    /// # Panics
    /// When it is given none so far.
    pub fn set_argument(&mut self, name: &str, value: &str) {
        let flag = format!("--{name}");
        let at = self.arguments.iter().position(|argument| *argument == flag);
        let given = at
            .and_then(|at| self.arguments.get_mut(at + 1))
            .expect("it has the flag");
        value.clone_into(given);
    }

    /// Gives it the flag `--name` as well, from the next start on.
    pub fn add_argument(&mut self, name: &str, value: &str) {
        self.arguments.extend([format!("--{name}"), value.to_owned()]);
    }

    /// Starts the process; does not wait until it is ready.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.log)
                .expect("the log can be written")
        };
        let child = command(self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("the program can be started");
        self.child = Some(child);
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Panics
    /// When the process ends, or is not ready in time.
    pub fn wait_until_ready(&mut self) {
        let name = self.name.clone();
        value_of(&format!("{name} to be ready"), READY_PATIENCE, || {
            assert!(
                self.ended().is_none(),
                "{name} ended before it was ready:\n{}",
                self.log_tail()
            );
            match get(self.ops, "localhost", "/readyz") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// The process id while it runs.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).expect("the process was started")
    }

    /// How it ended, if it did by itself.
    ///
    /// # Panics
    /// When it was not started.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the process was started");
        child.try_wait().expect("a child can be waited for")
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, as a service manager does; does not wait.
    ///
    /// # Panics
    /// When it does not run.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops all its threads where they are. A killed process need not be woken first.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a pid");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it runs on for longer than `patience`.
    pub fn wait_until_ended(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        let status = value_of(&what, patience, || self.ended().ok_or_else(|| "it runs".to_owned()));
        self.child = None;
        status
    }

    /// All that it wrote, of every start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(LOG_TAIL_LINES)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- end of the log of {}\n{}", self.name, self.log_tail());
        }
    }
}
