//! Which of the two sets of async workers a thread belongs to. What they are for: `http/lanes`.

use std::cell::Cell;

/// A set of async workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// For those who ask for little, and everybody at first.
    Quiet,
    /// For those who keep workers busy.
    Busy,
}

thread_local! {
    static HERE: Cell<Lane> = const { Cell::new(Lane::Quiet) };
}

impl Lane {
    /// The lane of the calling thread. One that is no async worker is in the quiet one.
    #[must_use]
    pub fn here() -> Self {
        HERE.get()
    }

    /// The calling thread is a worker of this lane from here on.
    pub(crate) fn enter(self) {
        HERE.set(self);
    }
}

/// One of something for each lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByLane<T> {
    quiet: T,
    busy: T,
}

impl<T: Copy> ByLane<T> {
    pub(crate) const fn both(of_each: T) -> Self {
        Self {
            quiet: of_each,
            busy: of_each,
        }
    }
}

impl<T> ByLane<T> {
    pub(crate) fn each(mut make: impl FnMut(Lane) -> T) -> Self {
        Self {
            quiet: make(Lane::Quiet),
            busy: make(Lane::Busy),
        }
    }

    pub(crate) const fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Quiet => &self.quiet,
            Lane::Busy => &self.busy,
        }
    }

    pub(crate) const fn of_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Quiet => &mut self.quiet,
            Lane::Busy => &mut self.busy,
        }
    }
}
