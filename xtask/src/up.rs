//! `cargo xtask up`: a whole cluster on this machine, in one command.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::dev::binaries::{self, Binaries, TENANTCTL};
use crate::dev::cluster::{self, Service};
use crate::dev::interrupt::Interrupt;
use crate::dev::process::Started;
use crate::dev::readiness::{Readiness, readiness};
use crate::dev::state_file::Processes;
use crate::dev::{demo, preflight, process};
use crate::workspace;

/// From the start of the processes until all are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const LOG_TAIL_LINES: usize = 20;

/// What happens once everything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Stay until Ctrl-C, then stop everything.
    Foreground,
    /// Leave everything running.
    Detached,
}

impl Mode {
    pub(crate) fn new(detach: bool) -> Self {
        if detach { Self::Detached } else { Self::Foreground }
    }
}

/// Brings the cluster of `data` up. When a part of it does not come up, what this call started is stopped again.
pub(crate) fn run(data: &Path, mode: Mode) -> Result<()> {
    let interrupt = Interrupt::register().context("cannot catch Ctrl-C")?;
    preflight::c_compiler()?;
    preflight::claim_data_folder(data)?;
    let services = cluster::services(data);
    let recorded = Processes::load(data)?;
    let missing = not_running(&services, &recorded);
    ensure!(
        !missing.is_empty(),
        "already running on {}: `cargo xtask status` shows it, `cargo xtask down` stops it",
        data.display()
    );
    preflight::ports_free(missing.iter().copied())?;
    println!("building control-plane, tenant-node and {TENANTCTL}");
    let binaries = binaries::build()?;

    let mut launch = Launch {
        data,
        interrupt: &interrupt,
        recorded,
        children: Vec::new(),
    };
    if let Err(error) = launch.bring_up(&missing, &binaries) {
        launch.take_back();
        return Err(error);
    }
    print_next_steps(data, &binaries, mode)?;
    match mode {
        Mode::Detached => Ok(()),
        Mode::Foreground => stay(data, &interrupt),
    }
}

fn not_running<'s>(services: &'s [Service], recorded: &Processes) -> Vec<&'s Service> {
    let runs = |service: &Service| {
        recorded
            .processes
            .iter()
            .any(|record| record.name == service.name && process::is_alive(record))
    };
    services.iter().filter(|service| !runs(service)).collect()
}

/// The processes that this call started.
struct Launch<'a> {
    data: &'a Path,
    interrupt: &'a Interrupt,
    recorded: Processes,
    children: Vec<(&'a Service, Started)>,
}

impl<'a> Launch<'a> {
    fn bring_up(&mut self, missing: &[&'a Service], binaries: &Binaries) -> Result<()> {
        for &service in missing {
            self.interrupt.check()?;
            let started = process::start(service, binaries.get(service.role.program())?, self.data)?;
            self.recorded.put(started.record.clone());
            self.children.push((service, started));
            self.recorded.store(self.data)?;
        }
        self.wait_until_ready()?;
        demo::create_tenant(binaries.get(TENANTCTL)?)?;
        demo::load_rows(self.interrupt)?;
        println!("{}", demo::QUERY);
        for line in demo::ask(self.interrupt)? {
            println!("  {line}");
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut ready = vec![false; self.children.len()];
        while !ready.iter().all(|ready| *ready) {
            self.interrupt.check()?;
            let mut waiting = Vec::new();
            for ((service, started), ready) in self.children.iter_mut().zip(&mut ready) {
                if let Some(status) = started.child.try_wait()? {
                    let tail = process::log_tail(self.data, &service.name, started.log_start, LOG_TAIL_LINES);
                    bail!("{} ended ({status}) before it was ready\n{tail}", service.name);
                }
                if *ready {
                    continue;
                }
                match readiness(service.ops) {
                    Readiness::Ready => {
                        println!("{} is ready", service.name);
                        *ready = true;
                    }
                    Readiness::NotYet(why) => waiting.push((*service, started.log_start, why)),
                }
            }
            if !waiting.is_empty() && Instant::now() >= deadline {
                let causes: Vec<String> = waiting
                    .iter()
                    .map(|(service, log_start, why)| {
                        let tail = process::log_tail(self.data, &service.name, *log_start, LOG_TAIL_LINES);
                        format!("{}: {why}\n{tail}", service.name)
                    })
                    .collect();
                bail!("not ready after {} s:\n{}", READY_TIMEOUT.as_secs(), causes.join("\n"));
            }
            if !waiting.is_empty() {
                thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    /// Stops what this call started, and forgets it. What ran before stays.
    fn take_back(&mut self) {
        let started = |name: &str| self.children.iter().any(|(service, _)| service.name == name);
        let (ours, others) = self
            .recorded
            .processes
            .drain(..)
            .partition(|record| started(&record.name));
        self.recorded.processes = others;
        let stopped = process::stop(&ours).and_then(|()| self.recorded.store(self.data));
        if let Err(error) = stopped {
            eprintln!("while stopping what was started: {error:#}");
        }
    }
}

/// Keeps the foreground until Ctrl-C. A process that ends by itself is named; the others run on, as they would in production.
fn stay(data: &Path, interrupt: &Interrupt) -> Result<()> {
    let mut gone: Vec<(String, i32)> = Vec::new();
    loop {
        // Read anew each time: another `up` may have restarted a process, and `down` may have stopped all.
        let running = Processes::load(data)?;
        if running.processes.is_empty() {
            println!("stopped by `cargo xtask down`");
            return Ok(());
        }
        if interrupt.requested() {
            println!("\nstopping");
            process::stop(&running.processes)?;
            Processes::default().store(data)?;
            println!("stopped; the data is kept in {}", data.display());
            return Ok(());
        }
        for record in &running.processes {
            let key = (record.name.clone(), record.pid);
            if !process::is_alive(record) && !gone.contains(&key) {
                println!(
                    "{} (pid {}) is gone: `cargo xtask up` in another terminal starts it again",
                    key.0, key.1
                );
                gone.push(key);
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn print_next_steps(data: &Path, binaries: &Binaries, mode: Mode) -> Result<()> {
    let tenantctl = binaries.get(TENANTCTL)?;
    let tenantctl = tenantctl.strip_prefix(workspace::root()).unwrap_or(tenantctl).display();
    let host = demo::host();
    let nodes: Vec<String> = (1..=cluster::NODES)
        .map(|id| cluster::data_http(id).port().to_string())
        .collect();
    println!(
        "
Tenantry runs.
  demo database    http://{host} (each tenant under its own name; ports {} serve all)
  control plane    {}",
        nodes.join(" and "),
        cluster::endpoints()
    );
    for service in cluster::services(data) {
        println!("  {:<15}  http://{}/metrics", service.name, service.ops);
    }
    println!(
        "  logs             {}

Try next:
  curl -s http://{host}/v2/pipeline -d '{{\"requests\":[{{\"type\":\"execute\",\"stmt\":{{\"sql\":\"select * from planets\"}}}}]}}'
  {tenantctl} --endpoint {endpoints} tenant create acme --tier small
  {tenantctl} --endpoint {endpoints} cluster status
",
        cluster::logs(data).display(),
        endpoints = cluster::endpoints()
    );
    match mode {
        Mode::Foreground => println!("Ctrl-C stops everything."),
        Mode::Detached => println!("`cargo xtask status` shows it, `cargo xtask down` stops it."),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_whose_process_is_gone_are_missing() {
        let services = cluster::services(Path::new("/data"));
        assert_eq!(not_running(&services, &Processes::default()).len(), services.len());
    }
}
