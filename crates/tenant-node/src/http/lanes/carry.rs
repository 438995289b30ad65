//! Carries a connection on in whichever lane its passenger belongs to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use super::Passenger;
use crate::http::owned_tasks::OwnedTasks;
use crate::lane::Lane;

/// Runs `ride` to its end. The calling task stays in its lane and waits there while `ride` is in the other one, as a task of `tasks`; whoever drops
/// this future ends that one: it is not ended with `tasks`.
pub(in crate::http) async fn carry<F>(ride: F, passenger: Passenger, tasks: OwnedTasks)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut ride = Box::pin(ride);
    loop {
        let Some(leaving) = stay(ride, &passenger).await else {
            return;
        };
        let workers = passenger.workers(passenger.lane(Instant::now()));
        let away = tasks.track_on(stay(leaving, &passenger), workers);
        // Otherwise it has ended, by itself or by a panic.
        let Ok(Some(back)) = AbortOnDropHandle::new(away).await else {
            return;
        };
        ride = back;
    }
}

fn stay<F>(ride: Pin<Box<F>>, passenger: &Passenger) -> Stay<F> {
    Stay {
        ride: Some(ride),
        passenger: passenger.clone(),
    }
}

/// Carries in the lane that it is polled in. Gives the connection back when its passenger belongs elsewhere, and nothing when it has ended.
struct Stay<F> {
    ride: Option<Pin<Box<F>>>,
    passenger: Passenger,
}

impl<F: Future<Output = ()>> Future for Stay<F> {
    type Output = Option<Pin<Box<F>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let began = Instant::now();
        if self.passenger.lane(began) != Lane::here() {
            return Poll::Ready(self.ride.take());
        }
        self.passenger.begin_turn(began);
        let Some(ride) = &mut self.ride else {
            return Poll::Ready(None);
        };
        let ended = ride.as_mut().poll(context);
        let now = Instant::now();
        self.passenger.charge(now.saturating_duration_since(began), now);
        ended.map(|()| None)
    }
}
