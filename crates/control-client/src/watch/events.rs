//! The event log from a cursor on, then live.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tenantry_proto::v1::notification_service_watch_response::Part;
use tenantry_proto::v1::{self, EventSeverity};
use tenantry_types::EventSequence;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::WatchError;
use super::subscription::{Step, Subscription};
use crate::{CallError, ControlClient};

/// Which events are wanted. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only these kinds, such as `hotspot-raised`; empty means all.
    pub kinds: Vec<String>,
    /// Only about these tenants, `tenants/NAME`; empty means all.
    pub tenants: Vec<String>,
    /// Only about tenants that have all these labels; empty means all.
    pub labels: BTreeMap<String, String>,
    /// Only this severity and above; unspecified means all.
    pub min_severity: EventSeverity,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStart {
    /// With what happens from now on.
    OnlyNew,
    /// After this event; zero begins with the oldest that is kept.
    After(EventSequence),
}

/// What a watcher of events is told.
#[derive(Debug, Clone, PartialEq)]
pub enum EventUpdate {
    /// The next event.
    Event(v1::Event),
    /// No other event matched up to here.
    Bookmark(EventSequence),
    /// Events before this one can no longer be had.
    Gap {
        /// The oldest that is kept; the watch goes on there.
        oldest: EventSequence,
    },
}

/// A watch of `NotificationService` that never ends by itself.
pub struct EventWatch {
    filter: EventFilter,
    cursor: Cursor,
    subscription: Subscription<v1::NotificationServiceWatchResponse>,
}

impl EventWatch {
    /// Watches from `start` on. Must be made inside a tokio runtime.
    #[must_use]
    pub fn new(client: ControlClient, filter: EventFilter, start: EventStart) -> Self {
        Self {
            filter,
            cursor: Cursor(start),
            subscription: Subscription::new(client),
        }
    }

    /// The next update; reconnects for as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// When a member refuses the watch. Calling again reconnects.
    pub async fn next(&mut self) -> Result<EventUpdate, WatchError> {
        loop {
            let request = self.request();
            if let Step::Message(message) = self.subscription.step(|channel| open(channel, request)).await? {
                match self.cursor.accept(message) {
                    Ok(None) => {}
                    Ok(Some(update)) => {
                        self.subscription.progressed();
                        return Ok(update);
                    }
                    Err(reason) => self.subscription.abandon(Status::aborted(reason)),
                }
            }
        }
    }

    /// Connects now rather than with the first [`next`](Self::next).
    ///
    /// # Errors
    /// When refused, or unavailable for `limit`.
    pub async fn connect(&mut self, limit: Duration) -> Result<(), CallError> {
        let request = self.request();
        let opening = |channel| open(channel, request.clone());
        self.subscription.connect(limit, opening).await
    }

    /// Where a later watch can resume.
    #[must_use]
    pub const fn position(&self) -> EventStart {
        self.cursor.0
    }

    fn request(&self) -> v1::NotificationServiceWatchRequest {
        let (after_sequence, only_new) = match self.cursor.0 {
            EventStart::OnlyNew => (0, true),
            EventStart::After(sequence) => (sequence.get(), false),
        };
        v1::NotificationServiceWatchRequest {
            after_sequence,
            only_new,
            kinds: self.filter.kinds.clone(),
            tenants: self.filter.tenants.clone(),
            min_severity: self.filter.min_severity.into(),
            labels: self.filter.labels.clone(),
        }
    }
}

async fn open(
    channel: Channel,
    request: v1::NotificationServiceWatchRequest,
) -> Result<Response<Streaming<v1::NotificationServiceWatchResponse>>, Status> {
    NotificationServiceClient::new(channel).watch(request).await
}

/// The place after the last update that was given out.
#[derive(Debug)]
struct Cursor(EventStart);

impl Cursor {
    /// Takes the next message; `None` when the caller has it already.
    fn accept(&mut self, message: v1::NotificationServiceWatchResponse) -> Result<Option<EventUpdate>, &'static str> {
        let (update, sequence) = match message.part.ok_or("a message of an unknown kind")? {
            Part::Event(event) => {
                let sequence = event.sequence;
                if self.reached().is_some_and(|reached| sequence <= reached) {
                    return Ok(None);
                }
                (EventUpdate::Event(event), sequence)
            }
            Part::Bookmark(bookmark) => {
                let sequence = bookmark.sequence;
                if self.reached().is_some_and(|reached| sequence < reached) {
                    return Ok(None);
                }
                (EventUpdate::Bookmark(EventSequence(sequence)), sequence)
            }
            Part::Gap(gap) => {
                let before = gap.oldest_sequence.saturating_sub(1);
                if self.reached().is_some_and(|reached| before <= reached) {
                    return Ok(None);
                }
                let oldest = EventSequence(gap.oldest_sequence);
                (EventUpdate::Gap { oldest }, before)
            }
        };
        self.0 = EventStart::After(EventSequence(sequence));
        Ok(Some(update))
    }

    const fn reached(&self) -> Option<u64> {
        match self.0 {
            EventStart::OnlyNew => None,
            EventStart::After(sequence) => Some(sequence.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64) -> Part {
        Part::Event(v1::Event {
            sequence,
            ..Default::default()
        })
    }

    fn bookmark(sequence: u64) -> Part {
        Part::Bookmark(v1::EventBookmark { sequence })
    }

    fn gap(oldest_sequence: u64) -> Part {
        Part::Gap(v1::EventGap { oldest_sequence })
    }

    #[test]
    fn no_event_is_given_twice_and_the_cursor_never_goes_back() {
        let mut cursor = Cursor(EventStart::OnlyNew);
        // Message, whether the caller gets it, the cursor afterwards.
        let script = [
            (bookmark(4), true, 4),
            (event(5), true, 5),
            (event(5), false, 5),
            (bookmark(3), false, 5),
            (bookmark(5), true, 5),
            (gap(6), false, 5),
            (gap(20), true, 19),
            (event(20), true, 20),
            (bookmark(25), true, 25),
        ];
        for (step, (part, given, reached)) in script.into_iter().enumerate() {
            let message = v1::NotificationServiceWatchResponse { part: Some(part) };
            assert_eq!(cursor.accept(message).unwrap().is_some(), given, "step {step}");
            assert_eq!(cursor.0, EventStart::After(EventSequence(reached)), "step {step}");
        }
        let unknown = v1::NotificationServiceWatchResponse { part: None };
        assert!(cursor.accept(unknown).is_err());
    }
}
