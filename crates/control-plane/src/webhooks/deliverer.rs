//! Keeps one courier for each webhook while this member leads, and none while it does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenantry_state::State;
use tenantry_types::{Revision, Webhook, WebhookName, WebhookState};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use webhook_delivery::{Client, Message, Outcome, Schedule};

use super::courier::{Courier, Stand};
use super::{payload, secret};
use crate::raft::Role;
use crate::services::ControlPlane;

/// How often the couriers are compared with the webhooks, when nothing else is heard.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a new leader tries at once to learn how far it must have come.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(2);

/// How messages are sent and tried again.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Sends one message.
    pub client: Client,
    /// When a message that failed is tried again.
    pub schedule: Schedule,
    /// When a message that the receiver refused itself is tried again: it will hardly take it later, and others wait.
    pub refused_schedule: Schedule,
}

/// Delivers to all webhooks while this member leads.
pub struct Deliverer {
    control_plane: Arc<ControlPlane>,
    options: DeliveryOptions,
}

/// A courier at work, and the webhook's revision that it works for.
struct AtWork {
    revision: Revision,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Deliverer {
    /// Delivers nothing yet.
    #[must_use]
    pub const fn new(control_plane: Arc<ControlPlane>, options: DeliveryOptions) -> Self {
        Self { control_plane, options }
    }

    /// Delivers until `stop`. What is under way then is not waited for: the next leader sends it again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut status = self.control_plane.log.status();
        let mut couriers: BTreeMap<WebhookName, AtWork> = BTreeMap::new();
        let mut caught_up_in = None;
        loop {
            let (leads, term) = {
                let status = status.borrow_and_update();
                (status.role == Role::Leader, status.term)
            };
            // A new leader may not have applied yet how far the one before it had come.
            if leads && caught_up_in != Some(term) {
                let catching_up = self.control_plane.log.read_index(Instant::now() + CATCH_UP_LIMIT);
                if let Some(Ok(_)) = stop.run_until_cancelled(catching_up).await {
                    caught_up_in = Some(term);
                }
            }
            let leads = leads && caught_up_in == Some(term);
            let published = self.control_plane.published.current();
            self.match_couriers(&mut couriers, leads.then_some(&published.state))
                .await;
            let changed = async {
                tokio::select! {
                    changed = status.changed() => changed.is_ok(),
                    () = tokio::time::sleep(INTERVAL) => true,
                }
            };
            if stop.run_until_cancelled(changed).await != Some(true) {
                break;
            }
        }
        self.match_couriers(&mut couriers, None).await;
    }

    /// Ends the couriers that nothing is left to do for and starts those that are missing.
    async fn match_couriers(&self, couriers: &mut BTreeMap<WebhookName, AtWork>, state: Option<&State>) {
        let wanted: BTreeMap<_, _> = state
            .into_iter()
            .flat_map(State::webhooks)
            .filter(|webhook| !matches!(webhook.state, WebhookState::Disabled { .. }))
            .map(|webhook| (webhook.name.clone(), webhook))
            .collect();
        let obsolete: Vec<_> = couriers
            .iter()
            .filter(|(name, courier)| {
                let same = |webhook: &&Arc<Webhook>| webhook.revision == courier.revision;
                courier.task.is_finished() || !wanted.get(*name).is_some_and(same)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in obsolete {
            if let Some(courier) = couriers.remove(&name) {
                courier.stop.cancel();
                if let Err(error) = courier.task.await {
                    tracing::error!(webhook = %name, %error, "a courier ended badly");
                }
            }
        }
        for (name, webhook) in wanted {
            couriers.entry(name).or_insert_with(|| self.send_out(webhook));
        }
    }

    fn send_out(&self, webhook: &Webhook) -> AtWork {
        let stop = CancellationToken::new();
        let courier = Courier::new(
            Arc::clone(&self.control_plane),
            self.options.clone(),
            Stand::of(webhook),
        );
        let until = stop.clone();
        AtWork {
            revision: webhook.revision,
            task: tokio::spawn(async move {
                until.run_until_cancelled(courier.run()).await;
            }),
            stop,
        }
    }

    /// Sends one message that only tests whether messages arrive. Says what the receiver made of it.
    ///
    /// # Errors
    /// Says in words what went wrong.
    pub async fn test(&self, webhook: &Webhook) -> Result<String, String> {
        let endpoint = webhook
            .spec
            .url
            .parse()
            .map_err(|error: webhook_delivery::InvalidEndpoint| error.to_string())?;
        let now = ControlPlane::now();
        let id = format!("test_{}", uuid::Uuid::new_v4().simple());
        let body = payload::test_body(
            webhook.name.as_str(),
            &tenantry_proto::convert::timestamp(now).to_string(),
        );
        let secrets = webhook.spec.secrets.iter().filter_map(secret::signing).collect();
        let message = Message::new(id, now.0 / 1_000, body, secrets).map_err(|error| error.to_string())?;
        match self.options.client.attempt(&endpoint, &message).await {
            Outcome::Delivered { status, .. } => Ok(format!("the receiver answered {status}")),
            Outcome::Gone => Err("the receiver answered 410: it wants no messages".to_owned()),
            Outcome::Failed { reason, .. } => Err(reason.to_string()),
        }
    }
}
