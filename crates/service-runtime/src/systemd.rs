//! What a service manager is told of a daemon, by systemd's protocol: that it is ready, what it waits for, that it stops.
//!
//! Nothing happens without `NOTIFY_SOCKET` in the environment, and nothing that goes wrong here may stop a daemon.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// The environment key with the manager's socket.
const SOCKET_KEY: &str = "NOTIFY_SOCKET";

/// Tells the manager, if there is one, of every change of `readiness` until `shutdown` is cancelled, and then that the daemon
/// stops.
pub async fn tell(readiness: Readiness, shutdown: CancellationToken) {
    let Some(address) = std::env::var_os(SOCKET_KEY) else {
        return;
    };
    match Manager::at(&address) {
        Ok(manager) => report(&manager, &readiness, &shutdown).await,
        Err(error) => tracing::warn!(%error, ?address, "the service manager cannot be told of this daemon"),
    }
}

async fn report(manager: &Manager, readiness: &Readiness, shutdown: &CancellationToken) {
    let mut holding = readiness.holding();
    loop {
        manager.send(&state(&holding));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            changed = readiness.changed_from(&holding) => holding = changed,
        }
    }
    manager.send("STOPPING=1\nSTATUS=stopping");
}

/// A manager takes "ready" once; that a daemon is not ready any more has no other form than words.
fn state(holding: &[&str]) -> String {
    if holding.is_empty() {
        "READY=1\nSTATUS=ready".to_owned()
    } else {
        format!("STATUS=waiting for: {}", holding.join(", "))
    }
}

/// The manager's end of the protocol.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// `address` is a path, or `@` and the name of an abstract socket.
    fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not hold the daemon up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    fn send(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_manager_hears_what_is_waited_for_then_ready_then_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        let (readiness, shutdown) = (Readiness::new(), CancellationToken::new());
        let leader = readiness.latch("leader");
        let manager = Manager::at(path.as_os_str()).unwrap();
        let telling = tokio::spawn({
            let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
            async move { report(&manager, &readiness, &shutdown).await }
        });
        assert_eq!(received(&socket), "STATUS=waiting for: leader");
        leader.release();
        assert_eq!(received(&socket), "READY=1\nSTATUS=ready");
        leader.hold();
        assert_eq!(received(&socket), "STATUS=waiting for: leader");
        shutdown.cancel();
        assert_eq!(received(&socket), "STOPPING=1\nSTATUS=stopping");
        telling.await.unwrap();
    }

    #[test]
    fn an_abstract_socket_is_reached_and_a_missing_one_is_an_error() {
        let name = format!("tenantry-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        Manager::at(OsStr::new(&format!("@{name}"))).unwrap().send("READY=1");
        assert_eq!(received(&socket), "READY=1");
        assert!(Manager::at(OsStr::new("/no/such/socket")).is_err());
        assert!(Manager::at(OsStr::new("")).is_err());
    }
}
