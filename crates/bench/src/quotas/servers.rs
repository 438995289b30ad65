//! The servers that the limiters are measured in: the same answer behind each of them, each limiter in a process of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::envoy::configuration;
use crate::data_plane::baseline::Server;
use crate::data_plane::client::Connection;
use crate::data_plane::requests::{AnswerKind, Requests, Target};

/// Where the tenants are, and who they are.
pub(super) struct Setting<'bench> {
    pub(super) folder: &'bench Path,
    pub(super) baselines: &'bench Path,
    /// `None`: not at hand.
    pub(super) envoy: Option<&'bench Path>,
    /// Their requests come in turn.
    pub(super) tenants: u32,
}

/// What its tenant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// More than any load asks for.
    Generous,
    /// One request a day, which is spent.
    NoneLeft,
}

/// What stands around the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limiter {
    /// Ours: identify, resolve, observe, admit.
    Layers,
    /// Nothing but hyper.
    None,
    /// Ours that identifies, and governor's keyed limiter.
    Governor,
    /// A proxy before bare hyper.
    Envoy,
}

impl Limiter {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Layers => "the layers",
            Self::None => "bare hyper",
            Self::Governor => "governor",
            Self::Envoy => "Envoy before bare hyper",
        }
    }
}

/// A limiter that runs, and what runs behind it; all end with the value.
pub(super) struct Limited {
    pub(super) limiter: Limiter,
    server: Server,
    behind: Option<Server>,
}

impl Limited {
    /// `None` where its program is not at hand. With [`Limit::NoneLeft`], each tenant's one request is spent.
    ///
    /// # Errors
    /// When a program does not listen in time, or a tenant cannot be asked.
    pub(super) async fn start(limiter: Limiter, limit: Limit, setting: &Setting<'_>) -> Result<Option<Self>> {
        let (server, behind) = match (limiter, setting.envoy) {
            (Limiter::None, _) => (setting.bare_hyper().await?, None),
            (Limiter::Layers, _) => (setting.limited("layers", limit).await?, None),
            (Limiter::Governor, _) => (setting.limited("governor", limit).await?, None),
            (Limiter::Envoy, None) => return Ok(None),
            (Limiter::Envoy, Some(envoy)) => {
                let behind = setting.bare_hyper().await?;
                (setting.before(behind.address(), limit, envoy).await?, Some(behind))
            }
        };
        if limit == Limit::NoneLeft {
            let mut connection = Connection::open(server.address()).await?;
            for request in Requests::fixed(server.target()).iter() {
                connection.send(request).await?;
            }
        }
        Ok(Some(Self {
            limiter,
            server,
            behind,
        }))
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All that work on an answer.
    ///
    /// # Errors
    /// When one does not run.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        [Some(&self.server), self.behind.as_ref()]
            .into_iter()
            .flatten()
            .map(Server::pid)
            .collect()
    }

    pub(super) fn requests(&self) -> Requests {
        Requests::fixed(self.server.target())
    }
}

impl Setting<'_> {
    async fn bare_hyper(&self) -> Result<Server> {
        Server::bare_hyper(self.baselines, self.folder, &self.hosts()).await
    }

    async fn limited(&self, limiter: &str, limit: Limit) -> Result<Server> {
        Server::start(self.baselines, self.folder, self.target(), |[address, _], folder| {
            let limit = match limit {
                Limit::Generous => "generous",
                Limit::NoneLeft => "none-left",
            };
            let arguments: [OsString; 11] = [
                "limited".into(),
                "--listen".into(),
                address.to_string().into(),
                "--folder".into(),
                folder.into(),
                "--limiter".into(),
                limiter.into(),
                "--limit".into(),
                limit.into(),
                "--tenants".into(),
                self.tenants.to_string().into(),
            ];
            arguments.into()
        })
        .await
    }

    async fn before(&self, upstream: SocketAddr, limit: Limit, envoy: &Path) -> Result<Server> {
        Server::start(envoy, self.folder, self.target(), |[address, _], _| {
            let arguments: [OsString; 5] = [
                "--config-yaml".into(),
                configuration(address, upstream, &self.hosts(), limit).into(),
                "--log-level".into(),
                "warning".into(),
                // Without it, a second Envoy on this machine is taken for the first one's successor.
                "--disable-hot-restart".into(),
            ];
            arguments.into()
        })
        .await
    }

    fn hosts(&self) -> Vec<String> {
        (0..self.tenants)
            .map(|tenant| format!("t-{tenant}.localhost"))
            .collect()
    }

    fn target(&self) -> Target {
        Target {
            hosts: self.hosts(),
            headers: String::new(),
            answer: AnswerKind::Fixed,
        }
    }
}
