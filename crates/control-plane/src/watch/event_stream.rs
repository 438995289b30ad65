//! One watcher's stream of the event log: what is kept from its cursor on, then what is new.

use tenantry_proto::v1::notification_service_watch_response::Part;
use tenantry_proto::v1::{self, NotificationServiceWatchResponse};
use tenantry_types::EventSequence;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::{EventMatcher, WatchTiming};
use crate::machine::PublishedState;

/// Events taken from the log at once.
const EVENTS_AT_ONCE: usize = 256;

type Sender = mpsc::Sender<Result<NotificationServiceWatchResponse, Status>>;

/// Feeds `out` with events after `cursor` until the watcher leaves. `cursor` of `None` starts with what happens next.
/// A watcher that does not read is waited for, here alone, and finds a gap where the log has moved on meanwhile.
pub async fn event_stream(
    published: PublishedState,
    cursor: Option<EventSequence>,
    matcher: EventMatcher,
    timing: WatchTiming,
    out: Sender,
) {
    let mut applied = published.revision();
    let mut last_sent = Instant::now();
    let mut cursor = match cursor {
        Some(cursor) => cursor,
        None => {
            let newest = published.current().state.last_event();
            // At once, so that a watcher which is cut off before the first event can resume where it began.
            if !send(&out, Part::Bookmark(v1::EventBookmark { sequence: newest.get() })).await {
                return;
            }
            newest
        }
    };
    loop {
        applied.borrow_and_update();
        let state = published.current().state.clone();
        // A cursor ahead of this member (the watcher talked to another before) waits for it to catch up.
        let oldest = state.oldest_event();
        if cursor.next() < oldest {
            let gap = v1::EventGap {
                oldest_sequence: oldest.get(),
            };
            if !send(&out, Part::Gap(gap)).await {
                return;
            }
            cursor = EventSequence(oldest.get().saturating_sub(1));
        }
        let mut taken = 0;
        for event in state.events_after(cursor).take(EVENTS_AT_ONCE) {
            taken += 1;
            cursor = event.sequence;
            if matcher.wants(event, &state) {
                if !send(&out, Part::Event(v1::Event::from(&**event))).await {
                    return;
                }
                last_sent = Instant::now();
            }
        }
        if taken > 0 {
            continue;
        }
        // From the last message on, not from the last revision: there are always some, and a watcher that wants few events has to
        // know how far it may resume.
        let quiet = tokio::time::timeout_at(last_sent + timing.bookmark, applied.changed());
        let quiet = tokio::select! {
            quiet = quiet => quiet,
            () = out.closed() => return,
        };
        match quiet {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                if !send(&out, Part::Bookmark(v1::EventBookmark { sequence: cursor.get() })).await {
                    return;
                }
                last_sent = Instant::now();
            }
        }
    }
}

async fn send(out: &Sender, part: Part) -> bool {
    out.send(Ok(NotificationServiceWatchResponse { part: Some(part) }))
        .await
        .is_ok()
}
