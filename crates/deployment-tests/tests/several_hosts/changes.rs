//! An operator who changes the record all the time, and remembers what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use process_tests::value_of;
use serde_json::Value;

use crate::site::{Operator, Site};

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// What `tenantctl` itself takes to try, one member after the other.
const TIMEOUT: &str = "5s";

/// A call of `tenantctl`.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    tenant: String,
    /// The label that it was to give; without one, the tenant was to be created.
    label: Option<usize>,
    /// When it was begun.
    pub(crate) began: Instant,
    /// When it was answered.
    pub(crate) ended: Instant,
    /// What it was told when that was no success.
    pub(crate) refusal: Option<String>,
}

/// Creates tenants, and changes each.
#[derive(Debug)]
pub(crate) struct Changes {
    stop: Arc<AtomicBool>,
    changes: Arc<Mutex<Vec<Change>>>,
    thread: Option<JoinHandle<()>>,
}

impl Changes {
    /// Begins.
    pub(crate) fn start(round: usize, operator: Operator) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (stop_, changes_) = (Arc::clone(&stop), Arc::clone(&changes));
        Self {
            stop,
            changes,
            thread: Some(thread::spawn(move || change(&operator, round, &stop_, &changes_))),
        }
    }

    /// What was tried so far.
    pub(crate) fn all(&self) -> Vec<Change> {
        self.changes.lock().expect("the operator does not fail").clone()
    }

    /// How many were acknowledged of those that were begun after `since`.
    pub(crate) fn acknowledged(&self, since: Instant) -> usize {
        let all = self.all();
        let acknowledged = all
            .iter()
            .filter(|change| change.began >= since && change.refusal.is_none());
        acknowledged.count()
    }

    /// Waits until so many were.
    pub(crate) fn wait_for(&self, since: Instant, count: usize) {
        value_of("changes to be acknowledged", PATIENCE, || {
            if self.acknowledged(since) >= count {
                Ok(())
            } else {
                Err(format!("{:?}", self.all().last()))
            }
        });
    }

    /// Ends, and answers with the number of acknowledged changes that are not there.
    pub(crate) fn judge(&mut self, site: &Site) -> usize {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the operator fails");
        let listed = site.operator.expect(&["tenant", "list"]);
        let there: BTreeMap<&str, &Value> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tenant| Some((tenant["name"].as_str()?, tenant)))
            .collect();
        let mut lost = 0;
        for change in self.all().iter().filter(|change| change.refusal.is_none()) {
            let tenant = there.get(change.tenant.as_str());
            let found = match (tenant, change.label) {
                (Some(_), None) => true,
                (Some(tenant), Some(label)) => tenant["labels"]["number"] == label.to_string().as_str(),
                (None, _) => false,
            };
            if !found {
                eprintln!("lost: {change:?}; there is {tenant:?}");
                lost += 1;
            }
        }
        lost
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn change(operator: &Operator, round: usize, stop: &AtomicBool, changes: &Mutex<Vec<Change>>) {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let tenant = format!("change-{round}-{number}");
        let label = format!("number={number}");
        let created = call(operator, changes, &tenant, None, &["tenant", "create", &tenant]);
        if created {
            thread::sleep(PAUSE);
            let update = ["tenant", "update", &tenant, "--label", &label];
            call(operator, changes, &tenant, Some(number), &update);
        }
        number += 1;
        thread::sleep(PAUSE);
    }
}

fn call(
    operator: &Operator,
    changes: &Mutex<Vec<Change>>,
    tenant: &str,
    label: Option<usize>,
    arguments: &[&str],
) -> bool {
    let began = Instant::now();
    let refusal = operator.call(TIMEOUT, arguments).err();
    let acknowledged = refusal.is_none();
    changes.lock().expect("nobody fails with it").push(Change {
        tenant: tenant.to_owned(),
        label,
        began,
        ended: Instant::now(),
        refusal,
    });
    acknowledged
}
