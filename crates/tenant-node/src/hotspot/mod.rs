//! Which tenants are too hot for their limits, and which class their size and traffic put them in.
//!
//! Pure: a [`Detector`] per tenant is given samples and the time, and answers with transitions only. What follows from
//! them (tier changes, moves) is the control plane's to decide.

mod detector;
mod score;

#[cfg(test)]
pub(crate) use detector::tests::usage as usage_of_shares;
pub use detector::{Detector, class_of};
pub use score::{score, terms};
