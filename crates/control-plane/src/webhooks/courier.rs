//! Brings events to one webhook, in the order of the log, one at a time.
//!
//! A message that fails is tried again after growing delays, and the others wait behind it. After the last attempt it is a
//! dead letter, and the next one's turn has come. What arrived is recorded in the replicated log after some messages or a
//! moment, so that a new leader repeats no more than those.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tenantry_state::{Command, DeliveryOutcome, MAX_EVENTS, State};
use tenantry_types::{
    ClusterUid, DeadLetter, Event, EventSequence, Revision, Webhook, WebhookName, WebhookSpec, WebhookState,
};
use tokio::sync::watch;
use tokio::time::Instant;
use webhook_delivery::{Endpoint, Failure, Message, Next, Outcome};

use super::deliverer::DeliveryOptions;
use super::{payload, secret};
use crate::services::ControlPlane;
use crate::watch::EventMatcher;

/// Messages that arrived and are recorded together at most.
const RECORD_AFTER: u32 = 32;
/// The first of them waits at most so long to be recorded.
const RECORD_WITHIN: Duration = Duration::from_millis(500);
/// Events that the webhook does not want are recorded as dealt with once there are so many: a tenth of the log.
const SKIPPED_AFTER: u64 = 1_000;
/// Room at the new end of a full log for the news of what was lost: without it that news would push out the event that is next,
/// which would be news again, until nothing else is left in the log.
const ROOM_FOR_NEWS: u64 = 1_000;
/// Fewer are recorded after so long: otherwise they would count as lost when the log drops them by age, and be judged anew by
/// another filter.
const SKIPPED_WITHIN: Duration = Duration::from_secs(60);
/// Pause after the log did not take a record.
const RECORD_PAUSE: Duration = Duration::from_millis(500);
/// Failures are recorded up to this length, in bytes.
const LONGEST_FAILURE: usize = 300;

/// What a courier begins with.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    name: WebhookName,
    spec: WebhookSpec,
    revision: Revision,
    /// What the replicated state says was dealt with.
    done: EventSequence,
    health: Health,
}

/// What the replicated state says of the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Well,
    /// What went wrong last.
    Failing(String),
}

impl Stand {
    /// The webhook as it is recorded.
    pub(super) fn of(webhook: &Webhook) -> Self {
        Self {
            name: webhook.name.clone(),
            spec: webhook.spec.clone(),
            revision: webhook.revision,
            done: webhook.done,
            health: match &webhook.state {
                WebhookState::Failing { failure, .. } => Health::Failing(failure.clone()),
                WebhookState::Delivering | WebhookState::Disabled { .. } => Health::Well,
            },
        }
    }
}

/// One webhook's courier.
pub(super) struct Courier {
    control_plane: Arc<ControlPlane>,
    options: DeliveryOptions,
    stand: Stand,
    matcher: EventMatcher,
    /// All events up to here were delivered or not wanted.
    reached: EventSequence,
    /// Messages that arrived and are not recorded, and when the first of them did.
    unrecorded: Option<(u32, Instant)>,
    /// When the last record was made, or this courier began.
    recorded_at: Instant,
}

/// Why a courier stops.
enum Stop {
    /// The webhook is another one now, or gone, or has no more to be told.
    Obsolete,
}

/// What is next for the webhook.
enum Task {
    /// An event that it wants.
    Deliver(Arc<Event>),
    /// Events that the log dropped before they were delivered, or is about to drop.
    Lost { first: EventSequence, last: EventSequence },
    /// Nothing, up to here.
    Wait(EventSequence),
}

impl Courier {
    /// Has delivered nothing yet.
    pub(super) fn new(control_plane: Arc<ControlPlane>, options: DeliveryOptions, stand: Stand) -> Self {
        Self {
            control_plane,
            options,
            matcher: EventMatcher::new(stand.spec.filter.clone()),
            reached: stand.done,
            unrecorded: None,
            recorded_at: Instant::now(),
            stand,
        }
    }

