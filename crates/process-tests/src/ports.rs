//! Ports of loopback that nobody uses.
//!
//! They lie below the range that the system gives to outgoing connections, so that a port is still free when a killed
//! process wants it back. Each test process begins at another place.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const BLOCKS: u32 = 400;
const BLOCK: u32 = 50;
/// Spreads neighbouring process ids; has no divisor in common with `BLOCKS`.
const STRIDE: u32 = 37;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// `count` addresses on which nobody listens at this moment. No two calls in this process get the same one soon.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn free_ports(count: usize) -> Vec<SocketAddr> {
    let begin = (std::process::id() % BLOCKS) * STRIDE % BLOCKS * BLOCK;
    // Held until all are found.
    let mut listeners = Vec::new();
    for _ in 0..BLOCKS * BLOCK {
        if listeners.len() == count {
            break;
        }
        let offset = (begin + TAKEN.fetch_add(1, Ordering::Relaxed)) % (BLOCKS * BLOCK);
        let port = u16::try_from(FIRST + offset).expect("the range ends below 65536");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            listeners.push(listener);
        }
    }
    assert_eq!(listeners.len(), count, "this machine has no free ports");
    let address = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address");
    listeners.iter().map(address).collect()
}
