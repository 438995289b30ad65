//! One attempt: a connection, one request over HTTP/1.1, and as much of the answer as is needed.
//!
//! Every attempt has a connection of its own. Events are rare, and a connection from before could be to an address that is
//! no longer allowed. Redirects must not be followed: they would lead past the judgement of who may be sent what.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::response::Parts;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::answer::{self, MAX_EXCERPT_BYTES};
use crate::connect::{Connector, Stream, broken};
use crate::resolve::Resolver;
use crate::{AddressPolicy, Endpoint, Failure, InvalidRoots, Message, Outcome, tls};

/// The longest head of an answer, in bytes, and the most that is ever read ahead of what is wanted.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// No limit is longer, whatever the options say.
const MAX_LIMIT: Duration = Duration::from_hours(1);
const USER_AGENT_VALUE: &str = concat!("tenantry-webhooks/", env!("CARGO_PKG_VERSION"));

/// What may be sent to, who is trusted, and how long things may take. Limits of more than an hour count as an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// Which addresses may be sent to.
    pub policy: AddressPolicy,
    /// Certificates in PEM that are trusted as roots besides Mozilla's.
    pub extra_roots: Option<Vec<u8>>,
    /// For the lookup of the name.
    pub lookup_timeout: Duration,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// For the whole attempt.
    pub attempt_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::default(),
            extra_roots: None,
            lookup_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(15),
        }
    }
}

/// Sends messages to endpoints. Cheap to clone; it keeps no connection and uses no proxy.
#[derive(Clone)]
pub struct Client {
    connector: Arc<Connector>,
    attempt_timeout: Duration,
}

impl Client {
    /// A client that uses the system's resolver.
    ///
    /// # Errors
    /// The additional roots are not what they should be.
    pub fn new(options: ClientOptions) -> Result<Self, InvalidRoots> {
        let tls = tls::config(options.extra_roots.as_deref())?;
        let attempt_timeout = options.attempt_timeout.min(MAX_LIMIT);
        let connector = Connector {
            policy: options.policy,
            resolver: Resolver::of_the_system(),
            tls: Arc::new(tls),
            lookup_timeout: options.lookup_timeout.min(attempt_timeout),
            connect_timeout: options.connect_timeout.min(attempt_timeout),
        };
        Ok(Self {
            connector: Arc::new(connector),
            attempt_timeout,
        })
    }

    /// Sends `message` to `endpoint` once, and says within the limits what came of it.
    ///
    /// Dropped before its end, it closes the connection; the receiver may have taken the message by then.
    pub async fn attempt(&self, endpoint: &Endpoint, message: &Message) -> Outcome {
        let started = Instant::now();
        let deadline = started + self.attempt_timeout;
        let answered = self.answer(endpoint, message, deadline).await;
        match answered {
            Ok(Answer { head, body, at }) => {
                let took = at.duration_since(started);
                answer::judge(endpoint, head.status, &head.headers, &body, took, SystemTime::now())
            }
            Err(reason) => Outcome::Failed {
                reason,
                retry_after: None,
            },
        }
    }

    async fn answer(&self, endpoint: &Endpoint, message: &Message, deadline: Instant) -> Result<Answer, Failure> {
        let stream = self.connector.connect(endpoint, deadline).await?;
        let request = request(endpoint, message);
        let answered = match stream {
            Stream::Plain(tcp) => exchange(tcp, request, deadline).await?,
            Stream::Tls(tls) => exchange(tls, request, deadline).await?,
        };
        answered.ok_or(Failure::NoAnswer {
            limit: self.attempt_timeout,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("policy", &self.connector.policy)
            .finish_non_exhaustive()
    }
}

struct Answer {
    head: Parts,
    /// Its beginning, where it is of interest.
    body: Vec<u8>,
    /// When the head was there.
    at: Instant,
}

#[expect(
    clippy::expect_used,
    reason = "`Endpoint` and `Message` hold only what fits into a request"
)]
fn request(endpoint: &Endpoint, message: &Message) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(endpoint.path().clone())
        .header(HOST, endpoint.authority())
        .header(USER_AGENT, USER_AGENT_VALUE)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", message.id())
        .header("webhook-timestamp", message.timestamp())
        .header("webhook-signature", message.signatures())
        .body(Full::new(message.body().clone()))
        .expect("a valid request")
}

/// Sends the request and reads the answer; nothing if its head is not there in time.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, deadline: Instant) -> Result<Option<Answer>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| no_answer(&error))?;
    // Queued before the connection runs, so that the request is what learns of a receiver that speaks or closes at once.
    let answering = sender.send_request(request);
    // Its end closes the connection, whatever the receiver has still to say.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let Ok(response) = timeout_at(deadline, answering).await else {
        return Ok(None);
    };
    let (head, body) = response.map_err(|error| no_answer(&error))?.into_parts();
    let at = Instant::now();
    let body = if answer::is_final(head.status) {
        Vec::new()
    } else {
        beginning(body, deadline).await
    };
    Ok(Some(Answer { head, body, at }))
}

/// The beginning of a body, as much as has come when it ends, breaks off, is long enough or the time is over. The status is
/// known by then, and counts.
async fn beginning(mut body: Incoming, deadline: Instant) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < MAX_EXCERPT_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let data = frame.into_data().unwrap_or_default();
        let wanted = data.len().min(MAX_EXCERPT_BYTES - read.len());
        read.extend_from_slice(&data[..wanted]);
    }
    read
}

/// Why there is no answer.
fn no_answer(error: &hyper::Error) -> Failure {
    if let Some(io) = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        return broken(io);
    }
    let text = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    // A request that was not taken up is called cancelled, and the reason, if there is one, comes after that.
    let reason = causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .last();
    if reason.is_some_and(|reason| reason.is_incomplete_message() || reason.is_canceled() || reason.is_closed()) {
        return Failure::BrokenOff { text };
    }
    Failure::NotHttp { text }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn every_endpoint_and_message_that_are_accepted_make_a_request() {
        let printable = (b'!'..=b'~').map(char::from);
        let mut accepted = 0;
        for char in printable {
            let message = Message::new(char.to_string(), u64::MAX, "{}", vec![Secret::generate([7; 32]); 4]);
            let message = message.or_else(|_| Message::new("msg_1", 0, "", vec![Secret::generate([7; 32])]));
            for url in [
                format!("https://a.example/{char}"),
                format!("https://a.example?{char}"),
                format!("https://a.example{char}"),
                format!("https://{char}.example:1{char}"),
                format!("https://[::{char}]:444/%{char}"),
            ] {
                if let Ok(endpoint) = url.parse::<Endpoint>() {
                    let request = request(&endpoint, message.as_ref().unwrap());
                    assert!(
                        request.uri().path().starts_with('/') && request.uri().host().is_none(),
                        "{url}"
                    );
                    accepted += 1;
                }
            }
        }
        assert!(accepted > 150, "{accepted}");
    }
}
