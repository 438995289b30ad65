//! A connection to an endpoint: lookup, judgement of every address, TCP to a judged address, TLS with the host's name.
//!
//! The address that was judged is the address that is dialed. Nothing here may take a name to where it connects: between two
//! lookups a hostile name server changes its answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Endpoint, Host};
use crate::excerpt::{on_one_line, shortened};
use crate::resolve::Resolver;
use crate::{AddressPolicy, Failure};

/// So many addresses of a family are tried. Names with more than one are either redundant or hostile.
const MAX_TRIES_PER_FAMILY: usize = 2;
/// A certificate can list any number of names, and an error repeats them.
const MAX_ERROR_BYTES: usize = 512;

pub(crate) struct Connector {
    pub(crate) policy: AddressPolicy,
    pub(crate) resolver: Resolver,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) lookup_timeout: Duration,
    /// For TCP, with all addresses, and TLS together.
    pub(crate) connect_timeout: Duration,
}

/// Ready for a request.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    pub(crate) async fn connect(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Stream, Failure> {
        let until = |limit| deadline.min(Instant::now() + limit);
        let resolved = self.resolver.resolve(endpoint, until(self.lookup_timeout)).await?;
        let addresses = vet(&self.policy, endpoint, &resolved)?;
        let deadline = until(self.connect_timeout);
        let tcp = self.dial(&addresses, deadline).await?;
        // The request is written at once; there is nothing to collect.
        let _ = tcp.set_nodelay(true);
        if !endpoint.is_encrypted() {
            return Ok(Stream::Plain(tcp));
        }
        let name = match endpoint.host() {
            Host::Name { name, .. } => ServerName::DnsName(name.clone()),
            Host::Address(address) => ServerName::from(*address),
        };
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        match timeout_at(deadline, handshake).await {
            Ok(Ok(tls)) => Ok(Stream::Tls(Box::new(tls))),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Tries one address after the other. Each has an equal share of the time left, so that one that swallows packets leaves
    /// time for the next.
    async fn dial(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
        let mut last = self.timed_out();
        for (index, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            if share.is_zero() {
                break;
            }
            last = match timeout(share, TcpStream::connect(*address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => Failure::ConnectFailed {
                    address: *address,
                    text: error.to_string(),
                },
                Err(_) => self.timed_out(),
            };
        }
        Err(last)
    }

    fn timed_out(&self) -> Failure {
        Failure::ConnectTimedOut {
            limit: self.connect_timeout,
        }
    }
}

/// The addresses that may be dialed, in their order. Forbidden ones are left out; if there are no others, the first says why.
fn vet(policy: &AddressPolicy, endpoint: &Endpoint, resolved: &[SocketAddr]) -> Result<Vec<SocketAddr>, Failure> {
    let judge = |address: &SocketAddr| {
        policy.judge(address.ip())?;
        // Here is where http is told from https, since only an address tells whether it is the operator's own.
        if !endpoint.is_encrypted() && !policy.lists(address.ip()) {
            return Err(Failure::Unencrypted { address: address.ip() });
        }
        Ok(as_dialed(*address))
    };
    let (mut vetted, mut first_failure) = (Vec::new(), None);
    for address in resolved {
        match judge(address) {
            Ok(address) => vetted.push(address),
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    let (mut v4, mut v6) = (0, 0);
    vetted.retain(|address| {
        let tries = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        *tries += 1;
        *tries <= MAX_TRIES_PER_FAMILY
    });
    match first_failure {
        Some(failure) if vetted.is_empty() => Err(failure),
        _ => Ok(vetted),
    }
}

/// An IPv4 address that is mapped into IPv6 is dialed as what it was judged as.
fn as_dialed(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        canonical if canonical == address.ip() => address,
        canonical => SocketAddr::new(canonical, address.port()),
    }
}

/// What an error of a connection means: TLS, or an end that came too early.
pub(crate) fn broken(error: &io::Error) -> Failure {
    let text = shortened(on_one_line(&error.to_string()), MAX_ERROR_BYTES);
    if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        return Failure::Tls { text };
    }
    Failure::BrokenOff { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    /// Resolves every name to the next of `answers`, and may connect to 127.0.0.0/8.
    fn connector(answers: impl IntoIterator<Item = Vec<SocketAddr>>) -> Connector {
        let answers: Mutex<std::collections::VecDeque<_>> = Mutex::new(answers.into_iter().collect());
        Connector {
            policy: AddressPolicy {
                allowed: vec!["127.0.0.0/8".parse().unwrap()],
            },
            resolver: Resolver::with(move |_, _| {
                let answer = answers.lock().unwrap().pop_front();
                answer.ok_or_else(|| io::Error::other("a lookup too many"))
            }),
            tls: Arc::new(crate::tls::config(None).unwrap()),
            lookup_timeout: BOUND,
            connect_timeout: BOUND,
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address where nobody listens.
    async fn dead() -> SocketAddr {
        listener().await.1
    }

    async fn connect(connector: &Connector) -> Result<SocketAddr, Failure> {
        let endpoint = "http://hooks.example/".parse().unwrap();
        match connector.connect(&endpoint, Instant::now() + BOUND).await? {
            Stream::Plain(tcp) => Ok(tcp.peer_addr().unwrap()),
            Stream::Tls(_) => panic!("TLS for http"),
        }
    }

    #[tokio::test]
    async fn a_name_server_that_changes_its_answer_changes_nothing_that_was_judged() {
        let (_listener, allowed) = listener().await;
        // Forbidden here, since the policy allows IPv4 alone.
        let forbidden: SocketAddr = "[::1]:80".parse().unwrap();
        let connector = connector([vec![allowed], vec![forbidden]]);
        assert_eq!(connect(&connector).await, Ok(allowed));
        let refused = connect(&connector).await.unwrap_err();
        assert!(matches!(refused, Failure::AddressForbidden(_)), "{refused}");
        let refused = connect(&connector).await.unwrap_err();
        assert_eq!(refused.to_string(), "the name was not resolved: a lookup too many");
    }

    #[tokio::test]
    async fn of_many_addresses_the_forbidden_are_left_out_and_the_dead_passed_over() {
        let (_listener, alive) = listener().await;
        let private: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), alive.port());
        for addresses in [vec![private, alive], vec![dead().await, alive], vec![private, mapped]] {
            let connector = connector([addresses.clone()]);
            assert_eq!(connect(&connector).await, Ok(alive), "{addresses:?}");
        }
        let connector = connector([vec![dead().await, dead().await, alive]]);
        let tried_enough = connect(&connector).await.unwrap_err();
        assert!(matches!(tried_enough, Failure::ConnectFailed { .. }), "{tried_enough}");
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_leaves_time_for_the_next() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let swallowing = full.local_addr().unwrap();
        // Nobody accepts. Once the queue is full, the system answers no more.
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(Duration::from_millis(500), TcpStream::connect(swallowing)).await {
            queued.push(connected.unwrap());
        }
        let (_listener, alive) = listener().await;
        let mut connector = connector([vec![swallowing, alive], vec![swallowing]]);
        connector.connect_timeout = Duration::from_secs(4);
        assert_eq!(connect(&connector).await, Ok(alive));
        connector.connect_timeout = Duration::from_millis(100);
        let limit = connector.connect_timeout;
        assert_eq!(connect(&connector).await, Err(Failure::ConnectTimedOut { limit }));
    }

    #[test]
    fn http_goes_to_allowed_networks_alone() {
        let policy = AddressPolicy {
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
        };
        let own: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let public: SocketAddr = "1.1.1.1:80".parse().unwrap();
        let vet = |url: &str, addresses: &[SocketAddr]| vet(&policy, &url.parse().unwrap(), addresses);
        assert_eq!(vet("https://a.example", &[own, public]), Ok(vec![own, public]));
        assert_eq!(vet("http://a.example", &[public, own]), Ok(vec![own]));
        let address = public.ip();
        assert_eq!(
            vet("http://a.example", &[public]),
            Err(Failure::Unencrypted { address })
        );
    }
}
