//! Waiting for a condition with a bound.

use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks until `condition` holds.
///
/// # Panics
/// After `patience`, with `what`.
pub fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    value_of(what, patience, || {
        if condition() {
            Ok(())
        } else {
            Err("it does not hold".to_owned())
        }
    });
}

/// Asks until there is a value.
///
/// # Panics
/// After `patience`, with `what` and the last reason why there was none.
pub fn value_of<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => {
                panic!("waited {} s for {what}; last: {reason}", patience.as_secs())
            }
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}
