//! Servers that the node is compared with, each a process with an empty folder of its own: bare hyper, and libsql-server where
//! its program is at hand.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::client::Connection;
use super::node::fill_each;
use super::requests::{AnswerKind, Target, create_namespace};
use crate::process::{Process, free_ports, value_of};

const PATIENCE: Duration = Duration::from_secs(30);

/// What stands around the empty handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// The connections' code alone.
    Connections,
    /// All layers, nobody is asked for a token.
    Layers,
    /// All layers, each request with a token.
    LayersWithTokens,
}

impl Around {
    pub(super) const ALL: [Self; 3] = [Self::LayersWithTokens, Self::Layers, Self::Connections];

    const fn option(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Layers => "layers",
            Self::LayersWithTokens => "layers-with-tokens",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections alone",
            Self::Layers => "all layers, open",
            Self::LayersWithTokens => "all layers, with tokens",
        }
    }
}

/// A running baseline; it ends with the value.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    /// Where it may listen besides.
    second: SocketAddr,
    /// What it is asked for.
    target: Target,
    // Last, so that the folder goes after the process.
    _folder: TempDir,
}

impl Server {
    /// hyper with a fixed answer, asked for these hosts.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub(crate) async fn bare_hyper(program: &Path, folder: &Path, hosts: &[String]) -> Result<Self> {
        let target = Target {
            hosts: hosts.to_vec(),
            headers: String::new(),
            answer: AnswerKind::Fixed,
        };
        Self::start(program, folder, target, |[address, _], _| {
            ["bare-hyper".into(), "--listen".into(), address.to_string().into()].into()
        })
        .await
    }

    /// The node's own code around a handler that gives the fixed answer.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub(super) async fn layers(program: &Path, folder: &Path, around: Around) -> Result<Self> {
        let target = Target {
            hosts: vec!["t-0.localhost".to_owned()],
            headers: String::new(),
            answer: AnswerKind::Fixed,
        };
        let mut server = Self::start(program, folder, target, |[address, _], folder| {
            let arguments: [OsString; 7] = [
                "layers".into(),
                "--listen".into(),
                address.to_string().into(),
                "--folder".into(),
                folder.into(),
                "--around".into(),
                around.option().into(),
            ];
            arguments.into()
        })
        .await?;
        if around == Around::LayersWithTokens {
            let printed = server.process.printed()?;
            let token = printed.lines().next().context("the baseline printed no token")?;
            server.target.headers = format!("authorization: Bearer {token}\r\n");
        }
        Ok(server)
    }

    /// libsql-server with a namespace for each of these hosts, named by its first label, and the tables of a tenant in each.
    /// Durability is strong, as ours is: by default its writes are not synced before they are acknowledged.
    ///
    /// # Errors
    /// When it does not listen in time, or refuses a namespace or the tables.
    pub(super) async fn libsql(program: &Path, folder: &Path, hosts: &[String]) -> Result<Self> {
        let target = Target {
            hosts: hosts.to_vec(),
            headers: String::new(),
            answer: AnswerKind::Real,
        };
        let server = Self::start(program, folder, target, |[address, admin], folder| {
            let data = folder.join("data");
            let arguments: [OsString; 8] = [
                "--http-listen-addr".into(),
                address.to_string().into(),
                "--admin-listen-addr".into(),
                admin.to_string().into(),
                "--enable-namespaces".into(),
                "--db-path".into(),
                data.into(),
                "--no-welcome".into(),
            ];
            arguments.into()
        })
        .await?;
        let mut administrator = Connection::open(server.second).await?;
        for host in hosts {
            let namespace = host.split('.').next().unwrap_or_default();
            let created = administrator.send(&create_namespace(namespace)).await;
            created.with_context(|| format!("cannot create the namespace {namespace}"))?;
        }
        fill_each(server.address, &server.target).await?;
        Ok(server)
    }

    /// Any program with a folder of its own, once it listens. `arguments` are made of where it shall listen, and its folder.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        target: Target,
        arguments: impl FnOnce([SocketAddr; 2], &Path) -> Vec<OsString>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("baseline-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let ports = free_ports(2)?;
        let ports: [SocketAddr; 2] = ports.try_into().ok().context("two ports were asked for")?;
        let [address, second] = ports;
        let arguments = arguments(ports, folder.path());
        let mut process = Process::new(program, arguments, folder.path().join("server.log"));
        process.start()?;
        let listening = value_of("a baseline to listen", PATIENCE, || async {
            Connection::open(address).await.ok().map(drop)
        })
        .await;
        process.check_running()?;
        listening?;
        Ok(Self {
            process,
            address,
            second,
            target,
            _folder: folder,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// # Errors
    /// When it does not run.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.pid()
    }
}
