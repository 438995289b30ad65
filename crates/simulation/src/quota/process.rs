//! One life of a process: the real registry on a runtime of its own, in which nothing runs unless the model says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tenantry_layers::quota::{Charge, Decision, QuotaError, QuotaRegistry, RequestLimits, Standing};
use tokio::runtime::{Builder, Runtime};

use super::disk::{Disk, uid};
use super::timeline::Timeline;

/// Something that goes on over several steps.
type Going<T> = Pin<Box<dyn Future<Output = T>>>;

/// What waits for the disk.
pub(super) enum Waiting {
    Request {
        tenant: usize,
        limits: RequestLimits,
        charge: Charge,
        outcome: Going<Result<Decision, QuotaError>>,
    },
    Close {
        tenant: usize,
        outcome: Going<Result<(), QuotaError>>,
    },
    Forget(Going<usize>),
}

/// What came of it.
pub(super) enum Ended {
    Request {
        tenant: usize,
        limits: RequestLimits,
        charge: Charge,
        outcome: Box<Result<Decision, QuotaError>>,
    },
    Close {
        tenant: usize,
        outcome: Result<(), QuotaError>,
    },
    Forget(usize),
}

/// A process that counts requests.
pub(super) struct Process {
    registry: Arc<QuotaRegistry>,
    /// Dropped after the registry's users, and all tasks with it.
    runtime: Runtime,
    waiting: Vec<Waiting>,
}

impl Process {
    pub(super) fn start(disk: &Disk, timeline: &Timeline) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let clock: Arc<dyn tenantry_layers::clock::Clock> = timeline.clock().clone();
        Ok(Self {
            registry: QuotaRegistry::with_ledgers(Arc::new(disk.clone()), clock),
            runtime,
            waiting: Vec::new(),
        })
    }

    /// Asks for a request, without waiting.
    pub(super) fn ask(&self, tenant: usize, limits: &RequestLimits, charge: Charge) -> Decision {
        let _inside = self.runtime.enter();
        self.registry.try_admit(uid(tenant), limits, charge)
    }

    /// Has a request wait for the ledger that it needs.
    pub(super) fn wait_for(&mut self, tenant: usize, limits: RequestLimits, charge: Charge) {
        let registry = Arc::clone(&self.registry);
        let outcome = Box::pin(async move { registry.admit(uid(tenant), &limits, charge).await });
        self.waiting.push(Waiting::Request {
            tenant,
            limits,
            charge,
            outcome,
        });
    }

    pub(super) fn close(&mut self, tenant: usize) {
        let registry = Arc::clone(&self.registry);
        let outcome = Box::pin(async move { registry.close(uid(tenant)).await });
        self.waiting.push(Waiting::Close { tenant, outcome });
    }

    pub(super) fn forget_idle(&mut self, quiet: Duration) {
        let registry = Arc::clone(&self.registry);
        let outcome = Box::pin(async move { registry.forget_idle(quiet).await });
        let mut waiting = Waiting::Forget(outcome);
        // It has found out who is idle and has not begun to close them: a request may come in between.
        if self.ask_again(&mut waiting).is_none() {
            self.waiting.push(waiting);
        }
    }

    /// Closes all tenants. `go_on` has the disk go on, or says that it does not come to that.
    pub(super) fn stop(&self, mut go_on: impl FnMut() -> bool) {
        let registry = Arc::clone(&self.registry);
        let mut closing: Going<usize> = Box::pin(async move { registry.close_all().await });
        while self.poll(&mut closing).is_none() {
            self.drive();
            if !go_on() {
                return;
            }
        }
    }

    /// Limits and use, where they can be told at once.
    pub(super) fn standing(&self, tenant: usize, limits: &RequestLimits) -> Option<Standing> {
        let _inside = self.runtime.enter();
        let standing = std::pin::pin!(self.registry.standing(uid(tenant), limits));
        match standing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(standing) => standing.ok(),
            Poll::Pending => None,
        }
    }

    /// Lets every task go on for as far as it can without the disk.
    pub(super) fn drive(&self) {
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// Whether something waits on behalf of that tenant.
    pub(super) fn waits_for(&self, wanted: usize) -> bool {
        self.waiting.iter().any(|waiting| match waiting {
            Waiting::Request { tenant, .. } | Waiting::Close { tenant, .. } => *tenant == wanted,
            Waiting::Forget(_) => true,
        })
    }

    /// Whether a tenant is being closed or forgotten.
    pub(super) fn is_closing(&self) -> bool {
        let is_request = |waiting: &Waiting| matches!(waiting, Waiting::Request { .. });
        !self.waiting.iter().all(is_request)
    }

    /// How many wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A client leaves, if that one is a request.
    pub(super) fn leave(&mut self, place: usize) -> bool {
        let is_request = matches!(self.waiting.get(place), Some(Waiting::Request { .. }));
        if is_request {
            drop(self.waiting.swap_remove(place));
        }
        is_request
    }

    /// The next of those from `place` on that is done; `place` is where to go on. What it began has not gone on yet: its
    /// outcome has to be known first.
    pub(super) fn ended(&mut self, place: &mut usize) -> Option<Ended> {
        while *place < self.waiting.len() {
            let mut waiting = self.waiting.swap_remove(*place);
            if let Some(ended) = self.ask_again(&mut waiting) {
                return Some(ended);
            }
            // What it began has to go on before anybody else is asked.
            self.drive();
            self.waiting.push(waiting);
            let last = self.waiting.len() - 1;
            self.waiting.swap(*place, last);
            *place += 1;
        }
        None
    }

    fn ask_again(&self, waiting: &mut Waiting) -> Option<Ended> {
        match waiting {
            Waiting::Request {
                tenant,
                limits,
                charge,
                outcome,
            } => self.poll(outcome).map(|outcome| Ended::Request {
                tenant: *tenant,
                limits: *limits,
                charge: *charge,
                outcome: Box::new(outcome),
            }),
            Waiting::Close { tenant, outcome } => self.poll(outcome).map(|outcome| Ended::Close {
                tenant: *tenant,
                outcome,
            }),
            Waiting::Forget(outcome) => self.poll(outcome).map(Ended::Forget),
        }
    }

    fn poll<T>(&self, going: &mut Going<T>) -> Option<T> {
        let _inside = self.runtime.enter();
        match going.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }
}
