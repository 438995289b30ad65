//! A closed loop: so many clients, each with one unary call under way, over a few connections.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::latency::Latencies;
use crate::operation::Operation;

/// Connections that the clients share.
pub(crate) const CONNECTIONS: usize = 8;
/// A call that takes longer has failed.
const CALL_LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// After a failure, so that a broken server is not hammered.
const PAUSE: Duration = Duration::from_millis(5);

/// Which keys the calls are for.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// Each call has the next number; none comes twice.
    Fresh(Arc<AtomicU64>),
    /// The numbers below this in turn.
    Cycle(u64, Arc<AtomicU64>),
}

impl Keys {
    /// From zero on.
    pub(crate) fn fresh() -> Self {
        Self::Fresh(Arc::default())
    }

    /// From `first` on.
    pub(crate) fn fresh_from(first: u64) -> Self {
        Self::Fresh(Arc::new(AtomicU64::new(first)))
    }

    pub(crate) fn cycle(count: u64) -> Self {
        Self::Cycle(count, Arc::default())
    }

    /// How far the numbers have come: the next fresh one.
    pub(crate) fn given_out(&self) -> u64 {
        let (Self::Fresh(next) | Self::Cycle(_, next)) = self;
        next.load(Ordering::Relaxed)
    }

    /// The number for the next call.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Fresh(next) => next.fetch_add(1, Ordering::Relaxed),
            Self::Cycle(count, next) => next.fetch_add(1, Ordering::Relaxed) % (*count).max(1),
        }
    }
}

/// How long, and how many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) clients: usize,
    /// Calls before this has passed are not counted.
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Of the calls that ended within the counted time.
    pub(crate) latencies: Latencies,
    pub(crate) per_second: f64,
    /// All calls that succeeded, also outside the counted time.
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

/// [`CONNECTIONS`] connections to each of `endpoints` in turn.
///
/// # Errors
/// When one cannot be opened.
pub(crate) async fn connect(endpoints: &[SocketAddr]) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(CONNECTIONS);
    for endpoint in endpoints.iter().cycle().take(CONNECTIONS) {
        channels.push(connect_one(*endpoint).await?);
    }
    Ok(channels)
}

/// # Errors
/// When it cannot be opened.
pub(crate) async fn connect_one(endpoint: SocketAddr) -> Result<Channel> {
    let connecting = lazy_endpoint(endpoint)?.connect().await;
    connecting.with_context(|| format!("cannot connect to {endpoint}"))
}

/// How every connection of the benchmark is opened.
///
/// # Errors
/// Never for a valid address.
pub(crate) fn lazy_endpoint(endpoint: SocketAddr) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(CONNECT_LIMIT))
}

/// Lets the clients call for as long as `shape` says.
///
/// # Errors
/// When more calls fail than succeed; what the last one said is in the error.
pub(crate) async fn run(operation: Operation, channels: &[Channel], keys: &Keys, shape: Shape) -> Result<Sample> {
    let begin = Instant::now() + shape.warm_up;
    let end = begin + shape.length;
    let mut clients = JoinSet::new();
    for channel in channels.iter().cycle().take(shape.clients) {
        clients.spawn(client(operation, channel.clone(), keys.clone(), begin, end));
    }
    let mut durations = Vec::new();
    let mut calls = 0;
    let mut failures = 0;
    let mut last_failure = None;
    while let Some(ended) = clients.join_next().await {
        let ended = ended.context("a client panicked")?;
        durations.extend(ended.durations);
        calls += ended.calls;
        failures += ended.failures;
        last_failure = ended.last_failure.or(last_failure);
    }
    if let Some(last_failure) = last_failure.filter(|_| failures > calls) {
        bail!("{failures} calls failed and {calls} succeeded; the last failure: {last_failure}");
    }
    Ok(Sample {
        per_second: per_second(durations.len(), shape.length),
        latencies: Latencies::of(durations),
        calls,
        failures,
    })
}

/// Makes calls for these keys, with `clients` at once, as fast as it goes. Busy answers are
/// waited out. Gives back how long it took.
///
/// # Errors
/// When a call fails for another reason than a busy server, or too often.
pub(crate) async fn fill(
    operation: Operation,
    channels: &[Channel],
    keys: Range<u64>,
    clients: usize,
) -> Result<Duration> {
    const ATTEMPTS: usize = 200;
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(keys.start));
    let mut tasks = JoinSet::new();
    for channel in channels.iter().cycle().take(clients) {
        let (channel, next) = (channel.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= keys.end {
                    return Ok(());
                }
                let id = Operation::new_request_id();
                let mut attempt = 0;
                while let Err(status) = limited(operation, channel.clone(), key, &id, CALL_LIMIT).await {
                    attempt += 1;
                    if attempt == ATTEMPTS {
                        bail!("call for key {key}: {status}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(start.elapsed())
}

/// A call that ends after `limit` at the latest.
///
/// # Errors
/// As the call; `DEADLINE_EXCEEDED` after `limit`.
pub(crate) async fn limited(
    operation: Operation,
    channel: Channel,
    key: u64,
    request_id: &str,
    limit: Duration,
) -> Result<(), Status> {
    let call = tokio::time::timeout(limit, operation.call(channel, key, request_id)).await;
    call.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

#[derive(Default)]
struct Ended {
    durations: Vec<Duration>,
    calls: u64,
    failures: u64,
    last_failure: Option<Status>,
}

async fn client(operation: Operation, channel: Channel, keys: Keys, begin: Instant, end: Instant) -> Ended {
    let mut ended = Ended::default();
    loop {
        let start = Instant::now();
        if start >= end {
            return ended;
        }
        let id = Operation::new_request_id();
        let outcome = limited(operation, channel.clone(), keys.next(), &id, CALL_LIMIT).await;
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                ended.calls += 1;
                if now >= begin && now < end {
                    ended.durations.push(now - start);
                }
            }
            Err(status) => {
                ended.failures += 1;
                ended.last_failure = Some(status);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// So many in `length`.
pub(crate) fn per_second(count: usize, length: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / length.as_secs_f64()
}
