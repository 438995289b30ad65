//! A tenant-node with its control plane, as operators start them, and tenants on it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tenantry_proto::v1;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Programs;
use super::client::Connection;
use super::requests::{Requests, Target, setup};
use crate::load::{self, connect, connect_one};
use crate::operation::{Operation, tenant_id};
use crate::process::{Process, free_ports, value_of};
use crate::subject::{Group, Product, is_ready};

/// Creations and set-ups at once.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// A new tenant is served as soon as its node has heard of it.
const PLACEMENT_PATIENCE: Duration = Duration::from_secs(30);

/// What differs from the node's defaults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NodeOptions {
    /// Databases open at once.
    pub(crate) max_open_tenants: Option<usize>,
    /// Tenants that have series of their own.
    pub(crate) metrics_tenant_limit: Option<usize>,
    pub(crate) sample_interval: Option<Duration>,
}

/// Three control-plane members and one node, which end with the value.
pub(crate) struct Node {
    process: Process,
    program: PathBuf,
    ports: Ports,
    control_plane: Group,
    // Last, so that the folder goes after the process.
    folder: TempDir,
}

/// Where a node listens.
struct Ports {
    /// Tenants' HTTP.
    data: SocketAddr,
    peer: SocketAddr,
    ops: SocketAddr,
}

impl Node {
    /// Starts all and waits until the node is ready.
    ///
    /// # Errors
    /// When one cannot be started or is not ready in time.
    pub(crate) async fn start(programs: &Programs, folder: &Path, options: NodeOptions) -> Result<Self> {
        let product = Product::Tenantry {
            program: programs.control_plane.clone(),
        };
        let control_plane = Group::start(&product, folder).await?;
        let folder = tempfile::Builder::new()
            .prefix("node-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let ports = free_ports(3)?;
        let port = |index: usize| ports.get(index).copied().context("three ports were asked for");
        let ports = Ports {
            data: port(0)?,
            peer: port(1)?,
            ops: port(2)?,
        };
        let arguments = arguments(&ports, control_plane.endpoints(), folder.path(), options);
        let process = Process::new(&programs.tenant_node, arguments, folder.path().join("node.log"));
        let mut node = Self {
            process,
            program: programs.tenant_node.clone(),
            ports,
            control_plane,
            folder,
        };
        node.begin().await?;
        Ok(node)
    }

    async fn begin(&mut self) -> Result<()> {
        self.process.start()?;
        let ops = self.ports.ops;
        let ready = value_of("the node to be ready", PATIENCE, || is_ready(ops)).await;
        self.process.check_running()?;
        ready
    }

    /// Stops the node as an operator does and starts it again on its data: no database is open then.
    ///
    /// # Errors
    /// When it does not stop or start in time.
    pub(crate) async fn restart(&mut self, options: NodeOptions) -> Result<()> {
        self.process.stop(PATIENCE).await?;
        let arguments = arguments(&self.ports, self.control_plane.endpoints(), self.folder.path(), options);
        self.process = Process::new(&self.program, arguments, self.folder.path().join("node.log"));
        self.begin().await
    }

    /// Stops the node for good; its data stays until the value goes.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.process.stop(PATIENCE).await
    }

