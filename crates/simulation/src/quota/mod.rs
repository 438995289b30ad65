//! The real quota registry under a clock, a disk and a process that a seed breaks, beside an exact count of everything that
//! was admitted.
//!
//! One loop (`model`) lets clients come (`traffic`), has the real registry decide (`process`, with `disk` below it), and
//! breaks things (`faults`); `judging` holds every decision against the tenant's `reference`. Nothing here repeats the
//! engine's arithmetic: the reference keeps moments, not buckets.

mod burst_reference;
mod disk;
mod faults;
mod judging;
mod model;
mod plan;
mod process;
mod reference;
mod report;
mod step;
mod tenants;
mod timeline;
mod traffic;
mod violation;
mod window;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use plan::Plan;
pub use report::Report;
pub use violation::{Breach, Violation};

/// Runs what `seed` has in store for some tenants.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, plan: &Plan) -> Result<Report, Violation> {
    let progress = Cell::new(0);
    let ran = catch_unwind(AssertUnwindSafe(|| model::Model::run(seed, plan, &progress)));
    ran.unwrap_or_else(|panic| {
        Err(Violation {
            seed,
            requests: progress.get(),
            breach: Box::new(Breach::Panicked {
                reason: message(panic.as_ref()),
            }),
            steps: Vec::new(),
        })
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
