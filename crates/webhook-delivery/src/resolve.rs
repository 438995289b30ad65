//! Names into addresses, by the system's resolver, in bounded time and number.
//!
//! It judges no address. An answer must not be kept: who vets one address and dials another of a later lookup has vetted
//! nothing.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::Failure;
use crate::endpoint::{Endpoint, Host};

/// The system's lookup cannot be cancelled: one that is given up goes on on its thread and keeps its place. This is how many
/// threads of the process slow name servers can take up.
const MAX_LOOKUPS: usize = 16;

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    places: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn of_the_system() -> Self {
        Self::with(|name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    /// With a function of its own, which may block.
    pub(crate) fn with(lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self {
            lookup: Arc::new(lookup),
            places: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }

    /// All addresses of the endpoint's host, at its port.
    pub(crate) async fn resolve(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
        let port = endpoint.port();
        let name = match endpoint.host() {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name { name, rooted } => format!("{}{}", name.as_ref(), if *rooted { "." } else { "" }),
        };
        let failed = |text: String| Failure::NameNotResolved { text };
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(failed("too many lookups are under way".to_owned()));
        };
        let lookup = Arc::clone(&self.lookup);
        let looking_up = tokio::task::spawn_blocking(move || {
            let addresses = lookup(&name, port);
            drop(place);
            addresses
        });
        match timeout_at(deadline, looking_up).await {
            Ok(Ok(Ok(addresses))) if addresses.is_empty() => Err(failed("it has no addresses".to_owned())),
            Ok(Ok(Ok(addresses))) => Ok(addresses),
            Ok(Ok(Err(error))) => Err(failed(error.to_string())),
            Ok(Err(_)) => Err(failed("the process stops".to_owned())),
            Err(_) => Err(failed("no answer in time".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    fn text(resolved: Result<Vec<SocketAddr>, Failure>) -> String {
        match resolved {
            Err(Failure::NameNotResolved { text }) => text,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn lookups_that_hang_take_up_their_places_and_no_more_threads() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let resolver = Resolver::with(move |_, port| {
            // Fails at once when `release` is dropped.
            let _ = released.lock().unwrap().recv();
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        });
        let endpoint: Endpoint = "https://slow.example:444/".parse().unwrap();
        for _ in 0..MAX_LOOKUPS {
            assert_eq!(text(resolver.resolve(&endpoint, soon(1)).await), "no answer in time");
        }
        let crowded = text(resolver.resolve(&endpoint, soon(1)).await);
        assert_eq!(crowded, "too many lookups are under way");
        let literal = "https://127.0.0.1/".parse().unwrap();
        assert!(resolver.resolve(&literal, soon(1)).await.is_ok(), "needs no place");

        drop(release);
        let resolved = resolver.resolve(&endpoint, soon(30_000)).await;
        assert_eq!(resolved, Ok(vec!["127.0.0.1:444".parse().unwrap()]));
    }

    #[tokio::test]
    async fn what_the_resolver_says_is_reported() {
        let resolver = Resolver::with(|name, _| match name {
            "empty.example" => Ok(Vec::new()),
            // With the dot that the endpoint was written with.
            "rooted.example." => Err(io::Error::other("rooted")),
            _ => Err(io::Error::other("no such name")),
        });
        for (url, expected) in [
            ("https://empty.example", "it has no addresses"),
            ("https://rooted.example.", "rooted"),
            ("https://Other.example", "no such name"),
        ] {
            let endpoint = url.parse().unwrap();
            assert_eq!(text(resolver.resolve(&endpoint, soon(30_000)).await), expected);
        }
    }
}
