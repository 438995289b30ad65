//! Servers that the node is compared with, each a process with an empty folder of its own: bare hyper, and libsql-server where
//! its program is at hand.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::client::Connection;
use super::node::fill;
use super::requests::{AnswerKind, Target};
use crate::process::{Process, free_ports, value_of};

const PATIENCE: Duration = Duration::from_secs(30);
/// libsql-server takes no namespace from this host unless it is told to.
const SQLD_HOST: &str = "default.localhost";

/// A running baseline; it ends with the value.
pub(super) struct Server {
    process: Process,
    address: SocketAddr,
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
    pub(super) async fn bare_hyper(program: &Path, folder: &Path, hosts: &[String]) -> Result<Self> {
        let target = Target {
            hosts: hosts.to_vec(),
            headers: String::new(),
            answer: AnswerKind::Fixed,
        };
        Self::start(program, folder, target, |address, _| {
            ["bare-hyper".into(), "--listen".into(), address.to_string().into()].into()
        })
        .await
    }

    /// libsql-server with one database and the tables of a tenant in it.
    ///
    /// # Errors
    /// When it does not listen in time, or refuses the tables.
    pub(super) async fn libsql(program: &Path, folder: &Path) -> Result<Self> {
        let target = Target {
            hosts: vec![SQLD_HOST.to_owned()],
            headers: String::new(),
            answer: AnswerKind::Real,
        };
        let server = Self::start(program, folder, target, |address, folder| {
            let data = folder.join("data");
            let arguments: [OsString; 5] = [
                "--http-listen-addr".into(),
                address.to_string().into(),
                "--db-path".into(),
                data.into(),
                "--no-welcome".into(),
            ];
            arguments.into()
        })
        .await?;
        fill(server.address, SQLD_HOST.to_owned()).await?;
        Ok(server)
    }

    async fn start(
        program: &Path,
        folder: &Path,
        target: Target,
        arguments: impl FnOnce(SocketAddr, &Path) -> Vec<OsString>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("baseline-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let address = free_ports(1)?.first().copied().context("one port was asked for")?;
        let arguments = arguments(address, folder.path());
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
            target,
            _folder: folder,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// # Errors
    /// When it does not run.
    pub(super) fn pid(&self) -> Result<u32> {
        self.process.pid()
    }
}
