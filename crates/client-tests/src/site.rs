//! A cluster with the tenants that all clients' checks need.

use std::net::SocketAddr;

use process_tests::{Cluster, NODES};
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

/// Three members, two nodes, the tenants, and a door to each.
#[derive(Debug)]
pub struct Site {
    cluster: Cluster,
    owners: Vec<(Tenant, usize)>,
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
        let cluster = Cluster::start();
        let owners = Tenant::ALL.map(|tenant| (tenant, cluster.create_tenant(tenant.name(), tenant.flags())));
        let runtime = Runtime::new().expect("a runtime can be started");
        Self {
            cluster,
            owners: owners.to_vec(),
            runtime,
        }
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

/// A thousand clients have a socket each, here and in the node, which inherits the limit.
fn raise_the_limit_of_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
