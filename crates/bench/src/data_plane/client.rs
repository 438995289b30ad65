//! The load: so many connections, each with one request under way, on a thread of its own. Written for little work per
//! request, since it shares the cores with the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::answer::{self, Arrival};
use super::requests::{Request, Requests};
use crate::latency::Latencies;
use crate::load::{Sample, Shape};

/// A request that is not answered this long after the end has failed.
const GRACE: Duration = Duration::from_secs(20);
/// After a failure, so that a broken server is not hammered.
const PAUSE: Duration = Duration::from_millis(5);
/// As much of a wrong answer as is told.
const SHOWN_BYTES: usize = 300;

/// Lets `shape.clients` connections send `requests` to `server` for as long as `shape` says.
///
/// # Errors
/// When more requests fail than succeed; what the last one was answered is in the error.
pub(crate) async fn run(server: SocketAddr, requests: &Requests, shape: Shape) -> Result<Sample> {
    let (requests, (sender, receiver)) = (requests.clone(), oneshot::channel());
    // One thread for all connections: nothing wakes another thread for a request. The thread outlives an interrupt by
    // nothing, since the process ends then.
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let sample = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot make a runtime")
                .and_then(|runtime| runtime.block_on(load(server, &requests, shape)));
            // Nobody waits any more when the run was interrupted.
            let _ = sender.send(sample);
        })
        .context("cannot start a thread")?;
    receiver.await.context("the load's thread panicked")?
}

async fn load(server: SocketAddr, requests: &Requests, shape: Shape) -> Result<Sample> {
    let begin = Instant::now() + shape.warm_up;
    let end = begin + shape.length;
    let mut clients = JoinSet::new();
    for client in 0..shape.clients {
        let place = client * requests.len() / shape.clients;
        clients.spawn(one_client(server, requests.clone(), place, begin, end));
    }
    let mut all = Ended::default();
    while let Some(ended) = clients.join_next().await {
        let ended = ended.context("a client panicked")?;
        all.durations.extend(ended.durations);
        all.calls += ended.calls;
        all.failures += ended.failures;
        all.last_failure = ended.last_failure.or(all.last_failure);
    }
    if let Some(failure) = all.last_failure {
        if all.failures > all.calls {
            bail!(
                "{} requests failed and {} succeeded; the last failure: {failure:#}",
                all.failures,
                all.calls
            );
        }
        crate::report::progress(format_args!("{} requests failed, the last: {failure:#}", all.failures));
    }
    Ok(Sample {
        per_second: crate::load::per_second(all.durations.len(), shape.length),
        latencies: Latencies::of(all.durations),
        calls: all.calls,
        failures: all.failures,
    })
}

#[derive(Default)]
struct Ended {
    durations: Vec<Duration>,
    calls: u64,
    failures: u64,
    last_failure: Option<anyhow::Error>,
}

async fn one_client(server: SocketAddr, requests: Requests, mut place: usize, begin: Instant, end: Instant) -> Ended {
    let mut ended = Ended::default();
    let mut connection = None;
    let mut start = Instant::now();
    while start < end {
        let outcome = match requests.at(place) {
            Some(request) => timeout_at((end + GRACE).into(), call(&mut connection, server, request)).await,
            None => return ended,
        };
        place += 1;
        let now = Instant::now();
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow::anyhow!("no answer in time")),
        };
        if let Some(failure) = failure {
            ended.failures += 1;
            ended.last_failure = Some(failure);
            connection = None;
            tokio::time::sleep(PAUSE).await;
            start = Instant::now();
        } else {
            ended.calls += 1;
            if now >= begin && now < end {
                ended.durations.push(now - start);
            }
            start = now;
        }
    }
    ended
}

async fn call(connection: &mut Option<Connection>, server: SocketAddr, request: &Request) -> Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(server).await?),
    };
    connection.send(request).await
}

/// One connection with one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// # Errors
    /// When nobody listens.
    pub(crate) async fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).await;
        let stream = stream.with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(16 << 10),
        })
    }

    /// Sends a request and reads its answer to the end.
    ///
    /// # Errors
    /// When the connection breaks, or the answer has not the status or does not hold what the request expects.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<()> {
        self.stream.write_all(&request.bytes).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the server closed the connection");
            }
            match answer::read(&self.answer) {
                Arrival::Partial => {}
                Arrival::Complete { status, body } if status == request.status => {
                    let body = self.answer.get(body).unwrap_or_default();
                    if answer::find(body, &request.expected).is_some() {
                        return Ok(());
                    }
                    bail!("wrong answer: {}", self.shown());
                }
                Arrival::Complete { status, .. } => bail!("{status}: {}", self.shown()),
                Arrival::Malformed => bail!("malformed answer: {}", self.shown()),
            }
        }
    }

    /// The last answer, its head included.
    pub(crate) fn answer(&self) -> &[u8] {
        &self.answer
    }

    fn shown(&self) -> String {
        let length = self.answer.len().min(SHOWN_BYTES);
        String::from_utf8_lossy(self.answer.get(..length).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::data_plane::requests::{AnswerKind, Target, Work};

    /// A server that answers the requests of each connection with these answers in turn.
    async fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    for answer in answers.iter().cycle() {
                        if stream.read(&mut request).await.unwrap_or(0) == 0
                            || stream.write_all(answer.as_bytes()).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    const SHORT: Shape = Shape {
        clients: 2,
        warm_up: Duration::ZERO,
        length: Duration::from_millis(100),
    };

    fn requests() -> Requests {
        let target = Target {
            hosts: vec!["a.localhost".to_owned()],
            headers: String::new(),
            answer: AnswerKind::Fixed,
        };
        Requests::of(Work::Select, &target)
    }

    async fn sample_of(answers: &'static [&'static str]) -> Result<Sample> {
        run(server(answers).await, &requests(), SHORT).await
    }

    const RIGHT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n\"item-1";
    const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const REFUSED: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 7\r\n\r\n\"item-1";

    #[tokio::test]
    async fn right_answers_are_counted() {
        let sample = sample_of(&[RIGHT]).await.unwrap();
        assert!(sample.calls > 0 && sample.failures == 0, "{sample:?}");
    }

    #[tokio::test]
    async fn refusals_and_wrong_answers_are_failures() {
        let sample = sample_of(&[RIGHT, RIGHT, EMPTY, RIGHT]).await.unwrap();
        assert!(sample.failures > 0 && sample.calls > sample.failures, "{sample:?}");
        assert!(sample_of(&[REFUSED]).await.is_err());
        assert!(sample_of(&[EMPTY]).await.is_err());
    }

    #[tokio::test]
    async fn where_refusals_are_expected_they_alone_are_right() {
        let sample = run(server(&[REFUSED]).await, &requests().refused(), SHORT)
            .await
            .unwrap();
        assert!(sample.calls > 0 && sample.failures == 0, "{sample:?}");
        assert!(run(server(&[RIGHT]).await, &requests().refused(), SHORT).await.is_err());
    }
}
