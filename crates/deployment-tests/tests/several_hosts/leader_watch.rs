//! Asks every member all the time whether it leads, from the client's host: a leader whom nobody reaches counts as none.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::hosts::MEMBERS;
use crate::site::{MEMBER_OPS, figure};

const PAUSE: Duration = Duration::from_millis(100);
/// For one answer; a member that is cut off gives none.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_BYTES: u64 = 1 << 20;

/// When a member said that it leads.
#[derive(Debug)]
pub(crate) struct LeaderWatch {
    stop: Arc<AtomicBool>,
    led: Arc<Mutex<Vec<Instant>>>,
}

impl LeaderWatch {
    /// Begins to ask.
    pub(crate) fn start() -> Self {
        let watch = Self {
            stop: Arc::default(),
            led: Arc::default(),
        };
        for host in MEMBERS {
            let (stop, led) = (Arc::clone(&watch.stop), Arc::clone(&watch.led));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if leads(host.at(MEMBER_OPS)).unwrap_or(false) {
                        led.lock().expect("nobody fails with it").push(Instant::now());
                    }
                    thread::sleep(PAUSE);
                }
            });
        }
        watch
    }

    /// The moments at which there was a leader, in order.
    pub(crate) fn moments(&self) -> Vec<Instant> {
        let mut moments = self.led.lock().expect("nobody fails with it").clone();
        moments.sort();
        moments
    }
}

impl Drop for LeaderWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn leads(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    Ok(figure(&answer, "tenantry_control_raft_is_leader").is_some_and(|leads| leads > 0.0))
}
