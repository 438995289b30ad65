//! What is left of an answer when nobody sends any more.
//!
//! A connection asks for a piece once it has written the one before: never, where its client reads nothing. So somebody beside it looks, from time
//! to time, whether the client has taken anything.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{Broken, End, Patience, Shared};

/// Much of an answer, which its client has yet to take.
pub(in crate::hrana) struct Untaken {
    shared: Arc<Shared>,
    patience: Patience,
}

impl Untaken {
    pub(super) const fn new(shared: Arc<Shared>, patience: Patience) -> Self {
        Self { shared, patience }
    }

    /// Waits until the client has taken everything, or has left.
    ///
    /// # Errors
    /// When it takes nothing for too long, or takes too long in all. What was left is let go then, and the answer breaks off.
    pub(in crate::hrana) async fn taken(self) -> Result<(), Broken> {
        let mut before = self.shared.state.lock().taken;
        let end = Instant::now() + self.patience.total;
        loop {
            let until = end.min(Instant::now() + self.patience.stall);
            tokio::select! {
                () = self.shared.over.notified() => return Ok(()),
                () = sleep_until(until) => {}
            }
            let mut state = self.shared.state.lock();
            if state.is_over() || state.reader_left {
                return Ok(());
            }
            if state.taken == before || until == end {
                self.shared.let_go(&mut state);
                state.finish(End::BrokenOff(Broken::Stalled.to_string()));
                return Err(Broken::Stalled);
            }
            before = state.taken;
        }
    }
}
