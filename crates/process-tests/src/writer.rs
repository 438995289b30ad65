//! A client that never stops writing while a cluster is being broken, and remembers what it was promised.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::operator::Operator;
use crate::wait::{until, value_of};

const PATIENCE: Duration = Duration::from_secs(60);
/// More than any test writes in its time.
const MAX_WRITES: usize = 5_000;

/// Creates tenants, one after the other, and reads each back at once.
#[derive(Debug)]
pub struct Writer {
    operator: Operator,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Promises>>,
}

/// What a writer was told.
#[derive(Debug, Default)]
pub struct Promises {
    /// Names of tenants whose creation was acknowledged.
    pub created: BTreeSet<String>,
    /// What it was told when it was not.
    pub failures: Vec<String>,
    /// Acknowledged tenants that a linearizable read did not find afterwards.
    pub vanished: Vec<String>,
}

impl Writer {
    /// Begins to write, tenants named `prefix-N`.
    #[must_use]
    pub fn start(operator: Operator, prefix: &'static str) -> Self {
        let operator = operator.patient();
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (operator_, stop_, acknowledged_) = (operator.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || write(&operator_, prefix, &stop_, &acknowledged_));
        Self {
            operator,
            stop,
            acknowledged,
            thread: Some(thread),
        }
    }

    /// Waits until `count` further writes were acknowledged.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn wait_for_more(&self, count: usize) {
        let wanted = self.acknowledged.load(Ordering::Acquire) + count;
        until(&format!("{count} further writes"), PATIENCE, || {
            self.acknowledged.load(Ordering::Acquire) >= wanted
        });
    }

    /// Stops writing, and checks that everything that was acknowledged is there.
    ///
    /// # Panics
    /// When something is lost, or the cluster does not answer.
    #[must_use]
    pub fn finish(mut self) -> Promises {
        self.stop.store(true, Ordering::Release);
        let promises = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(promises)) => promises,
            _ => panic!("the writer itself failed"),
        };
        let listed = value_of("a list of the tenants", PATIENCE, || {
            self.operator.try_ctl(&["tenant", "list"])
        });
        let there: BTreeSet<&str> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tenant| tenant["name"].as_str())
            .collect();
        let lost: Vec<&String> = promises
            .created
            .iter()
            .filter(|name| !there.contains(name.as_str()))
            .collect();
        assert!(lost.is_empty(), "acknowledged, but lost: {lost:?}");
        assert!(
            promises.vanished.is_empty(),
            "acknowledged, but a later read did not find: {:?}",
            promises.vanished
        );
        promises
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(operator: &Operator, prefix: &str, stop: &AtomicBool, acknowledged: &AtomicUsize) -> Promises {
    let mut promises = Promises::default();
    for number in 0..MAX_WRITES {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let name = format!("{prefix}-{number}");
        match operator.try_ctl(&["tenant", "create", &name]) {
            Ok(_) => {
                match operator.try_ctl(&["tenant", "get", &name]) {
                    Ok(Value::Null) => promises.vanished.push(name.clone()),
                    Err(error) if error.contains("NOT_FOUND") || error.contains("not found") => {
                        promises.vanished.push(name.clone());
                    }
                    // No answer is no lie.
                    Ok(_) | Err(_) => {}
                }
                promises.created.insert(name);
                acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => promises.failures.push(error),
        }
    }
    promises
}
