//! The threads there are, what each is at and which wait for something to do: what [`threads`](super::threads) keeps under its lock. Starts none
//! and wakes none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::expectation::Class;
use super::job::Job;
use super::priority::Stretch;
use super::queue::{Company, Queue};
use super::running::Current;
use super::slot::{Assigned, Assignment, Slot};

/// A thread that looks for a job again before it sleeps is relied on for this long. Then it is one that the kernel has no processor for, and
/// another one is woken.
pub(super) const LINGERING: Duration = Duration::from_micros(50);

pub(super) struct State {
    pub(super) queue: Queue<Job>,
    pub(super) threads: Vec<Thread>,
    /// Threads that wait for a job.
    idle: Vec<usize>,
    /// Numbers of threads that have ended.
    unused: Vec<usize>,
    pub(super) alive: usize,
    lowered: usize,
    /// Whether one of them was told to end in favour of another one, and has not.
    pub(super) makes_room: bool,
    /// Short jobs that have begun since the start.
    pub(super) begun: u64,
    pub(super) watch_sleeps: bool,
    /// The thread that is about to look for a job once more, and since when.
    pub(super) lingering: Option<(usize, Instant)>,
    /// Whether the watch is to hand out: a job waits for a thread that nobody with the ordinary priority has come by to start.
    pub(super) wants_thread: bool,
    pub(super) stopping: bool,
}

pub(super) struct Thread {
    pub(super) slot: Arc<Slot>,
    /// The kernel's number; `None` until it runs.
    pub(super) id: Option<Pid>,
    /// What it is busy with, or was given to do, unless it waits for its turn or a client.
    pub(super) stretch: Option<Stretch>,
    pub(super) priority: Priority,
    /// For which its slices are.
    company: Company,
}

/// A thread's, beside the others of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    Ordinary,
    /// Its job has been at one thing for long enough to be in the way of whoever wakes: until the job's end it is behind those.
    Suspected,
    /// It takes what the others leave, until it ends.
    Lowered,
}

impl Priority {
    /// Of the threads that jobs of a class begin on.
    pub(super) const fn of(class: Class) -> Self {
        match class {
            Class::Short => Self::Ordinary,
            Class::Long => Self::Lowered,
        }
    }
}

impl Thread {
    pub(super) fn new(priority: Priority) -> Self {
        Self {
            slot: Arc::default(),
            id: None,
            stretch: None,
            priority,
            company: Company::Others,
        }
    }
}

impl State {
    pub(super) const fn new(queue: Queue<Job>) -> Self {
        Self {
            queue,
            threads: Vec::new(),
            idle: Vec::new(),
            unused: Vec::new(),
            alive: 0,
            lowered: 0,
            makes_room: false,
            begun: 0,
            watch_sleeps: false,
            lingering: None,
            wants_thread: false,
            stopping: false,
        }
    }

    /// Adds a thread that is about to be started. Its number.
    pub(super) fn add(&mut self, thread: Thread) -> usize {
        self.lowered += usize::from(thread.priority == Priority::Lowered);
        let number = self.unused.pop().unwrap_or(self.threads.len());
        match self.threads.get_mut(number) {
            Some(place) => *place = thread,
            None => self.threads.push(thread),
        }
        self.alive += 1;
        number
    }

    /// The thread has ended, or was not started.
    pub(super) fn remove(&mut self, number: usize) {
        let Some(thread) = self.threads.get_mut(number) else {
            return;
        };
        // The kernel gives its number to others.
        let removed = std::mem::replace(thread, Thread::new(Priority::Ordinary));
        self.unused.push(number);
        self.makes_room = false;
        self.alive -= 1;
        self.lowered -= usize::from(removed.priority == Priority::Lowered);
    }

    /// Threads whose priority is lowered.
    pub(super) const fn lowered(&self) -> usize {
        self.lowered
    }

    /// Where a thread waits.
    pub(super) fn slot(&self, number: usize) -> Arc<Slot> {
        self.threads
            .get(number)
            .map(|thread| Arc::clone(&thread.slot))
            .unwrap_or_default()
    }

    pub(super) fn priority(&self, number: usize) -> Priority {
        self.threads
            .get(number)
            .map_or(Priority::Ordinary, |thread| thread.priority)
    }

    /// The thread's job is at one thing for long.
    pub(super) fn set_suspected(&mut self, number: usize) {
        if let Some(thread) = self.threads.get_mut(number)
            && thread.priority == Priority::Ordinary
        {
            thread.priority = Priority::Suspected;
        }
    }

