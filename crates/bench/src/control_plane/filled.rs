//! A group of ours with many tenants, made once for all measurements that need one.

use std::time::Duration;

use anyhow::Result;

use super::Plan;
use crate::load;
use crate::machine::resident_bytes;
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::{Group, MEMBERS, Product};

const CLIENTS: usize = 256;
/// Snapshots that are under way end meanwhile.
const SETTLE: Duration = Duration::from_secs(3);

/// Three members that hold `tenants` tenants, named by the numbers below it.
pub(super) struct Filled {
    pub(super) group: Group,
    pub(super) tenants: u64,
    /// How long the creation took.
    pub(super) took: Duration,
    /// Resident bytes of each member, before and after.
    pub(super) empty: Vec<u64>,
    pub(super) full: Vec<u64>,
}

impl Filled {
    /// Starts a group and creates tenants without labels, each with a request id, as `tenantctl` does.
    ///
    /// # Errors
    /// When the group fails.
    pub(super) async fn new(product: &Product, folder: &std::path::Path, plan: Plan) -> Result<Self> {
        let tenants = plan.tenants;
        progress(format_args!("creating {tenants} tenants"));
        let mut group = Group::start(product, folder).await?;
        let empty = resident(&mut group)?;
        let channels = load::connect(&[group.leader_endpoint().await?]).await?;
        let took = load::fill(Operation::CreateBareTenant, &channels, 0..tenants, CLIENTS).await?;
        tokio::time::sleep(SETTLE).await;
        let full = resident(&mut group)?;
        Ok(Self {
            group,
            tenants,
            took,
            empty,
            full,
        })
    }
}

fn resident(group: &mut Group) -> Result<Vec<u64>> {
    (0..MEMBERS)
        .map(|index| resident_bytes(group.member(index)?.pid()?))
        .collect()
}
