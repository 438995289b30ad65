//! A cluster with the tenants that all clients' checks need, and their tokens.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use process_tests::{Cluster, NODES, get_with, until};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::door::Door;

/// The tenants of a [`Site`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant {
    /// Has room for everything, also for a thousand clients at once.
    Roomy,
    /// Is left alone with a transaction open.
    Forgotten,
    /// Has 20 requests a day.
    Frugal,
    /// Has 1 MiB.
    Small,
}

impl Tenant {
    const ALL: [Self; 4] = [Self::Roomy, Self::Forgotten, Self::Frugal, Self::Small];

    /// Its name, which is also the first label of its host.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roomy => "roomy",
            Self::Forgotten => "forgotten",
            Self::Frugal => "frugal",
            Self::Small => "small",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Roomy => &["--tier", "enterprise", "--concurrent", "4000"],
            Self::Forgotten => &["--tier", "medium"],
            Self::Frugal => &["--requests-per-day", "20"],
            Self::Small => &["--storage", "1MiB"],
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Tokens with which clients are let in, or are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// May do everything with its tenant.
    Full(Tenant),
    /// May read [`Tenant::Roomy`].
    ReadOnly,
    /// Was revoked with all others that [`Tenant::Roomy`] had.
    Revoked,
}

impl Token {
    const ALL: [Self; 6] = [
        Self::Full(Tenant::Roomy),
        Self::Full(Tenant::Forgotten),
        Self::Full(Tenant::Frugal),
        Self::Full(Tenant::Small),
        Self::ReadOnly,
        Self::Revoked,
    ];

    /// Where the programs in `clients/` find it.
    const fn variable(self) -> &'static str {
        match self {
            Self::Full(Tenant::Roomy) => "TOKEN_ROOMY",
            Self::Full(Tenant::Forgotten) => "TOKEN_FORGOTTEN",
            Self::Full(Tenant::Frugal) => "TOKEN_FRUGAL",
            Self::Full(Tenant::Small) => "TOKEN_SMALL",
            Self::ReadOnly => "TOKEN_READ_ONLY",
            Self::Revoked => "TOKEN_REVOKED",
        }
    }
}

/// Three members, two nodes that ask for tokens, the tenants, and a door to each.
#[derive(Debug)]
pub struct Site {
    cluster: Cluster,
    owners: Vec<(Tenant, usize)>,
    tokens: Vec<(Token, String)>,
    runtime: Runtime,
}

impl Site {
    /// Starts all and waits until all tenants are served.
    ///
    /// # Panics
    /// When they are not in time.
    #[must_use]
    pub fn start() -> Self {
        raise_the_limit_of_open_files();
        let cluster = Cluster::start_with_certificates();
        let owners = Tenant::ALL.map(|tenant| (tenant, cluster.create_tenant(tenant.name(), tenant.flags())));
        let revoked = revoked_token(&cluster, Tenant::Roomy);
        let operator = cluster.operator();
        let tokens = Token::ALL.map(|token| {
            let text = match token {
                Token::Full(tenant) => operator.token(tenant.name(), "full"),
                Token::ReadOnly => operator.token(Tenant::Roomy.name(), "ro"),
                Token::Revoked => revoked.clone(),
            };
            (token, text)
        });
        let runtime = Runtime::new().expect("a runtime can be started");
        Self {
            cluster,
            owners: owners.to_vec(),
            tokens: tokens.to_vec(),
            runtime,
        }
    }

    /// As a client sends it.
    #[must_use]
    pub fn token(&self, token: Token) -> &str {
        let of = |(which, _): &&(Token, String)| *which == token;
        &self.tokens.iter().find(of).expect("there is one of each").1
    }

    /// Gives a program in `clients/` all tokens.
    pub fn hand_tokens_to(&self, client: &mut Command) {
        client.envs(self.tokens.iter().map(|(token, text)| (token.variable(), text)));
    }

    /// For a test that drives an SDK itself.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Where the node that serves `tenant` listens.
    #[must_use]
    pub fn owner(&self, tenant: Tenant) -> SocketAddr {
        self.cluster.data(self.owner_index(tenant))
    }

    /// Where a node listens that forwards `tenant`'s requests.
    #[must_use]
    pub fn other_node(&self, tenant: Tenant) -> SocketAddr {
        self.cluster.data((self.owner_index(tenant) + 1) % NODES)
    }

    /// An address that leads to `tenant` through the node at `node`, for SDKs that cannot say which host they mean.
    #[must_use]
    pub fn door(&self, tenant: Tenant, node: SocketAddr) -> Door {
        Door::open(self.runtime.handle(), node, tenant.name())
    }

    fn owner_index(&self, tenant: Tenant) -> usize {
        let of = |(name, _): &&(Tenant, usize)| *name == tenant;
        self.owners.iter().find(of).expect("every tenant has an owner").1
    }
}

/// A token that no node takes any more.
fn revoked_token(cluster: &Cluster, tenant: Tenant) -> String {
    let token = cluster.operator().token(tenant.name(), "full");
    let _ = cluster.ctl(&["token", "revoke-all", tenant.name()]);
    let (host, authorization) = (format!("{}.localhost", tenant.name()), format!("Bearer {token}"));
    let headers = [("host", host.as_str()), ("authorization", authorization.as_str())];
    for node in 0..NODES {
        until("the revocation to be known", PATIENCE, || {
            get_with(cluster.data(node), &headers, "/v1/usage").is_ok_and(|answer| answer.status == 401)
        });
    }
    token
}

/// A thousand clients have a socket each, here and in the node, which inherits the limit.
fn raise_the_limit_of_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
