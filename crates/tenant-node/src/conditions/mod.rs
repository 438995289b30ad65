//! What is worth saying of one tenant: which conditions set in or are over, and which class its size and traffic put it in.
//!
//! Pure: a [`Detector`] per tenant is given samples and the time, and answers with what changed. It does not go on from there
//! by itself: whoever has put a change on disk says so with [`Detector::accept`], and until then every sample that still calls
//! for it answers with it again. So no change is lost on the way to the disk. What follows from the changes (tier changes,
//! moves) is the control plane's to decide.

mod class;
mod detector;
mod hour_clock;
mod hour_ring;
mod score;
mod switch;

pub use class::{ClassRecord, Fall, class_of};
#[cfg(test)]
pub(crate) use detector::tests::usage as usage_of_shares;
pub use detector::{Detector, Surroundings};
pub use hour_clock::{HourClock, Tick};
pub use hour_ring::{HOURS, HourRing};
pub use score::{score, terms};
