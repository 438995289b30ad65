use crate::hrana::slot::OldBaton;
use crate::hrana::stored_bytes::StoredBytes;

use super::*;

const TENANT: TenantUid = TenantUid::from_u128(1);
const OTHER: TenantUid = TenantUid::from_u128(2);
const EXPIRY: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn with_first_id(first_id: u64) -> Arc<Streams> {
    let bounds = Bounds {
        idle_expiry: EXPIRY,
        per_tenant: 2,
        total: 3,
        remembering: Duration::from_secs(3_600),
        remembered: Room {
            per_tenant: 2,
            total: 3,
        },
    };
    Arc::new(Streams::new(BatonKey::new([1; 32]), bounds, first_id))
}

fn streams() -> Arc<Streams> {
    with_first_id(0)
}

fn inserted(rowid: i64) -> WriteHistory {
    WriteHistory {
        last_insert_rowid: rowid,
        changes: 1,
        total_changes: 10,
    }
}

/// A stream with state that needs no database.
fn parked() -> Parked {
    let mut sqls = StoredSql::default();
    let stored = StoredBytes::new(Room {
        per_tenant: 100,
        total: 100,
    });
    sqls.store(1, "select 1", &Arc::new(stored).of(TENANT)).unwrap();
    Parked {
        session: None,
        history: inserted(5),
        sqls,
        transaction: Transaction::AsKnown,
    }
}

fn open(streams: &Arc<Streams>, tenant: TenantUid) -> Result<StreamSlot, StreamError> {
    streams.open(tenant, Leaves::State)
}

fn resume(
    streams: &Arc<Streams>,
    tenant: TenantUid,
    baton: &str,
    now: Instant,
) -> Result<(StreamSlot, Parked), StreamError> {
    streams.resume(tenant, baton, Leaves::State, now)
}

#[test]
fn a_baton_of_a_stream_with_state_is_good_for_one_request_of_its_own_tenant() {
    let streams = streams();
    let now = Instant::now();
    let first = open(&streams, TENANT).unwrap().park(parked(), now).unwrap();
    assert_eq!(
        resume(&streams, OTHER, &first, now).err(),
        Some(StreamError::InvalidBaton)
    );
    let (slot, state) = resume(&streams, TENANT, &first, now).unwrap();
    assert_eq!(state.history, inserted(5));
    assert_eq!(
        resume(&streams, TENANT, &first, now).err(),
        Some(StreamError::SpentBaton)
    );
    let second = slot.park(state, now).unwrap();
    assert_eq!(
        resume(&streams, TENANT, &first, now).err(),
        Some(StreamError::SpentBaton)
    );
    drop(resume(&streams, TENANT, &second, now).unwrap());
    assert_eq!(
        resume(&streams, TENANT, &second, now).err(),
        Some(StreamError::SpentBaton)
    );
    assert_eq!(streams.len(), 0);
}

#[test]
fn a_stream_without_state_costs_nothing_and_goes_on_for_ever() {
    let streams = streams();
    let now = Instant::now();
    let batons: Vec<_> = (0..300)
        .map(|rowid| {
            let slot = open(&streams, TENANT).unwrap();
            slot.park(Parked::without_state(inserted(rowid)), now).unwrap()
        })
        .collect();
    assert_eq!((streams.len(), streams.expire(now + DAY)), (0, 0));
    for (baton, rowid) in batons.iter().zip(0..) {
        for _ in 0..2 {
            let (_, state) = resume(&streams, TENANT, baton, now + DAY).unwrap();
            assert_eq!(state.history, inserted(rowid));
        }
        assert_eq!(
            resume(&streams, OTHER, baton, now).err(),
            Some(StreamError::InvalidBaton)
        );
    }
    // Another process with the same key.
    assert!(resume(&with_first_id(u64::MAX), TENANT, &batons[0], now).is_ok());
}

#[test]
fn a_stream_with_state_of_an_earlier_process_is_gone_and_never_another_one() {
    let now = Instant::now();
    let (before, after) = (with_first_id(7 << 32), with_first_id(9 << 32));
    let old = open(&before, TENANT).unwrap().park(parked(), now).unwrap();
    let _new = open(&after, TENANT).unwrap().park(parked(), now).unwrap();
    assert_eq!(resume(&after, TENANT, &old, now).err(), Some(StreamError::SpentBaton));
}

#[test]
fn a_stream_with_state_ends_when_it_waits_too_long() {
    let streams = streams();
    let now = Instant::now();
    let batons: Vec<_> = (0..2)
        .map(|_| open(&streams, TENANT).unwrap().park(parked(), now).unwrap())
        .collect();
    assert_eq!(streams.expire(now + EXPIRY - Duration::from_millis(1)), 0);
    assert_eq!(
        resume(&streams, TENANT, &batons[0], now + EXPIRY).err(),
        Some(StreamError::SpentBaton)
    );
    assert_eq!(streams.expire(now + EXPIRY), 1);
    assert_eq!(streams.len(), 0);
}

#[test]
fn at_the_limit_the_oldest_stream_without_a_connection_gives_way_to_one_that_may_have_state() {
    let streams = streams();
    let now = Instant::now();
    let [old, newer] = [now, now + EXPIRY / 2].map(|now| open(&streams, TENANT).unwrap().park(parked(), now).unwrap());
    assert!(streams.open(TENANT, Leaves::Nothing).is_ok());
    assert_eq!(streams.len(), 2, "nothing had to give way");
    assert!(open(&streams, TENANT).is_ok());
    assert_eq!(resume(&streams, TENANT, &old, now).err(), Some(StreamError::SpentBaton));
    assert!(resume(&streams, TENANT, &newer, now).is_ok());
}

