//! The well-behaved neighbour: a fixed, modest rate of requests, whether or not the node keeps up with it.
//!
//! Each connection has a thread and a timetable. A request's latency counts from the time at which it was due while its connection still
//! waited for the answer before, so that a stall counts for all requests that it held up. Where the connection was free, it counts from
//! sending: that this client itself woke late is no fault of the node. The threads ask for a high priority, since a real neighbour's client
//! does not share the node's cores with an attacker's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::data_plane::answer::{self, Arrival};
use crate::data_plane::requests::{Request, Requests, Target, Work};
use crate::latency::Latencies;

/// A request without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is due and could not be sent so long after the end has failed.
const GRACE: Duration = Duration::from_secs(10);
/// As `nice` has it.
const PRIORITY: i32 = -20;

/// Connections of each kind of work, and the time between two requests of each.
const TIMETABLE: [(Work, u32, Duration); 2] = [
    (Work::Select, 8, Duration::from_millis(40)),
    (Work::Insert, 4, Duration::from_millis(100)),
];

/// What the victim does, for a reader.
pub(super) const DESCRIPTION: &str =
    "200 point SELECTs a second on eight connections and 40 durable INSERTs a second on four others";

/// What the victim saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) selects: Latencies,
    pub(super) inserts: Latencies,
    pub(super) failures: u64,
}

/// Sends the victim's requests for `length`. Blocks.
///
/// # Errors
/// When a thread cannot be started or panics.
pub(super) fn run(server: SocketAddr, target: &Target, length: Duration) -> Result<Seen> {
    let begin = Instant::now() + Duration::from_millis(20);
    let mut threads = Vec::new();
    for (work, connections, interval) in TIMETABLE {
        let requests = Requests::of(work, target);
        for connection in 0..connections {
            let (requests, first) = (requests.clone(), begin + interval * connection / connections);
            let thread = std::thread::Builder::new().name("victim".to_owned());
            let spawned = thread.spawn(move || one_connection(server, &requests, first, interval, begin + length));
            threads.push((work, spawned.context("cannot start a thread")?));
        }
    }
    let (mut selects, mut inserts, mut failures) = (Vec::new(), Vec::new(), 0);
    for (work, thread) in threads {
        let Ok((latencies, failed)) = thread.join() else {
            bail!("a victim's thread panicked");
        };
        failures += failed;
        match work {
            Work::Select => selects.extend(latencies),
            Work::Insert | Work::Mixed => inserts.extend(latencies),
        }
    }
    Ok(Seen {
        selects: Latencies::of(selects),
        inserts: Latencies::of(inserts),
        failures,
    })
}

fn one_connection(
    server: SocketAddr,
    requests: &Requests,
    first: Instant,
    interval: Duration,
    end: Instant,
) -> (Vec<Duration>, u64) {
    // Only root may; the others measure their own client's waiting along with the node's.
    let _refused = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY);
    let (mut latencies, mut failures) = (Vec::new(), 0);
    let (mut due, mut place) = (first, 0);
    let mut connection = None;
    while due < end {
        let now = Instant::now();
        if now > end + GRACE {
            failures += 1;
            due += interval;
            continue;
        }
        let start = if now < due {
            std::thread::sleep(due - now);
            Instant::now()
        } else {
            due
        };
        let answered = requests
            .at(place)
            .context("there are requests")
            .and_then(|request| ask(&mut connection, server, request));
        match answered {
            Ok(()) => latencies.push(start.elapsed()),
            Err(_error) => {
                failures += 1;
                connection = None;
            }
        }
        place += 1;
        due += interval;
    }
    (latencies, failures)
}

fn ask(connection: &mut Option<TcpStream>, server: SocketAddr, request: &Request) -> Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(stream)
        }
    };
    stream.write_all(&request.bytes)?;
    let (mut read, mut piece) = (Vec::with_capacity(4 << 10), [0; 4 << 10]);
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            bail!("the server closed the connection");
        }
        read.extend_from_slice(piece.get(..length).unwrap_or_default());
        match answer::read(&read) {
            Arrival::Partial => {}
            Arrival::Complete { status: 200, body } => {
                let body = read.get(body).unwrap_or_default();
                return answer::find(body, &request.expected)
                    .map(drop)
                    .context("a wrong answer");
            }
            Arrival::Complete { status, .. } => bail!("status {status}"),
            Arrival::Malformed => bail!("malformed answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::data_plane::requests::AnswerKind;

    const RIGHT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n\"item-  \"affected_row_count\":1}";

    /// A server that lets each connection wait before its first answer.
    fn server(answer: &'static str, stall: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut request = [0; 4096];
                    let mut wait = stall;
                    while stream.read(&mut request).unwrap_or(0) > 0 {
                        std::thread::sleep(std::mem::take(&mut wait));
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn seen(answer: &'static str, stall: Duration) -> Seen {
        let target = Target {
            hosts: vec!["a.localhost".to_owned()],
            headers: String::new(),
            answer: AnswerKind::Fixed,
        };
        run(server(answer, stall), &target, Duration::from_millis(200)).unwrap()
    }

    #[test]
    fn one_stall_counts_for_every_request_that_it_held_up() {
        let stalled = seen(RIGHT, Duration::from_millis(100));
        assert_eq!((stalled.failures, stalled.selects.count()), (0, 40));
        let held_up = stalled.selects.percentile(50);
        assert!(
            stalled.selects.max() >= Duration::from_millis(100) && held_up > Duration::ZERO,
            "{stalled:?}"
        );
        // The stall of a connection falls on ten of its twenty requests; the median of the second half is what is left of it.
        assert!(
            stalled.selects.percentile(75) >= Duration::from_millis(30),
            "{stalled:?}"
        );
    }

    #[test]
    fn refusals_and_wrong_answers_are_failures() {
        for answer in [
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            let seen = seen(answer, Duration::ZERO);
            assert_eq!((seen.selects.count(), seen.inserts.count(), seen.failures), (0, 0, 48));
        }
    }
}
