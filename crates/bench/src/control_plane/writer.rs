//! One client that writes one after the other, as an operator's would: to the member that answered last, else to the next.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tonic::transport::Channel;

use crate::latency::Latencies;
use crate::load::{Keys, lazy_endpoint, limited};
use crate::operation::Operation;

const PAUSE: Duration = Duration::from_millis(2);
/// Without a write for this long, the group is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes to one group.
pub(super) struct Writer {
    pub(super) operation: Operation,
    pub(super) keys: Keys,
    /// How long one attempt may take before the next member is asked.
    pub(super) attempt_limit: Duration,
    channels: Vec<Channel>,
    answered_last: Cell<usize>,
}

impl Writer {
    /// Begins at the first of `endpoints`. Opens no connection yet.
    ///
    /// # Errors
    /// When there are no endpoints.
    pub(super) fn new(
        endpoints: &[SocketAddr],
        operation: Operation,
        keys: Keys,
        attempt_limit: Duration,
    ) -> Result<Self> {
        let channels = endpoints
            .iter()
            .map(|endpoint| Ok(lazy_endpoint(*endpoint)?.connect_lazy()));
        let channels = channels.collect::<Result<Vec<_>>>()?;
        if channels.is_empty() {
            bail!("there are no members to write to");
        }
        Ok(Self {
            operation,
            keys,
            attempt_limit,
            channels,
            answered_last: Cell::new(0),
        })
    }

    /// One write, under one request id, until some member acknowledges it. Gives back its key.
    ///
    /// # Errors
    /// When nobody does for [`PATIENCE`].
    pub(super) async fn write(&self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let (key, id) = (self.keys.next(), Operation::new_request_id());
        let first = self.answered_last.get();
        for (index, channel) in self.channels.iter().enumerate().cycle().skip(first) {
            match limited(self.operation, channel.clone(), key, &id, self.attempt_limit).await {
                Ok(()) => {
                    self.answered_last.set(index);
                    return Ok(key);
                }
                Err(status) if Instant::now() >= deadline => bail!("no write within {PATIENCE:?}: {status}"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        bail!("there are no members to write to")
    }

    /// Writes until `work` is done; the write under way then is counted, too.
    ///
    /// # Errors
    /// When a write or the work fails.
    pub(super) async fn write_beside<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(Latencies, T)> {
        let done = Cell::new(false);
        let writing = async {
            let mut durations = Vec::new();
            while !done.get() {
                let start = Instant::now();
                self.write().await?;
                durations.push(start.elapsed());
            }
            Ok(Latencies::of(durations))
        };
        let work = async {
            let outcome = work.await;
            done.set(true);
            outcome
        };
        let (latencies, outcome): (Result<Latencies>, Result<T>) = tokio::join!(writing, work);
        Ok((latencies?, outcome?))
    }
}
