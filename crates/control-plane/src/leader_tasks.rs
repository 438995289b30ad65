//! What only the leader does, without being asked: gives a new cluster its identity, places tenants that found no node,
//! retires signing keys whose tokens have all expired, and records what it notices (`leader_notices.rs`).
//!
//! Every member runs this task; a follower's sleeps. Decisions go through the log like any other, with preconditions, so
//! two members that both believe to lead cannot do harm.

use std::sync::Arc;
use std::time::Duration;

use tenantry_state::{Command, Tiers};
use tenantry_types::{ClusterUid, Epoch, Revision, UnixMillis};
use tokio_util::sync::CancellationToken;

use crate::leader_notices;
use crate::raft::Role;
use crate::services::{ControlPlane, choose_node, new_signing_key};

/// How often the leader looks for something to do.
const INTERVAL: Duration = Duration::from_millis(500);
/// In how many rounds the use of tenants that moved away is forgotten once: it is a pass over all that nodes reported.
const ROUNDS_BETWEEN_CLEANUPS: u32 = 60;
/// Tenants placed in one round, so that a round stays short.
const PLACED_AT_ONCE: usize = 100;

/// Runs until `stop`.
pub async fn run(control_plane: Arc<ControlPlane>, stop: CancellationToken) {
    let status = control_plane.log.status();
    let mut placed_for = None;
    let mut round = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if status.borrow().role != Role::Leader {
            // What was heard grows old while another member leads.
            control_plane.observations(|observations| observations.forget());
            placed_for = None;
            continue;
        }
        let published = control_plane.published.current();
        if published.state.cluster().is_none() {
            initialize(&control_plane).await;
            continue;
        }
        let now = control_plane.uptime();
        control_plane.observations(|observations| observations.listen(now));
        let noticed = status.borrow().clone();
        leader_notices::record(&control_plane, &noticed).await;
        round = round.wrapping_add(1);
        if round.is_multiple_of(ROUNDS_BETWEEN_CLEANUPS) {
            control_plane.observations(|observations| {
                observations.retain_usage(|node, uid| {
                    let tenant = published.state.tenant(uid);
                    tenant
                        .and_then(|tenant| tenant.placement.as_ref())
                        .is_some_and(|placement| placement.node == *node)
                });
            });
            retire_spent_key(&control_plane).await;
        }
        place_waiting(&control_plane, &mut placed_for).await;
    }
}

async fn initialize(control_plane: &ControlPlane) {
    let signing_key = match new_signing_key(UnixMillis::default()) {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(%error, "the system gives no random numbers; the cluster cannot be initialized");
            return;
        }
    };
    let uid = ClusterUid::from_u128(uuid::Uuid::new_v4().as_u128());
    let command = Command::InitializeCluster {
        uid,
        tiers: Box::new(Tiers::default()),
        signing_key,
    };
    match control_plane.propose(None, command).await {
        Ok(_) => tracing::info!(%uid, "the cluster has its identity"),
        Err(status) => tracing::debug!(%status, "the cluster could not be initialized yet"),
    }
}

/// Takes a signing key out that no living token was signed with: one a round, as it happens once in a long while.
async fn retire_spent_key(control_plane: &ControlPlane) {
    let published = control_plane.published.current();
    let Some(key) = published.state.spent_signing_key(ControlPlane::now()) else {
        return;
    };
    let key_id = key.key_id.clone();
    match control_plane
        .propose(None, Command::RetireSigningKey { key_id: key_id.clone() })
        .await
    {
        Ok(_) => tracing::info!(
            key_id,
            "a signing key was retired: all tokens that it signed have expired"
        ),
        Err(status) => tracing::warn!(key_id, %status, "a spent signing key could not be retired yet"),
    }
}

/// Gives tenants without a node one, as soon as one has room. `done_for` is the revision and the number of live nodes that
/// the last fruitless round saw: until one of them changes, another round would find the same.
async fn place_waiting(control_plane: &ControlPlane, done_for: &mut Option<(Revision, usize)>) {
    let published = control_plane.published.current();
    let live =
        |node: &Arc<tenantry_types::Node>| control_plane.availability(&node.id) == tenantry_types::Availability::Up;
    let situation = (
        published.state.revision(),
        published.state.nodes_after(None).filter(|node| live(node)).count(),
    );
    if *done_for == Some(situation) {
        return;
    }
    let waiting: Vec<_> = published
        .state
        .unplaced_tenants()
        .take(PLACED_AT_ONCE)
        .cloned()
        .collect();
    let mut placed = 0_usize;
    for tenant in waiting {
        let placing = choose_node(control_plane, tenant.spec.tier);
        let Some(node) = placing.decision.chosen.clone() else {
            continue;
        };
        let command = Command::PlaceTenant {
            uid: tenant.uid,
            node: node.clone(),
            expected_epoch: Epoch::ZERO,
        };
        match control_plane.propose(None, command).await {
            Ok(_) => {
                placed += 1;
                tracing::info!(tenant = %tenant.name, %node, "a waiting tenant was placed");
            }
            Err(status) => tracing::warn!(tenant = %tenant.name, %status, "a waiting tenant could not be placed"),
        }
    }
    *done_for = (placed == 0).then_some(situation);
}
