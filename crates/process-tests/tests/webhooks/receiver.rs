//! A webhook's receiver: an HTTP/1.1 server on loopback that keeps what it is sent, and misbehaves when it is told to.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use process_tests::until;
use serde_json::Value;
use sha2::Sha256;

const PATIENCE: Duration = Duration::from_secs(60);

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It takes messages: 204.
    Take,
    /// It is broken: 500.
    Fail,
    /// It does not want this one: 400.
    Refuse,
    /// It wants no more: 410.
    Gone,
    /// It sends messages elsewhere: 307.
    Redirect(String),
    /// It wants to be left alone for so many seconds: 429.
    Busy(u32),
    /// Nothing, until it is told to answer otherwise.
    Hang,
}

/// What it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    timestamp: String,
    signatures: String,
    body: String,
    pub(crate) answered: Answer,
    pub(crate) at: Instant,
}

impl Message {
    /// Whether it is signed with the secret, by the rules of Standard Webhooks.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.signatures.split(' ').any(|signature| signature == expected)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Of the event that it is about.
    pub(crate) fn sequence(&self) -> u64 {
        self.json()["data"]["sequence"].as_u64().unwrap()
    }
}

struct Shared {
    answer: Mutex<Answer>,
    messages: Mutex<Vec<Message>>,
    stop: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens until it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            messages: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // A client that goes away is no failure of the test: the leader may have been killed.
                thread::spawn(move || connection.and_then(|connection| serve(&shared, connection)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers so from the next message on; who hangs is let go.
    pub(crate) fn will(&self, answer: Answer) {
        *locked(&self.shared.answer) = answer;
    }

    /// All that came, whatever was answered.
    pub(crate) fn messages(&self) -> Vec<Message> {
        locked(&self.shared.messages).clone()
    }

    /// What it took.
    pub(crate) fn taken(&self) -> Vec<Message> {
        let mut taken = self.messages();
        taken.retain(|message| message.answered == Answer::Take);
        taken
    }

    /// Sequences of what it took, in the order of their first arrival.
    pub(crate) fn first_arrivals(&self) -> Vec<u64> {
        let mut sequences = Vec::new();
        for message in self.taken() {
            if !sequences.contains(&message.sequence()) {
                sequences.push(message.sequence());
            }
        }
        sequences
    }

    pub(crate) fn wait_for(&self, what: &str, mut holds: impl FnMut(&[Message]) -> bool) {
        until(what, PATIENCE, || holds(&self.messages()));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection);
    let (mut id, mut timestamp, mut signatures, mut length) = (String::new(), String::new(), String::new(), 0);
    let mut request_line = String::new();
    reader.read_line(&mut request_line)?;
    assert!(request_line.starts_with("POST /hook HTTP/1.1"), "{request_line}");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => id = value,
            "webhook-timestamp" => timestamp = value,
            "webhook-signature" => signatures = value,
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = locked(&shared.answer).clone();
    locked(&shared.messages).push(Message {
        id,
        timestamp,
        signatures,
        body: String::from_utf8(body).unwrap(),
        answered: answer.clone(),
        at: Instant::now(),
    });
    while answer == Answer::Hang && *locked(&shared.answer) == Answer::Hang {
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let head = match answer {
        Answer::Take => "204 No Content".to_owned(),
        Answer::Fail => "500 Internal Server Error".to_owned(),
        Answer::Refuse => "400 Bad Request".to_owned(),
        Answer::Gone => "410 Gone".to_owned(),
        Answer::Redirect(to) => format!("307 Temporary Redirect\r\nlocation: {to}"),
        Answer::Busy(seconds) => format!("429 Too Many Requests\r\nretry-after: {seconds}"),
        Answer::Hang => return Ok(()),
    };
    let length = if head.starts_with("204") {
        ""
    } else {
        "content-length: 0\r\n"
    };
    let answer = format!("HTTP/1.1 {head}\r\n{length}connection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes())
}