    /// Where tenants are asked.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.ports.data
    }

    /// Where its operator asks it.
    pub(crate) const fn ops(&self) -> SocketAddr {
        self.ports.ops
    }

    /// A client of the control plane's leader.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    pub(crate) async fn admin(&mut self) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(connect_one(self.leader().await?).await?))
    }

    /// The address of the control plane's leader.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn leader(&mut self) -> Result<SocketAddr> {
        self.control_plane.leader_endpoint().await
    }

    /// # Errors
    /// When it does not run.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    /// Where the tenants' folders are.
    pub(crate) fn tenants_folder(&self) -> PathBuf {
        data_folder(self.folder.path()).join("tenants")
    }

    /// Creates tenants that no quota of the benchmark's load can refuse, and their tables.
    ///
    /// # Errors
    /// When one cannot be created, or is not served in time.
    pub(crate) async fn create_filled_tenants(&mut self, count: usize, prefix: &str) -> Result<Target> {
        let names = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        self.create_filled(names, &unlimited()).await
    }

    /// Creates tenants with these names and their tables.
    ///
    /// # Errors
    /// When one cannot be created, or is not served in time.
    pub(crate) async fn create_filled(&mut self, names: Vec<String>, spec: &v1::TenantSpec) -> Result<Target> {
        let admin = self.admin().await?;
        each(&names, |name| {
            let mut admin = admin.clone();
            let spec = spec.clone();
            async move {
                let request = v1::CreateTenantRequest {
                    tenant_id: name,
                    spec: Some(spec),
                    request_id: Operation::new_request_id(),
                    ..v1::CreateTenantRequest::default()
                };
                admin.create_tenant(request).await.context("cannot create a tenant")?;
                Ok(())
            }
        })
        .await?;
        let target = Target::real(names);
        fill_each(self.address(), &target).await?;
        Ok(target)
    }

    /// Registers tenants of the default tier that nobody asks, named by these numbers, and waits until the node knows the
    /// last of them.
    ///
    /// # Errors
    /// When one cannot be created, or the node does not hear of it in time.
    pub(crate) async fn register_tenants(&mut self, numbers: Range<u64>) -> Result<()> {
        let channels = connect(&[self.control_plane.leader_endpoint().await?]).await?;
        let last = tenant_id(numbers.end.saturating_sub(1));
        load::fill(Operation::CreateBareTenant, &channels, numbers, 4 * AT_ONCE).await?;
        let requests = Requests::usage(&Target::real([last]));
        let request = requests.at(0).context("there is one request")?;
        value_of("the node to know the last tenant", PLACEMENT_PATIENCE, || async {
            let mut connection = Connection::open(self.address()).await.ok()?;
            connection.send(request).await.ok()
        })
        .await
    }
}

/// All options but those that a benchmark cannot do without have their defaults.
fn arguments(ports: &Ports, members: &[SocketAddr], folder: &Path, options: NodeOptions) -> Vec<OsString> {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    let mut arguments: Vec<OsString> = vec!["--insecure-dev".into()];
    for (name, value) in [
        ("--node-id", OsString::from("bench")),
        ("--control-plane", members.join(",").into()),
        ("--listen", ports.data.to_string().into()),
        ("--peer-listen", ports.peer.to_string().into()),
        ("--ops-listen", ports.ops.to_string().into()),
        ("--data-dir", data_folder(folder).into()),
        // More than any measurement asks for; a fuller disk than usual must not refuse tenants.
        ("--max-tenants", "100000".into()),
        ("--disk", "1GiB".into()),
    ] {
        arguments.extend([name.into(), value]);
    }
    let millis = |interval: Duration| interval.as_millis().to_string();
    for (name, value) in [
        (
            "--max-open-tenants",
            options.max_open_tenants.map(|limit| limit.to_string()),
        ),
        (
            "--metrics-tenant-limit",
            options.metrics_tenant_limit.map(|limit| limit.to_string()),
        ),
        ("--sample-interval-ms", options.sample_interval.map(millis)),
    ] {
        if let Some(value) = value {
            arguments.extend([name.into(), value.into()]);
        }
    }
    arguments
}

/// Makes the tables of all tenants of `target`, some at once.
pub(crate) async fn fill_each(server: SocketAddr, target: &Target) -> Result<()> {
    each(&target.hosts, |host| fill(server, host)).await
}

/// Makes the tables of one tenant as soon as it is served.
pub(crate) async fn fill(server: SocketAddr, host: String) -> Result<()> {
    let request = setup(&host, "");
    let last = Mutex::new(None);
    let filled = value_of(&format!("{host} to be served"), PLACEMENT_PATIENCE, || async {
        let sent = async { Connection::open(server).await?.send(&request).await }.await;
        sent.map_err(|error| *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error))
            .ok()
    })
    .await;
    let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    filled.with_context(|| last.map_or_else(String::new, |error| format!("{error:#}")))
}

/// Does this for all names, some at once.
async fn each<F>(names: &[String], mut work: impl FnMut(String) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for name in names {
        if tasks.len() == AT_ONCE
            && let Some(ended) = tasks.join_next().await
        {
            ended.context("a task panicked")??;
        }
        tasks.spawn(work(name.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
    }
    Ok(())
}

fn unlimited() -> v1::TenantSpec {
    v1::TenantSpec {
        quota: Some(v1::QuotaOverrides {
            database_bytes: Some(16 << 30),
            requests_per_day: Some(1_000_000_000_000),
            // Small tiers would refuse 64 connections.
            concurrent_requests: Some(1_000),
            query_time_ms: Some(30_000),
            memory_bytes: Some(4 << 30),
            ..v1::QuotaOverrides::default()
        }),
        ..v1::TenantSpec::default()
    }
}

fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}
