//! Every packet that arrives at a host waits: the kernel hands it to a thread of this process, which gives it back later.

use std::collections::VecDeque;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};
use process_tests::run_bounded;

use crate::hosts::{ALL, Hosts};

const QUEUE: u16 = 7;
const MOST_PACKETS: u32 = 20_000;
/// Only what the kernel needs to find a packet again is of interest; this is the head of one.
const COPIED_BYTES: u16 = 64;
/// How exact the delay is.
const STEP: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(20);
const RULE: &str = "INPUT -i eth0 -j NFQUEUE --queue-num 7 --queue-bypass";

/// The delay, until this is dropped.
#[derive(Debug)]
pub(crate) struct Delay {
    over: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Delay {
    /// Holds every packet back for `time`.
    pub(crate) fn impose(hosts: &Hosts, time: Duration) -> Result<Self, String> {
        let mut delay = Self {
            over: Arc::new(AtomicBool::new(false)),
            held: Arc::default(),
            threads: Vec::new(),
        };
        for host in ALL {
            let (over, held) = (Arc::clone(&delay.over), Arc::clone(&delay.held));
            let thread = hosts.on(host, || {
                // The rule first: a queue that nobody reads lets packets pass.
                iptables("-A")?;
                let (opened, is_open) = std::sync::mpsc::channel();
                let thread = thread::spawn(move || {
                    match open() {
                        Ok(mut queue) => {
                            let _ = opened.send(Ok(()));
                            hold_back(&mut queue, time, &over, &held);
                            // By name: programs that were started meanwhile have inherited the socket, and keep it open.
                            let _ = queue.unbind(QUEUE);
                        }
                        Err(error) => {
                            let _ = iptables("-D");
                            let _ = opened.send(Err(error.to_string()));
                        }
                    }
                });
                is_open.recv().map_err(|error| error.to_string())??;
                Ok::<_, String>(thread)
            })?;
            delay.threads.push(thread);
        }
        Ok(delay)
    }

    /// How many packets had to wait so far.
    pub(crate) fn packets(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn open() -> io::Result<Queue> {
    let mut queue = Queue::open()?;
    queue.bind(QUEUE)?;
    queue.set_queue_max_len(QUEUE, MOST_PACKETS)?;
    queue.set_copy_range(QUEUE, COPIED_BYTES)?;
    // Whole, as the sender's kernel made them, or each would be cut into small ones.
    queue.set_recv_gso(QUEUE, true)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn hold_back(queue: &mut Queue, time: Duration, over: &AtomicBool, held: &AtomicU64) {
    let mut waiting = VecDeque::new();
    while !over.load(Ordering::Acquire) {
        while let Ok(packet) = queue.recv() {
            waiting.push_back((Instant::now() + time, packet));
            held.fetch_add(1, Ordering::Relaxed);
        }
        while waiting.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, packet)) = waiting.pop_front() {
                let_pass(queue, packet);
            }
        }
        thread::sleep(STEP);
    }
    // No further ones, and nothing lost of those that wait.
    let removed = iptables("-D");
    waiting.into_iter().for_each(|(_, packet)| let_pass(queue, packet));
    while let Ok(packet) = queue.recv() {
        let_pass(queue, packet);
    }
    removed.expect("a rule that was made can be removed");
}

fn let_pass(queue: &mut Queue, mut packet: Message) {
    packet.set_verdict(Verdict::Accept);
    let _ = queue.verdict(packet);
}

fn iptables(what: &str) -> Result<String, String> {
    let arguments = RULE.split(' ');
    run_bounded(Command::new("iptables").args(["-w", what]).args(arguments), PATIENCE)
}
