//! Tenants' clients, who write numbered rows through both nodes all the time and remember what they were told of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use process_tests::{KeptAnswer, KeptConnection, KeptError, execute, pipeline, value_of};
use serde_json::Value;

use crate::hosts::Host;
use crate::site::{DATA, Site};

/// Between two requests of a client, so that the machine has time for everything else.
const PAUSE: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than it takes to have one on each node.
const MOST_TENANTS: usize = 20;

/// A tenant and where it is served.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    name: String,
    token: String,
    /// The node that serves it.
    pub(crate) owner: u8,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The row is promised.
    Acknowledged,
    /// The row is not there, for this reason.
    Refused(String),
    /// It may be there or not.
    Unknown(String),
}

/// A row, and what its client was told.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Which client; see [`Rows::forwarded`].
    pub(crate) client: usize,
    number: usize,
    /// When it was sent.
    pub(crate) began: Instant,
    /// When its outcome was known.
    pub(crate) ended: Instant,
    /// What it was.
    pub(crate) outcome: Outcome,
}

/// Four clients: of each tenant, one that asks its own node and one that asks the other.
#[derive(Debug)]
pub(crate) struct Rows {
    round: usize,
    tenants: [Tenant; 2],
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A tenant on each node, with a table.
pub(crate) fn tenants(site: &Site) -> [Tenant; 2] {
    let mut found: [Option<Tenant>; 2] = [None, None];
    for number in 0..MOST_TENANTS {
        let name = format!("rows-{number}");
        let _ = site.operator.expect(&["tenant", "create", &name, "--tier", "large"]);
        let owner = value_of("the tenant to be placed", PATIENCE, || {
            let tenant = site.operator.call("5s", &["tenant", "get", &name])?;
            let node = tenant["node"].as_str().and_then(|node| node.strip_prefix("node-"));
            node.and_then(|id| id.parse::<u8>().ok())
                .ok_or_else(|| tenant.to_string())
        });
        let place = &mut found[usize::from(owner) - 1];
        if place.is_none() {
            let token = site.operator.expect(&["token", "create", &name, "--scope", "full"]);
            let token = token["token"].as_str().expect("a token").to_owned();
            *place = Some(Tenant { name, token, owner });
        }
        if let [Some(one), Some(other)] = &found {
            let tenants = [one.clone(), other.clone()];
            tenants.iter().for_each(create_table);
            return tenants;
        }
    }
    panic!("{MOST_TENANTS} tenants are all on one node");
}

fn create_table(tenant: &Tenant) {
    let sql = "create table if not exists kept \
        (round integer, client integer, number integer, text text, primary key (round, client, number))";
    // Through both nodes, so that both know the tenant and the key of its token.
    for node in 1..=2 {
        value_of("the tenant to be served", PATIENCE, || match ask(tenant, node, sql) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn ask(tenant: &Tenant, through: u8, sql: &str) -> Result<KeptAnswer, KeptError> {
    connection(tenant, through).post(&pipeline(&[execute(sql)]))
}

fn connection(tenant: &Tenant, through: u8) -> KeptConnection {
    let host = format!("{}.localhost", tenant.name);
    KeptConnection::new(Host::Node(through).at(DATA), &host).with_token(&tenant.token)
}

fn text(round: usize, client: usize, number: usize) -> String {
    format!("row {number} of client {client} in round {round}, as it was written")
}

impl Rows {
    /// Begins to write.
    pub(crate) fn start(round: usize, tenants: &[Tenant; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..4).map(|client| {
            let (tenant, through) = way(tenants, client);
            let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
            let connection = connection(tenant, through);
            thread::spawn(move || write(connection, round, client, &stop, &requests))
        });
        Self {
            round,
            tenants: tenants.clone(),
            threads: threads.collect(),
            stop,
            requests,
        }
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no client fails").clone()
    }

    /// Waits until each client has had `count` rows acknowledged that it sent after `since`.
    pub(crate) fn wait_until_all_write(&self, since: Instant, count: usize) {
        value_of("all clients to write", PATIENCE, || {
            let requests = self.requests();
            let acknowledged = [0, 1, 2, 3].map(|client| {
                let of = |request: &&Request| {
                    request.client == client && request.began >= since && request.outcome == Outcome::Acknowledged
                };
                requests.iter().filter(of).count()
            });
            let all = acknowledged.iter().all(|rows| *rows >= count);
            if all {
                Ok(())
            } else {
                Err(format!("{acknowledged:?} {:?}", requests.last()))
            }
        });
    }

    /// Whether a client asks a node that has to forward its requests.
    pub(crate) fn forwarded(client: usize) -> bool {
        client >= 2
    }

    /// Ends writing, and answers with the number of rows that are not as their clients were told.
    pub(crate) fn judge(&mut self) -> usize {
        self.stop.store(true, Ordering::Release);
        for client in self.threads.drain(..) {
            client.join().expect("no client fails");
        }
        let requests = self.requests();
        let mut wrong = BTreeSet::new();
        for tenant in &self.tenants {
            for through in 1..=2 {
                let mut found = read(tenant, through, self.round);
                for request in requests
                    .iter()
                    .filter(|request| way(&self.tenants, request.client).0.name == tenant.name)
                {
                    let written = text(self.round, request.client, request.number);
                    let there = found.remove(&(request.client, request.number));
                    let right = match request.outcome {
                        Outcome::Acknowledged => there == Some(written),
                        Outcome::Refused(_) => there.is_none(),
                        Outcome::Unknown(_) => there.is_none_or(|there| there == written),
                    };
                    if !right {
                        eprintln!("through node {through}: {request:?}");
                        wrong.insert((request.client, request.number));
                    }
                }
                found.iter().for_each(|row| eprintln!("nobody wrote {row:?}"));
                wrong.extend(found.into_keys());
            }
        }
        wrong.len()
    }
}

/// The tenant of a client, and the node that it asks.
fn way(tenants: &[Tenant; 2], client: usize) -> (&Tenant, u8) {
    let tenant = &tenants[client % 2];
    let other = 3 - tenant.owner;
    (tenant, if Rows::forwarded(client) { other } else { tenant.owner })
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn write(
    mut connection: KeptConnection,
    round: usize,
    client: usize,
    stop: &AtomicBool,
    requests: &Mutex<Vec<Request>>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let text = text(round, client, number);
        let sql = format!("insert into kept values ({round}, {client}, {number}, '{text}')");
        let body = pipeline(&[execute(&sql)]);
        let began = Instant::now();
        let outcome = outcome(connection.post(&body));
        requests.lock().expect("no client fails").push(Request {
            client,
            number,
            began,
            ended: Instant::now(),
            outcome,
        });
        number += 1;
        thread::sleep(PAUSE);
    }
}

fn outcome(answer: Result<KeptAnswer, KeptError>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(KeptError::NotConnected(error)) => return Outcome::Refused(format!("not connected: {error}")),
        Err(KeptError::Unanswered(error) | KeptError::CutOff(error)) => return Outcome::Unknown(error.to_string()),
    };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let reason = body["type"].as_str().and_then(|uri| uri.rsplit(['/', ':', '#']).next());
    match answer.status {
        200 if body["results"][0]["type"] == "ok" => Outcome::Acknowledged,
        503 if answer.retry_after => Outcome::Refused(format!("503 {}", reason.unwrap_or(&answer.body))),
        status => Outcome::Unknown(format!("{status} {}", reason.unwrap_or(&answer.body))),
    }
}

/// All rows of a round.
fn read(tenant: &Tenant, through: u8, round: usize) -> BTreeMap<(usize, usize), String> {
    let sql = format!("select client, number, text from kept where round = {round}");
    let body: Value = value_of("the rows to be read", PATIENCE, || match ask(tenant, through, &sql) {
        Ok(answer) if answer.status == 200 => serde_json::from_str(&answer.body).map_err(|error| error.to_string()),
        other => Err(format!("{other:?}")),
    });
    let rows = &body["results"][0]["response"]["result"]["rows"];
    let number = |cell: &Value| cell["value"].as_str().and_then(|text| text.parse().ok());
    let row = |row: &Value| {
        let key = (number(&row[0])?, number(&row[1])?);
        Some((key, row[2]["value"].as_str()?.to_owned()))
    };
    let rows = rows.as_array().unwrap_or_else(|| panic!("no rows: {body}"));
    rows.iter()
        .map(|cells| row(cells).unwrap_or_else(|| panic!("{cells}")))
        .collect()
}
