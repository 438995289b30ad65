//! A receiver on loopback for the tests of couriers: keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A message, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) sequence: u64,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) status: u16,
}

#[derive(Default)]
struct Inner {
    /// The next answers.
    script: VecDeque<u16>,
    /// All answers after them.
    otherwise: u16,
    got: Vec<Got>,
    /// Whether the first attempt of each message fails, whatever the answers are.
    fails_first: bool,
}

/// Listens for as long as the test's runtime lives.
pub(super) struct Receiver {
    pub(super) url: String,
    inner: Arc<Mutex<Inner>>,
    /// A permit for each answer.
    gate: Arc<Semaphore>,
}

impl Receiver {
    /// Answers `script`, and `otherwise` from then on.
    pub(super) async fn start(script: &[u16], otherwise: u16) -> Self {
        let receiver = Self::gated(script, otherwise).await;
        receiver.let_pass(Semaphore::MAX_PERMITS);
        receiver
    }

    /// As [`Receiver::start`], but lets each sender wait for its answer.
    pub(super) async fn gated(script: &[u16], otherwise: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner {
            script: script.to_vec().into(),
            otherwise,
            ..Inner::default()
        }));
        let gate = Arc::new(Semaphore::new(0));
        let (state, permits) = (Arc::clone(&inner), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // A sender that goes away is what some tests are about.
                tokio::spawn(serve(connection, Arc::clone(&state), Arc::clone(&permits)));
            }
        });
        Self { url, inner, gate }
    }

    /// Answers 500 to the first attempt of each message from now on, and 200 to the next.
    pub(super) fn fail_first(&self) {
        self.inner.lock().fails_first = true;
    }

    pub(super) fn let_pass(&self, answers: usize) {
        self.gate.add_permits(answers);
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.inner.lock().got.clone()
    }

    /// Sequences of all messages that were answered with `status`, in their order.
    pub(super) fn answered(&self, status: u16) -> Vec<u64> {
        let got = self.inner.lock();
        let answered = got.got.iter().filter(|message| message.status == status);
        answered.map(|message| message.sequence).collect()
    }
}

async fn serve(connection: TcpStream, inner: Arc<Mutex<Inner>>, gate: Arc<Semaphore>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("webhook-id", value)) => value.clone_into(&mut id),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let status = {
        let mut inner = inner.lock();
        let otherwise = inner.otherwise;
        let is_new = inner.got.iter().all(|before| before.id != id);
        let status = match inner.fails_first {
            true if is_new => 500,
            true => 200,
            false => inner.script.pop_front().unwrap_or(otherwise),
        };
        inner.got.push(Got {
            sequence: body["data"]["sequence"].as_u64().unwrap_or(0),
            kind: body["type"].as_str().unwrap_or_default().to_owned(),
            id,
            status,
        });
        status
    };
    if let Ok(permit) = gate.acquire().await {
        permit.forget();
    }
    let answer = format!("HTTP/1.1 {status} Something\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.get_mut().write_all(answer.as_bytes()).await
}
