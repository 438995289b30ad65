//! Receivers that do as told and remember what they were sent.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use webhook_delivery::{AddressPolicy, Client, ClientOptions, Endpoint, Failure, Message, Outcome, Secret};

/// Longer than anything here takes; it is there to end a test that hangs.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
pub(crate) const BODY: &str = r#"{"test": 2432232314}"#;

pub(crate) fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

pub(crate) fn message() -> Message {
    Message::new("msg_1", 1_614_265_330, BODY, vec![secret()]).unwrap()
}

/// Longer than `BOUND`: what ends an attempt has to be something else.
const NO_LIMIT: Duration = Duration::from_secs(3_600);

/// May send to loopback, and has more time than a test has.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        policy: AddressPolicy {
            allowed: ["127.0.0.0/8", "::1"].map(|network| network.parse().unwrap()).to_vec(),
        },
        extra_roots: None,
        lookup_timeout: NO_LIMIT,
        connect_timeout: NO_LIMIT,
        attempt_timeout: NO_LIMIT,
    }
}

pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

/// Does not wait long for answers that never come.
pub(crate) fn impatient(limit: Duration) -> Client {
    Client::new(ClientOptions {
        attempt_timeout: limit,
        ..options()
    })
    .unwrap()
}

/// The reason of an attempt that ends with its limit. A busy machine may not get as far in a second, so that there are more
/// attempts with more time until the reason is the `expected` one.
pub(crate) async fn failure_in_time(url: &str, expected: fn(&Failure) -> bool) -> Failure {
    let mut reason = None;
    for seconds in [1, 5, 25] {
        let seen = failure(&impatient(Duration::from_secs(seconds)), url).await;
        if expected(&seen) {
            return seen;
        }
        reason = Some(seen);
    }
    panic!("{reason:?}");
}

pub(crate) async fn attempt(client: &Client, url: &str) -> Outcome {
    attempt_with(client, url, &message()).await
}

pub(crate) async fn attempt_with(client: &Client, url: &str, message: &Message) -> Outcome {
    let endpoint: Endpoint = url.parse().unwrap();
    tokio::time::timeout(BOUND, client.attempt(&endpoint, message))
        .await
        .expect("the attempt does not end")
}

/// The reason of an attempt that failed without a word about when to come back.
pub(crate) async fn failure(client: &Client, url: &str) -> Failure {
    match attempt(client, url).await {
        Outcome::Failed {
            reason,
            retry_after: None,
        } => reason,
        other => panic!("{other:?}"),
    }
}

/// Listens on loopback and converses with each connection.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Conversations that have come to their end.
    ended: watch::Receiver<usize>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Reads a request from each connection, and leaves the rest to `converse`.
    pub(crate) async fn start<C, F>(converse: C) -> Self
    where
        C: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (count, ended) = watch::channel(0);
        let seen = Arc::clone(&requests);
        let serving = async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                converse(stream).await;
                count.send_modify(|count| *count += 1);
            }
        };
        Self {
            address,
            requests,
            ended,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Answers every request with these bytes, and then waits for the client to close.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                // The client may have heard enough before the end.
                let _ = stream.write_all(&answer).await;
                until_closed(stream).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until the first conversation has ended, that is until the client has closed its connection.
    pub(crate) async fn first_has_ended(&mut self) {
        tokio::time::timeout(BOUND, self.ended.wait_for(|count| *count > 0))
            .await
            .expect("the connection stays open")
            .unwrap();
    }
}

/// Reads until the client closes or resets.
pub(crate) async fn until_closed(mut stream: impl AsyncRead + Unpin) {
    let mut rest = [0; 1_024];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

/// Writes `piece` again and again until the client closes.
pub(crate) async fn for_ever(mut stream: impl AsyncWrite + Unpin, piece: &[u8]) {
    while stream.write_all(piece).await.is_ok() {}
}

/// Writes one byte of `bytes` after the other, as if over a line that is very slow, until the client closes.
pub(crate) async fn byte_by_byte(mut stream: impl AsyncWrite + Unpin, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The head and the body of a request.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    while !request.ends_with(BODY.as_bytes()) {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}
