//! Counts the HTTP/2 streams of one connection, by which an idle one is known.
//!
//! Over HTTP/1.1 hyper itself bounds the wait for the next request. Over HTTP/2 a client that answers PINGs could keep a connection for ever.
//! Must not know what the streams carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The streams of one connection. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct ActiveStreams(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    active: AtomicUsize,
    /// Beginnings and ends, ever. Comes round after more than any connection has.
    changes: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct ActiveStream(Arc<Count>);

impl ActiveStreams {
    pub(super) fn begin(&self) -> ActiveStream {
        self.0.active.fetch_add(1, Relaxed);
        self.0.changes.fetch_add(1, Relaxed);
        ActiveStream(Arc::clone(&self.0))
    }

    /// Completes when there have been some and then none for `time`, or up to twice as long: whoever waits looks now and then, so that a stream
    /// wakes nobody.
    pub(super) async fn idle_for(&self, time: Duration) {
        loop {
            let before = self.0.changes.load(Relaxed);
            tokio::time::sleep(time).await;
            let nothing_changed = before > 0 && self.0.changes.load(Relaxed) == before;
            if nothing_changed && self.0.active.load(Relaxed) == 0 {
                return;
            }
        }
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::{Instant, advance};

    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_its_last_stream_and_never_without_one() {
        let streams = ActiveStreams::default();
        let mut idle = Box::pin(streams.idle_for(TIME));
        for _ in 0..10 {
            assert!(idle.as_mut().now_or_never().is_none(), "another protocol");
            advance(TIME).await;
        }
        let (long, short) = (streams.begin(), streams.begin());
        drop(short);
        for _ in 0..10 {
            assert!(idle.as_mut().now_or_never().is_none());
            advance(TIME).await;
        }
        drop(long);
        for _ in 0..10 {
            drop(streams.begin());
            assert!(idle.as_mut().now_or_never().is_none(), "one came meanwhile");
            advance(TIME).await;
        }
        let last = streams.begin();
        assert!(idle.as_mut().now_or_never().is_none());
        advance(TIME - Duration::from_millis(1)).await;
        drop(last);
        let since = Instant::now();
        idle.await;
        assert!(since.elapsed() >= TIME && since.elapsed() <= 2 * TIME);
    }
}
