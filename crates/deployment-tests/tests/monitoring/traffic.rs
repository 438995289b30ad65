//! A cluster in which a bit of everything happens, and goes on happening while it is scraped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use process_tests::{Cluster, execute, pipeline, post, value_of};

const PATIENCE: Duration = Duration::from_secs(40);
/// Well within what a node remembers a figure for: three sample periods of 300 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers, refusals, forwarded requests, events and a message to a webhook. Ends with the value.
pub(crate) struct BusyCluster {
    pub(crate) cluster: Cluster,
    /// Index of the node that serves the busiest tenant.
    pub(crate) owner: usize,
    ended: Arc<AtomicBool>,
    clients: Option<JoinHandle<()>>,
}

impl BusyCluster {
    pub(crate) fn start() -> Self {
        let cluster = Cluster::start();
        // To an address that members do not send to: an attempt that fails, as the first event is there.
        let _ = cluster.ctl(&["webhook", "create", "hook", "--url", "https://127.0.0.1:1/x"]);
        let owner = cluster.create_tenant("acme", &[]);
        cluster.create_tenant("spent", &["--requests-per-day", "10"]);
        let nodes = [cluster.data(0), cluster.data(1)];
        value_of("a day to be used up", PATIENCE, || {
            match ask(nodes[0], "spent", "select 1") {
                429 => Ok(()),
                status => Err(status.to_string()),
            }
        });
        value_of("the events of that", PATIENCE, || {
            let events = cluster
                .operator()
                .try_ctl_lines(&["events", "list", "--kind", "quota-crossed"])?;
            if events.is_empty() {
                Err("no event".to_owned())
            } else {
                Ok(())
            }
        });
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let clients = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // By both nodes, so that one of them forwards; one request makes no sense and one is refused.
                for node in nodes {
                    ask(node, "acme", "select 1");
                    ask(node, "spent", "select 1");
                }
                let _ = post(nodes[0], "/v3/pipeline", &[("x-tenant-id", "acme")], "no pipeline");
                thread::sleep(PAUSE);
            }
        });
        Self {
            cluster,
            owner,
            ended,
            clients: Some(clients),
        }
    }
}

impl Drop for BusyCluster {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(clients) = self.clients.take() {
            let _ = clients.join();
        }
    }
}

/// The status; 0 when there was no answer.
fn ask(node: SocketAddr, tenant: &str, sql: &str) -> u16 {
    let headers = [("x-tenant-id", tenant), ("content-type", "application/json")];
    post(node, "/v3/pipeline", &headers, &pipeline(&[execute(sql)])).map_or(0, |answer| answer.status)
}
