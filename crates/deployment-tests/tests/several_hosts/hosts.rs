//! Hosts that are network namespaces: one interface and one address each, joined by a bridge in a namespace of its own. Nothing of
//! them is seen from this machine's own network, and all of it goes with the namespaces.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use process_tests::run_bounded;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "tnt";
const FOLDER: &str = "/run/netns";
/// What the kernel calls this test, cut to its 15 characters.
const PROGRAM: &str = "several_hosts";
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine of the site, as far as the network can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// Of member 1, 2 or 3.
    Member(u8),
    /// Of node 1 or 2.
    Node(u8),
    /// Where tenants' clients and operators are.
    Client,
}

/// Every host.
pub(crate) const ALL: [Host; 6] = [
    Host::Member(1),
    Host::Member(2),
    Host::Member(3),
    Host::Node(1),
    Host::Node(2),
    Host::Client,
];
/// Those of the control plane.
pub(crate) const MEMBERS: [Host; 3] = [Host::Member(1), Host::Member(2), Host::Member(3)];

impl Host {
    fn name(self) -> String {
        match self {
            Self::Member(id) => format!("m{id}"),
            Self::Node(id) => format!("n{id}"),
            Self::Client => "c".to_owned(),
        }
    }

    /// Its only address but loopback's.
    pub(crate) fn address(self) -> Ipv4Addr {
        let last = match self {
            Self::Member(id) => id,
            Self::Node(id) => 10 + id,
            Self::Client => 100,
        };
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// The address with a port.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        (self.address(), port).into()
    }
}

/// The namespaces. They are removed with this value.
#[derive(Debug)]
pub(crate) struct Hosts {
    run: String,
}

impl Hosts {
    /// Makes them, after removing what runs that were killed have left.
    pub(crate) fn create() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("namespaces are made by root alone".to_owned());
        }
        for (program, flag) in [("ip", "-V"), ("nft", "--version")] {
            run_bounded(Command::new(program).arg(flag), PATIENCE)?;
        }
        remove_leftovers();
        let hosts = Self {
            run: format!("{PREFIX}{}", process::id()),
        };
        hosts.join_all()?;
        Ok(hosts)
    }

    fn join_all(&self) -> Result<(), String> {
        let bridge = self.namespace("bridge");
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link add hosts type bridge"))?;
        ip(&format!("-n {bridge} link set hosts up"))?;
        for host in ALL {
            let (name, namespace) = (host.name(), self.namespace(&host.name()));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!(
                "-n {bridge} link add {name} type veth peer name eth0 netns {namespace}"
            ))?;
            ip(&format!("-n {bridge} link set {name} master hosts up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} address add {}/24 dev eth0", host.address()))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(())
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.run)
    }

    /// Takes the calling thread to `host`, with all threads and processes that it starts from now on.
    pub(crate) fn enter(&self, host: Host) {
        let path = Path::new(FOLDER).join(self.namespace(&host.name()));
        let namespace = File::open(path).expect("the namespace is there");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
    }

    /// Does something on `host`, on a thread that ends with it.
    pub(crate) fn on<T: Send>(&self, host: Host, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter(host);
                act()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        remove(&format!("{}-", self.run));
    }
}

fn ip(arguments: &str) -> Result<String, String> {
    run_bounded(Command::new("ip").args(arguments.split(' ')), PATIENCE)
}

/// Ends what runs in namespaces whose names begin so, and removes them.
fn remove(prefix: &str) {
    for name in names() {
        if name.starts_with(prefix) {
            for pid in ip(&format!("netns pids {name}")).unwrap_or_default().lines() {
                let pid = pid.parse().ok().filter(|pid| *pid != own_pid()).and_then(Pid::from_raw);
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
            if let Err(reason) = ip(&format!("netns delete {name}")) {
                eprintln!("{name} stays: {reason}");
            }
        }
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// A run that was killed could remove nothing. Its namespaces, and what runs in them, belong to nobody.
fn remove_leftovers() {
    for name in names() {
        let Some((run, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if run.parse::<u32>().is_ok() && !is_a_run(run) {
            remove(&format!("{PREFIX}{run}-"));
        }
    }
}

fn is_a_run(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(PROGRAM))
}