#[tokio::test]
async fn a_baton_that_was_given_out_early_is_good_when_its_answer_is_complete() {
    let streams = streams();
    let now = Instant::now();
    let mut slot = open(&streams, TENANT).unwrap();
    let baton = slot.give_out_baton();
    assert_eq!(
        resume(&streams, TENANT, &baton, now).err(),
        Some(StreamError::StillAnswering)
    );
    let short = streams.resume_when_free(TENANT, &baton, Leaves::State, || now, Duration::ZERO);
    assert_eq!(short.await.err(), Some(StreamError::StillAnswering));
    let mut early = Box::pin(streams.resume_when_free(TENANT, &baton, Leaves::State, || now, EXPIRY));
    assert!(futures_util::poll!(&mut early).is_pending());
    assert_eq!(slot.park(parked(), now), Some(baton.clone()));
    let (mut slot, _) = early.await.unwrap();
    let next = slot.give_out_baton();
    let early = streams.resume_when_free(TENANT, &next, Leaves::State, || now, EXPIRY);
    drop(slot);
    assert_eq!(early.await.err(), Some(StreamError::SpentBaton), "its stream has ended");
    assert_eq!(streams.len(), 0);
}

#[test]
fn an_early_baton_of_a_stream_without_state_is_good_for_an_hour_and_for_one_request() {
    let streams = streams();
    let now = Instant::now();
    let early = |rowid| {
        let mut slot = open(&streams, TENANT).unwrap();
        let baton = slot.give_out_baton();
        assert_eq!(
            slot.park(Parked::without_state(inserted(rowid)), now).as_deref(),
            Some(baton.as_str())
        );
        baton
    };
    let (first, second) = (early(1), early(2));
    assert_eq!(streams.expire(now + Duration::from_secs(3_599)), 0);
    let (slot, state) = resume(&streams, TENANT, &first, now).unwrap();
    assert_eq!(state.history, inserted(1));
    assert_eq!(
        resume(&streams, TENANT, &first, now).err(),
        Some(StreamError::SpentBaton)
    );
    // Whatever hinders the request, there is nothing that could be lost.
    drop(slot);
    let (slot, state) = resume(&streams, TENANT, &first, now).unwrap();
    assert!(slot.park(state, now).is_some());
    assert_eq!(
        resume(&streams, TENANT, &first, now).err(),
        Some(StreamError::SpentBaton)
    );
    resume(&streams, TENANT, &second, now).unwrap().0.close();
    assert_eq!(
        resume(&streams, TENANT, &second, now).err(),
        Some(StreamError::SpentBaton)
    );
    let third = early(3);
    assert_eq!(streams.expire(now + Duration::from_secs(3_600)), 1);
    assert_eq!(
        resume(&streams, TENANT, &third, now).err(),
        Some(StreamError::SpentBaton)
    );
}

#[test]
fn the_baton_of_a_cursor_that_only_reads_is_good_at_once() {
    let streams = streams();
    let now = Instant::now();
    let mut slot = open(&streams, TENANT).unwrap();
    let baton = slot.give_out_stateless(inserted(9));
    assert_eq!(resume(&streams, TENANT, &baton, now).unwrap().1.history, inserted(9));
    assert_eq!(slot.park(Parked::without_state(inserted(9)), now), Some(baton));
    assert_eq!(streams.len(), 0);
}

#[test]
fn a_refused_request_leaves_the_baton_that_it_came_with() {
    let streams = streams();
    let now = Instant::now();
    let begun = open(&streams, TENANT).unwrap();
    assert_eq!(begun.refuse(parked(), now), OldBaton::None);
    let kept = open(&streams, TENANT).unwrap().park(parked(), now).unwrap();
    let free = open(&streams, TENANT).unwrap().park(Parked::default(), now).unwrap();
    for baton in [&kept, &free] {
        for _ in 0..2 {
            let (mut slot, state) = resume(&streams, TENANT, baton, now).unwrap();
            let unseen = slot.give_out_baton();
            assert_eq!(slot.refuse(state, now), OldBaton::Good);
            assert_eq!(
                resume(&streams, TENANT, &unseen, now).err(),
                Some(StreamError::SpentBaton)
            );
        }
    }
    // What such a request has begun on a stream that had nothing, nobody knows of.
    let (slot, _) = resume(&streams, TENANT, &free, now).unwrap();
    assert_eq!(slot.refuse(parked(), now), OldBaton::Good);
    assert!(!resume(&streams, TENANT, &free, now).unwrap().1.has_state());
    assert_eq!(streams.len(), 1);
}

#[test]
fn closing_ends_all_and_refuses_new_ones() {
    let streams = streams();
    let now = Instant::now();
    let waiting = open(&streams, TENANT).unwrap().park(parked(), now).unwrap();
    let [busy, idle] = [(); 2].map(|()| open(&streams, TENANT).unwrap());
    streams.close_all();
    assert_eq!(
        resume(&streams, TENANT, &waiting, now).err(),
        Some(StreamError::Stopping)
    );
    assert_eq!(open(&streams, TENANT).err(), Some(StreamError::Stopping));
    assert_eq!(busy.park(parked(), now), None);
    let baton = idle.park(Parked::default(), now).unwrap();
    assert_eq!(resume(&streams, TENANT, &baton, now).err(), Some(StreamError::Stopping));
    assert!(
        resume(&with_first_id(5), TENANT, &baton, now).is_ok(),
        "good after the restart"
    );
    assert_eq!(streams.len(), 0);
}

impl std::fmt::Debug for StreamSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamSlot")
    }
}

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parked")
    }
}
