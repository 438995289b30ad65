//! Requests of one tenant on several threads, in thousands of orders that a scheduler draws: at each lock and each counter it
//! decides who goes on. Ledgers are read and written in between by whoever is handed the work, as `registry` does it.
//!
//! A waiter that nobody wakes is a deadlock, which the scheduler reports, with the order that led to it.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, future, thread};
use tenantry_types::TenantUid;

use super::engine::{FoundLedger, LedgerOutcome, LedgerWork, NextStep};
use super::{Admission, Charge, Permit, RequestLimits, TenantQuota};
use crate::clock::{Boot, Now, now_at};

const BOOT: Boot = Boot::Known(1);
const ORDERS: usize = 3_000;

fn now() -> Now {
    now_at(1_700_000_000_000)
}

const fn limits(requests_per_day: u64, concurrent_requests: u32) -> RequestLimits {
    RequestLimits {
        requests_per_day,
        burst: None,
        concurrent_requests,
    }
}

/// What a request came to.
enum Outcome {
    Admitted(Permit),
    Refused,
    Gone,
}

/// Does a piece of ledger work; every `failing`th write fails.
fn work(tenant: &TenantQuota, work: &LedgerWork, limits: &RequestLimits, writes: &AtomicUsize, failing: usize) {
    thread::yield_now();
    if matches!(work, LedgerWork::Read) {
        assert!(tenant.loaded(&FoundLedger::Missing, now(), BOOT, limits).is_none());
        return;
    }
    let number = writes.fetch_add(1, Ordering::SeqCst) + 1;
    tenant.reserved(match number.is_multiple_of(failing) {
        true => LedgerOutcome::Failed,
        false => LedgerOutcome::Done,
    });
}

/// Asks until the request is decided, as the registry does.
fn request(tenant: &Arc<TenantQuota>, limits: &RequestLimits, writes: &AtomicUsize, failing: usize) -> Outcome {
    loop {
        let decision = tenant.admit(now(), limits, Charge::Counted);
        if decision.reserve_ahead
            && let NextStep::Do(ahead) = tenant.next_step(now(), BOOT, limits)
        {
            work(tenant, &ahead, limits, writes, failing);
        }
        match decision.admission {
            Admission::Admitted(Some(permit), _) => return Outcome::Admitted(permit),
            Admission::Admitted(None, _) => panic!("a counted request has no permit"),
            Admission::Refused(_) => return Outcome::Refused,
            Admission::Gone => return Outcome::Gone,
            Admission::NeedsLedger => {}
        }
        let mut outcomes = tenant.ledger_work.subscribe();
        match tenant.next_step(now(), BOOT, limits) {
            NextStep::AskAgain => {}
            NextStep::Do(needed) => work(tenant, &needed, limits, writes, failing),
            NextStep::AwaitOutcome => {
                // The outcome may come before anybody waits for it.
                thread::yield_now();
                future::block_on(outcomes.changed()).unwrap();
            }
        }
    }
}

/// Tries many orders: drawn evenly, and with few changes of who goes on, which finds what even draws seldom do.
fn in_many_orders(test: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(test, ORDERS);
    check_pct(test, ORDERS, 3);
}

#[test]
fn as_many_are_admitted_as_the_limit_says_in_any_order_and_all_give_their_places_back() {
    in_many_orders(|| {
        for failing in [2, usize::MAX] {
            let tenant = Arc::new(TenantQuota::unloaded(TenantUid::from_u128(1)));
            let (admitted, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let clients = (0..3).map(|_| {
                let (tenant, admitted, writes) = (Arc::clone(&tenant), Arc::clone(&admitted), Arc::clone(&writes));
                thread::spawn(move || {
                    for _ in 0..2 {
                        if let Outcome::Admitted(permit) = request(&tenant, &limits(4, 9), &writes, failing) {
                            admitted.fetch_add(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                })
            });
            clients
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|client| client.join().unwrap());
            assert_eq!(admitted.load(Ordering::SeqCst), 4);
            assert_eq!(tenant.concurrent(), 0);
        }
    });
}

#[test]
fn no_more_are_served_at_once_than_the_limit_says_in_any_order() {
    in_many_orders(|| {
        let tenant = Arc::new(TenantQuota::unloaded(TenantUid::from_u128(1)));
        let (served, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..3).map(|_| {
            let (tenant, served, writes) = (Arc::clone(&tenant), Arc::clone(&served), Arc::clone(&writes));
            thread::spawn(move || {
                if let Outcome::Admitted(permit) = request(&tenant, &limits(100, 2), &writes, usize::MAX) {
                    assert!(served.fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    served.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            })
        });
        clients
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|client| client.join().unwrap());
        assert_eq!(tenant.concurrent(), 0);
    });
}

#[test]
fn whoever_waits_for_a_close_is_told_how_it_ended_and_none_is_admitted_that_the_record_does_not_hold() {
    in_many_orders(|| {
        let tenant = Arc::new(TenantQuota::unloaded(TenantUid::from_u128(1)));
        let (admitted, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..2).map(|_| {
            let (tenant, admitted, writes) = (Arc::clone(&tenant), Arc::clone(&admitted), Arc::clone(&writes));
            thread::spawn(move || {
                while let Outcome::Admitted(_permit) = request(&tenant, &limits(3, 9), &writes, usize::MAX) {
                    admitted.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let clients = clients.collect::<Vec<_>>();
        let closing = {
            let tenant = Arc::clone(&tenant);
            thread::spawn(move || {
                // Not more often than that: clients may be done before there is anything to close.
                for _ in 0..20 {
                    match tenant.begin_close(now(), BOOT) {
                        Ok(record) => {
                            thread::yield_now();
                            tenant.closed(LedgerOutcome::Done);
                            return Some(record);
                        }
                        Err(_) => thread::yield_now(),
                    }
                }
                None
            })
        };
        clients.into_iter().for_each(|client| client.join().unwrap());
        let admitted = admitted.load(Ordering::SeqCst) as u64;
        assert!(admitted <= 3);
        if let Some(Some(record)) = closing.join().unwrap() {
            let held: u64 = record.buckets.iter().map(|(_, requests)| requests).sum();
            assert_eq!((held, record.reserved), (admitted, 0));
        }
        assert_eq!(tenant.concurrent(), 0);
    });
}