    /// The thread's job has ended. Whether it was suspected, and has to be given what others have.
    pub(super) fn acquit(&mut self, number: usize) -> bool {
        match self.threads.get_mut(number) {
            Some(thread) if thread.priority == Priority::Suspected => {
                thread.priority = Priority::Ordinary;
                thread.company = Company::Others;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The thread was lowered, by itself or by the watch.
    pub(super) fn set_lowered(&mut self, number: usize) {
        if let Some(thread) = self.threads.get_mut(number)
            && std::mem::replace(&mut thread.priority, Priority::Lowered) != Priority::Lowered
        {
            self.lowered += 1;
        }
    }

    /// How many of a priority wait for a job.
    pub(super) fn idle(&self, priority: Priority) -> usize {
        self.idle
            .iter()
            .filter(|number| self.priority(**number) == priority)
            .count()
    }

    /// The thread waits for a job from here on.
    pub(super) fn set_idle(&mut self, number: usize) {
        self.idle.push(number);
    }

    /// Has all that wait for a job end.
    pub(super) fn end_idle(&mut self, now: Instant) -> Vec<Assignment> {
        let idle = std::mem::take(&mut self.idle);
        idle.into_iter()
            .filter_map(|number| self.assign(number, Assigned::End, now))
            .collect()
    }

    /// Whether an ordinary thread has been started and does not run yet.
    pub(super) fn is_one_starting(&self) -> bool {
        let is_starting = |(number, thread): (usize, &Thread)| {
            thread.id.is_none() && thread.priority == Priority::Ordinary && !self.unused.contains(&number)
        };
        self.threads.iter().enumerate().any(is_starting)
    }

    /// A thread for jobs of a class that waits for one, the one that began to wait last: its caches are the warmest.
    pub(super) fn take_idle(&mut self, class: Class) -> Option<usize> {
        let priority = Priority::of(class);
        let position = self
            .idle
            .iter()
            .rposition(|number| self.priority(*number) == priority)?;
        Some(self.idle.remove(position))
    }

    /// Whether a thread that runs, or was woken a moment ago, will come by for what waits, and soon: none of those will that have been at the
    /// same thing for long, or that only begin long jobs.
    pub(super) fn is_attended(&self, now: Instant) -> bool {
        let comes_soon = |thread: &Thread| {
            let is_fresh = |stretch: &Stretch| !stretch.is_suspicious(now);
            thread.stretch.as_ref().is_some_and(is_fresh) && thread.priority != Priority::Lowered
        };
        self.queue.is_attended() && self.threads.iter().any(comes_soon)
    }

    /// Whether a thread is about to look for what waits without being woken.
    pub(super) fn is_looked_at(&self, now: Instant) -> bool {
        self.lingering
            .is_some_and(|(_, since)| now.saturating_duration_since(since) < LINGERING)
    }

    pub(super) fn end_blocking(&mut self, current: &mut Current) {
        if std::mem::take(&mut current.blocks) {
            self.queue.end_blocking();
        }
    }

    /// The thread is busy from here on.
    pub(super) fn begin_stretch(&mut self, number: usize, now: Instant) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.stretch = Some(Stretch::begin(now));
        }
    }

    /// The thread waits from here on, or may.
    pub(super) fn end_stretch(&mut self, number: usize) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.stretch = None;
        }
    }

    /// Gives the thread something to do, to be handed over without the lock. From here on it is busy with that.
    pub(super) fn assign(&mut self, number: usize, assigned: Assigned, now: Instant) -> Option<Assignment> {
        self.begin_stretch(number, now);
        let change = match &assigned {
            Assigned::Begin(begun) => self.keep_company(number, begun.company),
            Assigned::Resume | Assigned::End => None,
        };
        let thread = self.threads.get(number)?;
        Some(Assignment {
            slot: Arc::clone(&thread.slot),
            assigned,
            change: thread.id.zip(change),
        })
    }

    /// The thread begins a job in that company. What its slices have to be changed for, which needs no lock.
    pub(super) fn keep_company(&mut self, number: usize, company: Company) -> Option<Company> {
        let thread = self.threads.get_mut(number)?;
        let changes = thread.priority == Priority::Ordinary && thread.company != company;
        changes.then(|| {
            thread.company = company;
            company
        })
    }

    /// Notes that a job begins.
    pub(super) fn count_begun(&mut self, class: Class) {
        self.begun += u64::from(class == Class::Short);
    }
}
