//! A client over one HTTP/2 connection that many threads share, and which says exactly how far a failed request got.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response, body::Incoming, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::kept_connection::{KeptAnswer, KeptError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

type Sender = SendRequest<Full<Bytes>>;

/// A client of one address. Clones share a connection: their requests are streams of it. Those that find it closed at the same moment connect each, and the
/// last one's is kept.
#[derive(Debug, Clone)]
pub struct Http2Connection {
    address: SocketAddr,
    host: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtime: Runtime,
    connection: Mutex<Option<Sender>>,
}

impl Http2Connection {
    /// Not connected yet. `host` names the tenant.
    ///
    /// # Panics
    /// When the machine has no thread to carry the connection.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self {
            address,
            host: host.to_owned(),
            shared: Arc::new(Shared {
                runtime: runtime.expect("a thread can be started"),
                connection: Mutex::new(None),
            }),
        }
    }

    /// Posts to `/v3/pipeline`, on the connection that is there or a new one.
    ///
    /// # Errors
    /// Says how far the request got. What the server says that it never took up counts as not connected.
    pub fn post(&self, body: &str) -> Result<KeptAnswer, KeptError> {
        self.shared.runtime.block_on(async {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connection()).await;
            let sender = connected
                .unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
                .map_err(KeptError::NotConnected)?;
            let asked = tokio::time::timeout(SILENCE_TIMEOUT, self.ask(sender, body)).await;
            asked.unwrap_or_else(|_silence| Err(KeptError::Unanswered(io::ErrorKind::TimedOut.into())))
        })
    }

    /// One that takes requests, by all that is known.
    async fn connection(&self) -> io::Result<Sender> {
        let kept = self.kept().clone();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its end is seen by whoever asks next.
        self.shared.runtime.spawn(connection);
        *self.kept() = Some(sender.clone());
        Ok(sender)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Sender>> {
        self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, mut sender: Sender, body: &str) -> Result<KeptAnswer, KeptError> {
        let request = Request::post(format!("http://{}/v3/pipeline", self.host))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| KeptError::NotConnected(io::Error::other(error)))?;
        let response = sender.try_send_request(request).await.map_err(|mut failed| {
            let was_sent = failed.take_message().is_none();
            let error = failed.into_error();
            if was_sent && !was_not_taken_up(&error) {
                KeptError::Unanswered(io::Error::other(error))
            } else {
                KeptError::NotConnected(io::Error::other(error))
            }
        })?;
        answer(response).await
    }
}

/// RFC 9113, 8.7: a stream that was refused, and one behind the last that a GOAWAY names, was not acted on.
fn was_not_taken_up(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| {
        let reason = h2.reason();
        h2.is_remote()
            && (h2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
                || h2.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
    })
}

async fn answer(response: Response<Incoming>) -> Result<KeptAnswer, KeptError> {
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| KeptError::CutOff(io::Error::other(error)))?;
    Ok(KeptAnswer {
        status: head.status.as_u16(),
        retry_after: head.headers.contains_key(header::RETRY_AFTER),
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    })
}
