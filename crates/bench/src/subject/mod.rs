//! What is measured: groups of three members, ours and etcd's, behind one face.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::load::connect_one;
use crate::machine::processor_time;
use crate::process::{Process, free_ports, value_of};

mod etcd;
mod tenantry;

pub(crate) use etcd::Timing;
pub(crate) use tenantry::is_ready;

/// Members of a group.
pub(crate) const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Debug, Clone)]
pub(crate) enum Product {
    /// Our control plane.
    Tenantry {
        /// Its program.
        program: PathBuf,
    },
    /// The baseline.
    Etcd {
        /// Its program.
        program: PathBuf,
        /// Heartbeats and elections.
        timing: Timing,
    },
}

/// Three members in a folder of their own, which ends with the value.
#[derive(Debug)]
pub(crate) struct Group {
    product: Product,
    members: Vec<Process>,
    /// Where members take clients' gRPC.
    endpoints: Vec<SocketAddr>,
    /// Where ours answers probes.
    probes: Vec<SocketAddr>,
    // Last, so that the folder goes after the processes.
    folder: TempDir,
}

impl Group {
    /// Starts three members in a new folder below `folder` and waits until all know a leader.
    ///
    /// # Errors
    /// When one cannot be started or is not ready in time.
    pub(crate) async fn start(product: &Product, folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("group-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let ports = free_ports(2 * MEMBERS)?;
        let (endpoints, others) = ports.split_at(MEMBERS);
        let mut members = Vec::new();
        for index in 0..MEMBERS {
            let (program, arguments) = match product {
                Product::Tenantry { program } => (
                    program,
                    tenantry::arguments(index, endpoints, others, &member_folder(folder.path(), index)),
                ),
                Product::Etcd { program, timing } => (
                    program,
                    etcd::arguments(index, endpoints, others, *timing, &member_folder(folder.path(), index)),
                ),
            };
            let log = folder.path().join(format!("member-{index}.log"));
            members.push(Process::new(program, arguments, log));
        }
        let mut group = Self {
            product: product.clone(),
            members,
            endpoints: endpoints.to_vec(),
            probes: others.to_vec(),
            folder,
        };
        for member in &mut group.members {
            member.start()?;
        }
        group.leader().await?;
        Ok(group)
    }

    /// All members' addresses for clients.
    pub(crate) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// A member's process.
    ///
    /// # Errors
    /// When there is none with this index.
    pub(crate) fn member(&mut self, index: usize) -> Result<&mut Process> {
        self.members.get_mut(index).context("there is no such member")
    }

    /// Processor time that all members have used since they were started last.
    ///
    /// # Errors
    /// When one does not run.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let times = self.members.iter().map(|member| processor_time(member.pid()?));
        times.sum()
    }

    /// Where a member keeps its data.
    pub(crate) fn data_folder(&self, index: usize) -> PathBuf {
        member_folder(self.folder.path(), index)
    }

    /// The address of the leader alone.
    ///
    /// # Errors
    /// As [`Group::leader`].
    pub(crate) async fn leader_endpoint(&mut self) -> Result<SocketAddr> {
        let leader = self.leader().await?;
        self.endpoints.get(leader).copied().context("there is no such member")
    }

    /// Index of the member that all members take for the leader, waiting until they agree.
    ///
    /// # Errors
    /// When they do not in time, or one has ended.
    pub(crate) async fn leader(&mut self) -> Result<usize> {
        for member in &mut self.members {
            member.check_running()?;
        }
        let (product, endpoints) = (&self.product, &self.endpoints);
        let agreed = value_of("all members to know one leader", PATIENCE, || async {
            let mut agreed = None;
            for (index, endpoint) in endpoints.iter().enumerate() {
                let channel = connect_one(*endpoint).await.ok()?;
                let known = match product {
                    Product::Tenantry { .. } => tenantry::leader(channel).await?,
                    Product::Etcd { .. } => etcd::leader(channel).await?,
                };
                let leader = match known {
                    Known::Index(leader) => leader,
                    Known::Itself => index,
                    Known::Another => continue,
                };
                if agreed.replace(leader).is_some_and(|before| before != leader) {
                    return None;
                }
            }
            agreed
        });
        let agreed = agreed.await;
        for member in &mut self.members {
            member.check_running()?;
        }
        agreed
    }

    /// Waits until one of our members answers its readiness probe.
    ///
    /// # Errors
    /// When it does not in time, or has ended.
    pub(crate) async fn wait_until_ready(&mut self, index: usize) -> Result<()> {
        let probe = *self.probes.get(index).context("there is no such member")?;
        let ready = value_of("a member to be ready", PATIENCE, || is_ready(probe)).await;
        self.member(index)?.check_running()?;
        ready
    }
}

/// What a member says of the leader.
enum Known {
    Index(usize),
    Itself,
    Another,
}

fn member_folder(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("member-{index}"))
}

fn flags(pairs: &[(&str, OsString)]) -> Vec<OsString> {
    let flag = |(name, value): &(&str, OsString)| [OsString::from(format!("--{name}")), value.clone()];
    pairs.iter().flat_map(flag).collect()
}
