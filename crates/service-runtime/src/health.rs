//! The subcommand `health`: asks a daemon's own ops port, from the same machine, whether it is ready or live.
//!
//! For probes of containers and for people, so that neither needs another program. It knows of the daemon nothing but the
//! ops port's address, and waits for no longer than [`PATIENCE`].

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::config::ConfigFile;

/// How long the whole question may take.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// More of an answer is not read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// What is asked. A daemon's subcommand; its address comes from the same layers as the daemon's.
#[derive(Debug, Clone, clap::Args)]
pub struct HealthOptions {
    /// The daemon's configuration file, for its ops-listen.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The daemon's ops port; a wildcard address is asked on loopback [default: as the daemon's].
    #[arg(long, env = "TENANTRY_OPS_LISTEN")]
    pub ops_listen: Option<SocketAddr>,
    /// Ask whether the process answers at all, instead of whether it is ready.
    #[arg(long)]
    pub live: bool,
}

/// Why the daemon is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Nobody answers there.
    #[error("{address}{path} does not answer")]
    Silent {
        /// The ops port.
        address: SocketAddr,
        /// What was asked.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something answers that is no ops port.
    #[error("{address}{path} gave an answer that is not HTTP")]
    NotHttp {
        /// The ops port.
        address: SocketAddr,
        /// What was asked.
        path: &'static str,
    },
    /// It says no.
    #[error("{address}{path} answers {status}: {reasons}")]
    Refused {
        /// The ops port.
        address: SocketAddr,
        /// What was asked.
        path: &'static str,
        /// The status of the answer.
        status: u16,
        /// What the daemon waits for.
        reasons: String,
    },
}

/// Asks the daemon whose ops port is bound to `ops_listen`, and answers with what it says: "ready" or "live". Blocks.
///
/// # Errors
/// When it says otherwise, or nothing in time.
pub fn ask(ops_listen: SocketAddr, live: bool) -> Result<String, Unhealthy> {
    ask_within(ops_listen, live, PATIENCE)
}

fn ask_within(ops_listen: SocketAddr, live: bool, patience: Duration) -> Result<String, Unhealthy> {
    let path = if live { "/livez" } else { "/readyz" };
    let deadline = Instant::now() + patience;
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    let mut asked = ops_listen;
    for address in on_this_machine(ops_listen) {
        asked = address;
        outcome = get(address, path, deadline);
        if outcome.is_ok() {
            break;
        }
    }
    let address = asked;
    let answer = outcome.map_err(|source| Unhealthy::Silent { address, path, source })?;
    let (status, body) = read_answer(&answer).ok_or(Unhealthy::NotHttp { address, path })?;
    let reasons = body.lines().collect::<Vec<_>>().join(", ");
    match status {
        200 => Ok(reasons),
        status => Err(Unhealthy::Refused {
            address,
            path,
            status,
            reasons,
        }),
    }
}

/// Where a socket that is bound to `address` is reached from here. The IPv6 wildcard takes IPv4 as well on most machines,
/// and some of these have no IPv6 on loopback.
fn on_this_machine(address: SocketAddr) -> Vec<SocketAddr> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let hosts = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![v6, v4],
        // As it is: an IPv6 address may need its scope.
        _ => return vec![address],
    };
    hosts
        .into_iter()
        .map(|host| SocketAddr::new(host, address.port()))
        .collect()
}

fn get(address: SocketAddr, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, time_left(deadline)?)?;
    stream.set_write_timeout(Some(time_left(deadline)?))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // The timeout of a read begins anew with every byte; the deadline does not.
    while (answer.len() as u64) < LONGEST_ANSWER {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let read = match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        };
        answer.extend(piece.iter().take(read));
    }
    Ok(answer)
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    // The system takes zero for "for ever".
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// Status and body of an answer that ends with its connection.
fn read_answer(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (version, rest) = head.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    version.starts_with("HTTP/1.").then(|| (status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// Answers one connection with `answer` and closes it, or keeps it open without a word; hands back what was asked.
    fn server(answer: Option<&'static str>) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 512];
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut piece).unwrap();
                asked.extend_from_slice(&piece[..read]);
            }
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                // Until the one who asks has gone.
                None => assert_eq!(stream.read(&mut piece).unwrap(), 0),
            }
            String::from_utf8(asked).unwrap()
        });
        (address, serving)
    }

    #[test]
    fn a_ready_daemon_is_asked_at_loopback_for_its_wildcard_address() {
        let (address, serving) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n"));
        let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        assert_eq!(ask(wildcard, false).unwrap(), "ready");
        let asked = serving.join().unwrap();
        assert!(
            asked.starts_with("GET /readyz HTTP/1.1\r\n") && asked.contains("connection: close"),
            "{asked}"
        );
    }

    #[test]
    fn an_ipv6_wildcard_is_reached_over_ipv4_where_ipv6_does_not_answer() {
        let (address, serving) = server(Some("HTTP/1.1 200 OK\r\n\r\nlive\n"));
        let wildcard = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        assert_eq!(ask(wildcard, true).unwrap(), "live");
        assert!(serving.join().unwrap().starts_with("GET /livez "));
    }

    #[test]
    fn what_a_daemon_waits_for_is_told() {
        let (address, serving) = server(Some(
            "HTTP/1.1 503 Service Unavailable\r\n\r\nwaiting for: leader\nwaiting for: storage\n",
        ));
        let told = ask(address, false).unwrap_err().to_string();
        assert_eq!(
            told,
            format!("{address}/readyz answers 503: waiting for: leader, waiting for: storage")
        );
        serving.join().unwrap();
    }

    #[test]
    fn a_port_that_is_closed_silent_or_another_programs_is_unhealthy() {
        let (silent, serving) = server(None);
        assert!(matches!(
            ask_within(silent, false, SHORT),
            Err(Unhealthy::Silent { source, .. }) if source.kind() == io::ErrorKind::TimedOut
        ));
        serving.join().unwrap();

        let (foreign, serving) = server(Some("220 mail.example ESMTP\r\n"));
        assert!(matches!(ask(foreign, false), Err(Unhealthy::NotHttp { .. })));
        serving.join().unwrap();

        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(ask(closed, false), Err(Unhealthy::Silent { .. })));
    }
}
