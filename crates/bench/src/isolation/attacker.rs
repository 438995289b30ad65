//! Carries an attack out, on a thread of its own, until it is told to stop.
//!
//! The thread asks for a low priority: a real attacker's client does not take the node's cores.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::{Answers, kind};
use super::attack::{Attack, Manner};
use crate::data_plane::answer::{self, Arrival};

/// After a connection broke, so that this client does nothing but connect only where that is the attack.
const PAUSE: Duration = Duration::from_millis(5);
/// As `nice` has it.
const PRIORITY: i32 = 10;
/// Of threads that nobody waits for.
const LOWEST_PRIORITY: i32 = 19;
/// What is read at once. Megabytes are copied by the kernel in one piece, and nothing else runs on that core meanwhile.
const READ: u64 = 64 << 10;
/// Between two reads of a slow reader, and what it takes then.
const SLOW_READ: (Duration, usize) = (Duration::from_millis(100), 4 << 10);

/// An attack under way.
pub(super) struct Attacker {
    stop: CancellationToken,
    answers: oneshot::Receiver<Result<Answers>>,
}

impl Attacker {
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(server: SocketAddr, attack: &Attack) -> Result<Self> {
        let stop = CancellationToken::new();
        let (sender, answers) = oneshot::channel();
        let (attack, stopped) = (attack.clone(), stop.clone());
        std::thread::Builder::new()
            .name("attacker".to_owned())
            .spawn(move || {
                // Refused to nobody but those who run at a lower one already.
                let _refused = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY);
                let answers = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("cannot make a runtime")
                    .and_then(|runtime| runtime.block_on(carry_out(server, &attack, &stopped)));
                // Nobody waits any more when the run was interrupted.
                let _ = sender.send(answers);
            })
            .context("cannot start a thread")?;
        Ok(Self { stop, answers })
    }

    /// Ends it: hangs up on all connections. What it was answered.
    ///
    /// # Errors
    /// When it could not be carried out.
    pub(super) async fn stop(self) -> Result<Answers> {
        self.stop.cancel();
        self.answers.await.context("an attacker's thread panicked")?
    }
}

async fn carry_out(server: SocketAddr, attack: &Attack, stop: &CancellationToken) -> Result<Answers> {
    if attack.manner == Manner::KeepCoresBusy {
        stop.run_until_cancelled(keep_cores_busy()?).await;
        return Ok(Answers::default());
    }
    let mut connections = JoinSet::new();
    for first in 0..attack.connections {
        let (requests, manner, stop) = (Arc::clone(&attack.requests), attack.manner, stop.clone());
        connections.spawn(async move {
            let mut answers = Answers::default();
            let attacking = one_connection(server, &requests, first, manner, &mut answers);
            stop.run_until_cancelled(attacking).await;
            answers
        });
    }
    let mut all = Answers::default();
    while let Some(answers) = connections.join_next().await {
        all.merge(answers.context("a connection's task panicked")?);
    }
    Ok(all)
}

/// Threads that calculate until what is returned is dropped.
fn keep_cores_busy() -> Result<impl Future<Output = ()>> {
    let busy = Arc::new(());
    for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
        let wanted = Arc::downgrade(&busy);
        std::thread::Builder::new()
            .name("busy".to_owned())
            .spawn(move || {
                let _refused = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST_PRIORITY);
                while wanted.strong_count() > 0 {
                    std::hint::spin_loop();
                }
            })
            .context("cannot start a thread")?;
    }
    Ok(async move {
        let _busy = busy;
        std::future::pending().await
    })
}

/// Runs until it is dropped.
async fn one_connection(server: SocketAddr, requests: &[Vec<u8>], first: usize, manner: Manner, answers: &mut Answers) {
    let mut connection = None;
    for request in requests.iter().cycle().skip(first % requests.len().max(1)) {
        let asked = async {
            let stream = match &mut connection {
                Some(stream) => stream,
                None => connection.insert(TcpStream::connect(server).await?),
            };
            ask(stream, request, manner).await
        };
        match asked.await {
            Ok(kind) => answers.count(kind),
            Err(error) => {
                answers.count(format!("broken: {}", error.kind()));
                connection = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
        if manner == Manner::Reconnect {
            connection = None;
        }
    }
}

async fn ask(stream: &mut TcpStream, request: &[u8], manner: Manner) -> std::io::Result<String> {
    let withheld = usize::from(manner == Manner::Withhold);
    let sent = request.len().saturating_sub(withheld);
    let (mut from, mut to) = stream.split();
    // An answer may come before the request is sent, and end the connection.
    let sending = async {
        to.write_all(request.get(..sent).unwrap_or_default()).await?;
        std::future::pending::<std::io::Result<String>>().await
    };
    let reading = async {
        let mut read = Vec::with_capacity(4 << 10);
        loop {
            if manner == Manner::ReadSlowly {
                tokio::time::sleep(SLOW_READ.0).await;
                // Nobody looks at it.
                read.clear();
                let mut piece = vec![0; SLOW_READ.1];
                if from.read(&mut piece).await? == 0 {
                    return Ok("cut off".to_owned());
                }
                continue;
            }
            if (&mut from).take(READ).read_buf(&mut read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if is_in_the_middle(&read) {
                continue;
            }
            match answer::read(&read) {
                Arrival::Partial => {}
                Arrival::Complete { status, body } => return Ok(kind(status, read.get(body).unwrap_or_default())),
                Arrival::Malformed => return Ok("malformed".to_owned()),
            }
        }
    };
    tokio::select! {
        failed = sending => failed,
        answered = reading => answered,
    }
}

/// Whether a long answer in chunks has not ended, so that its chunks need not be counted again.
fn is_in_the_middle(read: &[u8]) -> bool {
    const LONG: usize = 64 << 10;
    let head = read.get(..1 << 10).unwrap_or_default();
    read.len() > LONG && !read.ends_with(b"\r\n0\r\n\r\n") && answer::find(head, b"chunked").is_some()
}
