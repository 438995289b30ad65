//! Results on their way from a database thread to the task that asked.
//!
//! What a short query costs is mostly spent around it: reading the request, writing the answer. The async workers do that first come, first
//! served, so a tenant with 500 connections would fill them although the database threads take turns. So threads begin nothing new while
//! many results wait for their tasks; requests then wait in the queue, where tenants take turns. Each lane of async workers has a count of its
//! own: results that wait for workers of the busy one hold nobody up in the quiet one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::lane::{ByLane, Lane};

/// How many results are on their way, to the tasks of each lane.
#[derive(Debug, Default)]
pub(super) struct Deliveries(ByLane<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    count: AtomicUsize,
    /// Where a thread has begun nothing although something waited: with so many under way it may again. Zero: nobody is held back.
    held_until: AtomicUsize,
}

impl Deliveries {
    /// Whether another job for tasks of `lane` may begin, if at most about `most` may be under way at a moment. Where it may not, what arrives
    /// says when to ask again.
    pub(super) fn may_begin(&self, lane: Lane, most: usize) -> bool {
        self.0.of(lane).may_begin(most)
    }
}

impl UnderWay {
    fn may_begin(&self, most: usize) -> bool {
        if self.count.load(SeqCst) < most.max(1) {
            return true;
        }
        self.held_until.store(most / 2 + 1, SeqCst);
        // Those that arrived between the two looks saw no reason to tell.
        self.count.load(SeqCst) <= most / 2
    }

    fn left(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// Whether jobs that were held back may begin. Half of the results have arrived by then, so that a thread is woken for many.
    fn arrived(&self) -> bool {
        let before = self.count.fetch_sub(1, SeqCst);
        before <= self.held_until.load(SeqCst) && self.held_until.swap(0, SeqCst) != 0
    }
}

/// A result and the duty to say that it has arrived. Where nobody waits for it any more, it counts as arrived, too.
pub(super) struct Delivery<T> {
    result: Option<T>,
    lane: Lane,
    deliveries: Arc<Deliveries>,
    resume: Arc<dyn Fn() + Send + Sync>,
}

impl<T> Delivery<T> {
    /// To a task of `lane`. `resume` lets jobs begin that were held back.
    pub(super) fn new(
        result: T,
        lane: Lane,
        deliveries: &Arc<Deliveries>,
        resume: &Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        deliveries.0.of(lane).left();
        Self {
            result: Some(result),
            lane,
            deliveries: Arc::clone(deliveries),
            resume: Arc::clone(resume),
        }
    }

    /// `None` never: only for a result that was taken before.
    pub(super) fn take(mut self) -> Option<T> {
        self.result.take()
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        if self.deliveries.0.of(self.lane).arrived() {
            (self.resume)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_held_back_while_many_results_are_under_way_and_told_once_when_half_have_arrived() {
        let deliveries = Arc::new(Deliveries::default());
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let resume: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            counter.fetch_add(1, SeqCst);
        });
        let mut under_way: Vec<_> = (0..3)
            .map(|job| Delivery::new(job, Lane::Quiet, &deliveries, &resume))
            .collect();
        assert!(deliveries.may_begin(Lane::Quiet, 4));
        drop(under_way.pop());
        assert_eq!(told.load(SeqCst), 0, "nobody was held back");
        under_way.extend((0..2).map(|job| Delivery::new(job, Lane::Quiet, &deliveries, &resume)));
        assert!(!deliveries.may_begin(Lane::Quiet, 4));
        drop(under_way.pop());
        assert_eq!(told.load(SeqCst), 0, "three of four are under way");
        assert_eq!(under_way.pop().and_then(Delivery::take), Some(0));
        assert_eq!(told.load(SeqCst), 1);
        assert!(deliveries.may_begin(Lane::Quiet, 4));
        drop(under_way);
        assert_eq!(told.load(SeqCst), 1);
    }

    #[test]
    fn those_who_may_have_more_under_way_go_on_where_others_are_held_back() {
        let deliveries = Arc::new(Deliveries::default());
        let resume: Arc<dyn Fn() + Send + Sync> = Arc::new(|| ());
        let under_way: Vec<_> = (0..4)
            .map(|job| Delivery::new(job, Lane::Quiet, &deliveries, &resume))
            .collect();
        assert!(!deliveries.may_begin(Lane::Quiet, 4) && deliveries.may_begin(Lane::Quiet, 5));
        drop(under_way);
        assert!(deliveries.may_begin(Lane::Quiet, 1));
    }

    #[test]
    fn what_waits_for_workers_of_one_lane_holds_nobody_up_in_the_other() {
        let deliveries = Arc::new(Deliveries::default());
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let resume: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            counter.fetch_add(1, SeqCst);
        });
        let busy: Vec<_> = (0..4)
            .map(|job| Delivery::new(job, Lane::Busy, &deliveries, &resume))
            .collect();
        assert!(!deliveries.may_begin(Lane::Busy, 4) && deliveries.may_begin(Lane::Quiet, 4));
        drop(Delivery::new(0, Lane::Quiet, &deliveries, &resume));
        assert_eq!(told.load(SeqCst), 0, "those who wait are of the other lane");
        drop(busy);
        assert_eq!(told.load(SeqCst), 1);
        assert!(deliveries.may_begin(Lane::Busy, 4));
    }
}