    /// Delivers until the webhook is another one. Dropping the future is always safe.
    pub(super) async fn run(mut self) {
        let Ok(endpoint) = self.stand.spec.url.parse::<Endpoint>() else {
            tracing::error!(webhook = %self.stand.name, "the recorded URL is none; nothing is delivered");
            return std::future::pending().await;
        };
        let mut revisions = self.control_plane.published.revision();
        // There is one: webhooks come after it.
        let Some(cluster) = self
            .control_plane
            .published
            .current()
            .state
            .cluster()
            .map(|cluster| cluster.uid)
        else {
            return;
        };
        loop {
            revisions.borrow_and_update();
            let published = self.control_plane.published.current();
            if !self.works_for(&published.state) {
                return;
            }
            let step = match self.next_task(&published.state) {
                Task::Deliver(event) => self.deliver((cluster, &endpoint), &event).await,
                Task::Lost { first, last } => self.give_up_lost(first, last).await,
                Task::Wait(upto) => {
                    let step = self.settle(upto).await;
                    if step.is_ok() && !self.wait(&mut revisions).await {
                        return;
                    }
                    step
                }
            };
            if let Err(Stop::Obsolete) = step {
                return;
            }
        }
    }

    /// Whether the webhook is as this courier knows it. Asked ahead of each message, so that none leaves for a receiver that an
    /// operator has silenced or replaced, however soon the deliverer notices.
    fn works_for(&self, state: &State) -> bool {
        let webhook = state.webhook(&self.stand.name);
        webhook.is_some_and(|webhook| webhook.revision == self.stand.revision)
    }

    fn next_task(&self, state: &State) -> Task {
        let oldest = state.oldest_event();
        if self.reached.next() < oldest {
            let kept_for_sure = (MAX_EVENTS as u64).saturating_sub(ROOM_FOR_NEWS);
            let unsafe_upto = state.last_event().get().saturating_sub(kept_for_sure);
            return Task::Lost {
                first: self.reached.next(),
                last: EventSequence(unsafe_upto.max(oldest.get().saturating_sub(1))),
            };
        }
        let wanted = |event: &&Arc<Event>| !self.is_about_itself(event) && self.matcher.wants(event, state);
        match state.events_after(self.reached).find(wanted) {
            Some(event) => Task::Deliver(Arc::clone(event)),
            None => Task::Wait(state.last_event()),
        }
    }

    /// That a webhook fails is not told to itself: each such message would be the cause of the next.
    fn is_about_itself(&self, event: &Event) -> bool {
        event.detail.webhook() == Some(&self.stand.name)
    }

