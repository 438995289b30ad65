//! The tasks that hyper starts for a connection: one for each answer over HTTP/2.

use std::future::Future;

use hyper::rt::Executor;

use super::Passenger;
use super::carry::carry;
use crate::http::active_streams::ActiveStreams;
use crate::http::owned_tasks::OwnedTasks;

/// An executor that carries each task in the lane of the request it is for.
#[derive(Debug, Clone)]
pub(in crate::http) struct LaneTasks {
    tasks: OwnedTasks,
    passenger: Option<Passenger>,
    streams: ActiveStreams,
}

impl LaneTasks {
    /// For the connection of `passenger` and `streams`; no passenger where there is one lane.
    pub(in crate::http) const fn new(tasks: OwnedTasks, passenger: Option<Passenger>, streams: ActiveStreams) -> Self {
        Self {
            tasks,
            passenger,
            streams,
        }
    }
}

impl<F> Executor<F> for LaneTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// hyper calls this right after it has handed the task's request to the service, which notes its tenant then.
    fn execute(&self, task: F) {
        let stream = self.streams.begin();
        let ride = async move {
            let _nobody_asks = task.await;
            drop(stream);
        };
        let Some(passenger) = &self.passenger else {
            return self.tasks.execute(ride);
        };
        let carried = carry(ride, passenger.with_last_request(), self.tasks.clone());
        self.tasks.execute(carried);
    }
}
