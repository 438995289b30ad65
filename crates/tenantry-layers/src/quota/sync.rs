//! The lock and the counter on which concurrent requests of one tenant meet: the real ones, or with the feature
//! `interleavings` those of a scheduler that decides at each of them who goes on.

#[cfg(not(feature = "interleavings"))]
pub(super) use parking_lot::Mutex;
#[cfg(feature = "interleavings")]
pub(super) use scheduled::Mutex;
#[cfg(feature = "interleavings")]
pub(super) use shuttle::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(feature = "interleavings"))]
pub(super) use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "interleavings")]
mod scheduled {
    use std::sync::PoisonError;

    use shuttle::sync::MutexGuard;

    /// A lock that does not know of panics, as the real one does not.
    #[derive(Debug)]
    pub(in crate::quota) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::quota) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(in crate::quota) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