    /// Tries until the message arrives or is given up.
    async fn deliver(&mut self, receiver: (ClusterUid, &Endpoint), event: &Event) -> Result<(), Stop> {
        let before = EventSequence(event.sequence.get().saturating_sub(1));
        self.reached = self.reached.max(before);
        let mut attempts = 0_u32;
        loop {
            if !self.works_for(&self.control_plane.published.current().state) {
                return Err(Stop::Obsolete);
            }
            attempts = attempts.saturating_add(1);
            let outcome = self.attempt(receiver, event).await;
            let (reason, retry_after) = match outcome {
                Outcome::Delivered { .. } => return self.arrived(event.sequence).await,
                Outcome::Gone => {
                    self.record(self.reached, Vec::new(), DeliveryOutcome::Gone).await?;
                    return Err(Stop::Obsolete);
                }
                Outcome::Failed { reason, retry_after } => (reason, retry_after),
            };
            let failure = shortened(reason.to_string());
            tracing::info!(webhook = %self.stand.name, event = %event.sequence, attempts, failure, "a message did not arrive");
            let schedule = match &reason {
                Failure::Refused { .. } if reason.is_lasting() => &self.options.refused_schedule,
                _ => &self.options.schedule,
            };
            match schedule.after(attempts, retry_after, rand::random()) {
                Next::GiveUp => {
                    let letter = DeadLetter {
                        first: event.sequence,
                        last: event.sequence,
                        at: ControlPlane::now(),
                        attempts,
                        failure: failure.clone(),
                    };
                    self.reached = event.sequence;
                    let outcome = self.outcome_of(event, failure);
                    return self.record(event.sequence, vec![letter], outcome).await;
                }
                Next::Retry(delay) => {
                    let outcome = self.outcome_of(event, failure);
                    if outcome != self.last_outcome() || self.unrecorded.is_some() {
                        self.record(self.reached, Vec::new(), outcome).await?;
                    }
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn attempt(&self, (cluster, endpoint): (ClusterUid, &Endpoint), event: &Event) -> Outcome {
        let now = ControlPlane::now();
        let id = payload::message_id(cluster, event.sequence);
        let secrets = self.stand.spec.secrets.iter().filter_map(secret::signing).collect();
        let outcome = match Message::new(id, now.0 / 1_000, payload::event_body(event), secrets) {
            Ok(message) => self.options.client.attempt(endpoint, &message).await,
            Err(error) => Outcome::Failed {
                reason: Failure::BrokenOff {
                    text: error.to_string(),
                },
                retry_after: None,
            },
        };
        let word = match &outcome {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Gone => "gone",
            Outcome::Failed { reason, .. } => reason.kind(),
        };
        counter!("tenantry_control_webhook_attempts_total", "outcome" => word).increment(1);
        outcome
    }

    async fn arrived(&mut self, sequence: EventSequence) -> Result<(), Stop> {
        self.reached = sequence;
        let (count, first) = self.unrecorded.unwrap_or_else(|| (0, Instant::now()));
        self.unrecorded = Some((count + 1, first));
        let due = count + 1 >= RECORD_AFTER || first.elapsed() >= RECORD_WITHIN;
        if due || self.stand.health != Health::Well {
            self.record(sequence, Vec::new(), DeliveryOutcome::Arrived).await?;
        }
        Ok(())
    }

    /// Waits until something has happened, or something is to be recorded. `false`: this member stops.
    async fn wait(&self, revisions: &mut watch::Receiver<Revision>) -> bool {
        let due = match (self.unrecorded, self.reached > self.stand.done) {
            (Some((_, first)), _) => Some(first + RECORD_WITHIN),
            (None, true) => Some(self.recorded_at + SKIPPED_WITHIN),
            (None, false) => None,
        };
        let until_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = revisions.changed() => changed.is_ok(),
            () = until_due => true,
        }
    }

    /// Records what is due to be, while there is nothing to deliver.
    async fn settle(&mut self, upto: EventSequence) -> Result<(), Stop> {
        self.reached = self.reached.max(upto);
        let skipped = self.reached.get().saturating_sub(self.stand.done.get());
        let arrived = self
            .unrecorded
            .is_some_and(|(_, first)| first.elapsed() >= RECORD_WITHIN);
        let waited = skipped > 0 && self.recorded_at.elapsed() >= SKIPPED_WITHIN;
        if arrived || waited || skipped >= SKIPPED_AFTER {
            let outcome = self.last_outcome();
            self.record(self.reached, Vec::new(), outcome).await?;
        }
        Ok(())
    }

    async fn give_up_lost(&mut self, first: EventSequence, last: EventSequence) -> Result<(), Stop> {
        let letter = DeadLetter {
            first,
            last,
            at: ControlPlane::now(),
            attempts: 0,
            failure: "the event log had dropped these, or was about to, before they were delivered".to_owned(),
        };
        self.reached = last;
        let outcome = self.last_outcome();
        self.record(last, vec![letter], outcome).await
    }

    /// What a failure says of the receiver. Of news of another webhook it says nothing: that would be news for the other one.
    fn outcome_of(&self, event: &Event, failure: String) -> DeliveryOutcome {
        match event.detail.webhook() {
            Some(_) => self.last_outcome(),
            None => DeliveryOutcome::Failed { failure },
        }
    }

    /// Says nothing new of the receiver.
    fn last_outcome(&self) -> DeliveryOutcome {
        match &self.stand.health {
            Health::Well => DeliveryOutcome::Arrived,
            Health::Failing(failure) => DeliveryOutcome::Failed {
                failure: failure.clone(),
            },
        }
    }

    /// Brings what was done into the replicated log, however long that takes.
    async fn record(
        &mut self,
        done: EventSequence,
        dead_letters: Vec<DeadLetter>,
        outcome: DeliveryOutcome,
    ) -> Result<(), Stop> {
        let command = Command::AdvanceWebhook {
            name: self.stand.name.clone(),
            expected_revision: self.stand.revision,
            expected_done: self.stand.done,
            done,
            dead_letters,
            outcome: outcome.clone(),
        };
        loop {
            let proposed = self.control_plane.propose(None, command.clone()).await;
            // A record whose fate was unknown may have been taken: the state knows.
            let published = self.control_plane.published.current();
            let now = published
                .state
                .webhook(&self.stand.name)
                .map(|webhook| Stand::of(webhook));
            match now {
                Some(now) if now.revision == self.stand.revision && now.done == done && proposed.is_ok() => {
                    self.stand = now;
                    self.unrecorded = None;
                    self.recorded_at = Instant::now();
                    return Ok(());
                }
                Some(now) if now.revision == self.stand.revision && now.done == self.stand.done => {
                    if let Err(status) = proposed {
                        tracing::debug!(webhook = %self.stand.name, %status, "what was delivered is not recorded yet");
                    }
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
                _ => return Err(Stop::Obsolete),
            }
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_FAILURE {
        let end = text.floor_char_boundary(LONGEST_FAILURE);
        text.truncate(end);
    }
    text
}
