//! The outbox on real files: restarts, a full outbox, damage.

use std::collections::{BTreeMap, HashMap};

use tenantry_proto::v1::event_detail::Kind;
use tenantry_types::{Condition, EventDetail, Tier, UnixMillis};

use super::super::test_events::{EPOCH, NOW, batch, crossed, of, turned, uid};
use super::super::{KeptTenant, NewEvent};
use super::*;
use crate::conditions::{ClassRecord, Fall, HourRing};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("outbox.db")
    }

    /// Opens it as that start of the node. Dropping what this gives is a crash: nothing is finished or closed.
    fn open(&self, incarnation: u64, capacity: u64) -> (Outbox, Record) {
        Outbox::open(&self.file(), Incarnation(incarnation), capacity).unwrap()
    }

    /// Bytes of all files.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.0.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

async fn sequences(outbox: &Outbox) -> Option<(u64, Vec<u64>)> {
    let batch = outbox.oldest(100).await.unwrap()?;
    Some((
        batch.incarnation.get(),
        batch.events.iter().map(|event| event.sequence.get()).collect(),
    ))
}

/// All that wait, as `(tenant, kind)`.
async fn waiting(outbox: &Outbox) -> Vec<(u128, &'static str)> {
    let batch = outbox.oldest(1_000_000).await.unwrap();
    let events = batch.into_iter().flat_map(|batch| batch.events);
    events
        .map(|event| {
            let tenant = event
                .event
                .tenant_uid
                .parse()
                .map_or(0, tenantry_types::TenantUid::as_u128);
            let detail = EventDetail::try_from(event.event.detail.unwrap()).unwrap();
            (tenant, detail.kind())
        })
        .collect()
}

async fn dropped(outbox: &Outbox) -> Vec<u64> {
    let batch = outbox.oldest(1_000_000).await.unwrap();
    let kinds = batch
        .into_iter()
        .flat_map(|batch| batch.events)
        .filter_map(|event| event.event.detail?.kind);
    kinds
        .filter_map(|kind| match kind {
            Kind::EventsDropped(dropped) => Some(dropped.count),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn what_is_not_acknowledged_survives_a_restart_under_its_old_number() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 100);
    outbox
        .append(batch((1..=3).map(|used| crossed(1, used))))
        .await
        .unwrap();
    assert_eq!(sequences(&outbox).await, Some((1, vec![1, 2, 3])));
    outbox.acknowledge(Incarnation(1), ReportSequence(2)).await.unwrap();
    outbox.close();

    let (outbox, _) = folder.open(2, 100);
    outbox.append(batch([crossed(1, 4)])).await.unwrap();
    assert_eq!(
        sequences(&outbox).await,
        Some((1, vec![3])),
        "older incarnations go first, alone"
    );
    outbox.acknowledge(Incarnation(1), ReportSequence(3)).await.unwrap();
    assert_eq!(sequences(&outbox).await, Some((2, vec![1])));
    outbox.acknowledge(Incarnation(2), ReportSequence(1)).await.unwrap();
    assert_eq!(sequences(&outbox).await, None);
    assert_eq!(*outbox.pending().borrow(), 0);
    outbox.close();
    assert!(matches!(outbox.oldest(1).await, Err(OutboxError::Closed)));
    assert!(outbox.try_append(batch([crossed(1, 5)])).is_none());
}

#[tokio::test]
async fn what_is_on_record_is_there_after_a_crash_and_goes_away_with_its_tenant() {
    let folder = Folder::new();
    let (outbox, record) = folder.open(7, 100);
    assert_eq!((record, outbox.record_since()), (Record::default(), Incarnation(7)));
    let mut hours = HourRing::unknown_until(9);
    hours.record(10, 77);
    let class = ClassRecord {
        class: Tier::Large,
        fall: Some(Fall {
            since: NOW,
            highest: Tier::Small,
        }),
    };
    let refused = EventDetail::ConfigRefused {
        records: 3,
        example: "tenant \"acme\": name".into(),
    };
    let everything = Batch {
        classes: vec![(uid(1), class), (uid(2), class)],
        hours: vec![(uid(1), hours.clone()), (uid(2), hours.clone())],
        served: Some(hours.clone()),
        ..batch([
            turned(1, Condition::Hotspot, true),
            turned(1, Condition::Spike, true),
            turned(2, Condition::NodeExceeded, true),
            NewEvent {
                tenant: None,
                ..of(0, refused)
            },
        ])
    };
    outbox.append(everything).await.unwrap();
    drop(outbox);

    let (outbox, record) = folder.open(8, 100);
    assert_eq!(outbox.record_since(), Incarnation(7));
    let kept = |raised: &[Condition]| KeptTenant {
        raised: raised.to_vec(),
        epoch: (!raised.is_empty()).then_some(EPOCH),
        class: Some(class),
        hours: Some(hours.clone()),
    };
    let both = [Condition::Hotspot, Condition::Spike];
    let tenants = HashMap::from([(uid(1), kept(&both)), (uid(2), kept(&[Condition::NodeExceeded]))]);
    let expected = Record {
        tenants,
        served: Some(hours.clone()),
        config_refused: true,
    };
    assert_eq!(record, expected);
    let accepted = NewEvent {
        tenant: None,
        ..of(0, EventDetail::ConfigAccepted)
    };
    let over = Batch {
        gone: vec![uid(2)],
        ..batch([turned(1, Condition::Spike, false), accepted])
    };
    outbox.append(over).await.unwrap();
    drop(outbox);

    let (outbox, record) = folder.open(9, 100);
    let expected = Record {
        tenants: HashMap::from([(uid(1), kept(&[Condition::Hotspot]))]),
        config_refused: false,
        served: Some(hours.clone()),
    };
    assert_eq!(record, expected);
    let anew = Batch {
        measured_anew: vec![uid(1)],
        ..Batch::default()
    };
    outbox.append(anew).await.unwrap();
    drop(outbox);
    assert_eq!(folder.open(10, 100).1.tenants, HashMap::from([(uid(1), kept(&[]))]));
}

#[tokio::test]
async fn a_file_of_an_older_version_is_taken_over_with_what_waits_in_it() {
    let folder = Folder::new();
    {
        let (outbox, _) = folder.open(1, 100);
        let turns = [(1, true), (2, true), (2, false)];
        let turns = turns.map(|(tenant, raised)| turned(tenant, Condition::Hotspot, raised));
        outbox.append(batch(turns)).await.unwrap();
        outbox.close();
    }
    let old = rusqlite::Connection::open(folder.file()).unwrap();
    for table in ["raised", "unreported", "class", "hours", "fact"] {
        old.execute(&format!("DROP TABLE {table}"), []).unwrap();
    }
    drop(old);
    let (outbox, record) = folder.open(2, 100);
    assert_eq!(
        outbox.record_since(),
        Incarnation(2),
        "what was told before is not known"
    );
    assert_eq!(record.tenants.keys().collect::<Vec<_>>(), [&uid(1)]);
    // Its event carries the number of a start that the record does not reach back to.
    outbox.tell_raised_again();
    outbox.acknowledge(Incarnation(1), ReportSequence(3)).await.unwrap();
    assert_eq!(waiting(&outbox).await, [(1, "hotspot-raised")]);
    assert_eq!(sequences(&outbox).await, Some((2, vec![1])));
}

#[tokio::test]
async fn what_is_raised_is_told_again_unless_it_waits_to_be_told_anyway() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 100);
    let turns = [(1, true), (2, true), (2, false), (3, true)];
    let turns = turns.map(|(tenant, raised)| turned(tenant, Condition::Hotspot, raised));
    outbox.append(batch(turns)).await.unwrap();
    outbox.tell_raised_again();
    assert_eq!(waiting(&outbox).await.len(), 4);
    outbox.acknowledge(Incarnation(1), ReportSequence(3)).await.unwrap();
    outbox.tell_raised_again();
    // The third was handed out, and whoever got it may have forgotten it since.
    let again = [3, 1, 3].map(|tenant| (tenant, "hotspot-raised"));
    assert_eq!(waiting(&outbox).await, again);
    let batch = outbox.oldest(9).await.unwrap().unwrap();
    let again = ReportedAt::of(&batch.events[1].event);
    assert_eq!(again, ReportedAt(NOW), "it is since then");
}

#[derive(Debug, PartialEq)]
struct ReportedAt(UnixMillis);

impl ReportedAt {
    fn of(event: &tenantry_proto::v1::ReportedEvent) -> Self {
        let event = tenantry_types::ReportedEvent::try_from(event.clone()).unwrap();
        Self(event.occurred_at)
    }
}

#[tokio::test]
async fn a_full_outbox_keeps_the_newest_states_in_order_and_loses_nothing_that_holds() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 10);
    // Three tenants, each raised and cleared in turn, and raised at the end.
    for round in 0..201 {
        let turns = (1..=3).map(|tenant| turned(tenant, Condition::Hotspot, round % 2 == 0));
        outbox.append(batch(turns)).await.unwrap();
        assert!(*outbox.pending().borrow() <= 10);
    }
    let waiting = waiting(&outbox).await;
    assert_eq!(waiting.len(), 10);
    let mut newest = BTreeMap::new();
    for (tenant, kind) in &waiting {
        let before = newest.insert(*tenant, *kind);
        assert_ne!(before, Some(*kind), "in order, they alternate: {waiting:?}");
    }
    assert_eq!(newest, (1..=3).map(|tenant| (tenant, "hotspot-raised")).collect());
    assert!(dropped(&outbox).await.is_empty(), "superseded is not lost");
}

#[tokio::test]
async fn the_newest_state_that_had_to_give_way_is_told_when_there_is_room() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 8);
    let raised = (1..=20).map(|tenant| turned(tenant, Condition::Hotspot, true));
    outbox.append(batch(raised)).await.unwrap();
    // Seven of twenty, and the word on the others.
    assert_eq!((waiting(&outbox).await.len(), dropped(&outbox).await), (8, vec![13]));
    outbox
        .append(batch([turned(2, Condition::Hotspot, false)]))
        .await
        .unwrap();
    drop(outbox);

    let (outbox, record) = folder.open(2, 8);
    assert_eq!(record.tenants.len(), 19);
    let mut told = BTreeMap::new();
    while let Some(batch) = outbox.oldest(3).await.unwrap() {
        for event in &batch.events {
            if let Ok(tenant) = event.event.tenant_uid.parse::<tenantry_types::TenantUid>() {
                let detail = EventDetail::try_from(event.event.detail.clone().unwrap()).unwrap();
                told.insert(tenant.as_u128(), detail.kind());
            }
        }
        let last = batch.events.last().unwrap().sequence;
        outbox.acknowledge(batch.incarnation, last).await.unwrap();
    }
    let expected = (1..=20).map(|tenant| {
        (
            tenant,
            if tenant == 2 {
                "hotspot-cleared"
            } else {
                "hotspot-raised"
            },
        )
    });
    assert_eq!(told, expected.collect());
}

#[tokio::test]
async fn what_is_for_the_record_goes_before_warnings_and_the_words_on_it_are_one() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 4);
    let events = [
        crossed(1, 1),
        turned(2, Condition::Hotspot, false),
        crossed(3, 1),
        crossed(4, 1),
        crossed(5, 1),
        crossed(6, 1),
        crossed(7, 1),
    ];
    for event in events {
        outbox.append(batch([event])).await.unwrap();
    }
    let expected = [
        (5, "quota-crossed"),
        (6, "quota-crossed"),
        (0, "events-dropped"),
        (7, "quota-crossed"),
    ];
    let mut waiting = waiting(&outbox).await;
    waiting.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(waiting, expected);
    assert_eq!(dropped(&outbox).await, [4]);
}

#[tokio::test]
async fn a_burst_of_100_000_events_stays_within_its_bounds() {
    const CAPACITY: u64 = 1_000;
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, CAPACITY);
    for round in 0..100 {
        // Nobody's supersedes another's.
        let events = (0..1_000).map(|tenant| crossed(round * 1_000 + tenant + 1, 1));
        outbox.append(batch(events)).await.unwrap();
        assert!(*outbox.pending().borrow() <= CAPACITY);
    }
    let waiting = waiting(&outbox).await;
    let kept = waiting.iter().filter(|(_, kind)| *kind == "quota-crossed").count() as u64;
    assert_eq!(dropped(&outbox).await, [100_000 - kept]);
    assert_eq!(kept + 1, CAPACITY);
    assert_eq!(waiting[0].0, 100_000 - 1_000 + 2, "the oldest gave way");
    assert!(folder.bytes() < 12 << 20, "{} bytes", folder.bytes());
}

#[tokio::test]
async fn a_full_inbox_takes_nothing_and_holds_nobody_up() {
    let folder = Folder::new();
    let (outbox, _) = folder.open(1, 100_000);
    // The thread cannot write while another has the file.
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut receipts = Vec::new();
    for tenant in 1..=100 {
        let receipt = outbox.try_append(batch([turned(tenant, Condition::Hotspot, true)]));
        receipts.push((tenant, receipt));
    }
    outbox.tell_raised_again();
    let taken = receipts.iter().filter(|(_, receipt)| receipt.is_some()).count();
    assert!(taken < 100, "{taken} taken");
    other.execute_batch("COMMIT").unwrap();
    let mut written = Vec::new();
    for (tenant, receipt) in receipts {
        if let Some(mut receipt) = receipt
            && receipt.written().await
        {
            written.push(uid(tenant));
        }
    }
    // Exactly what the receipts say is on record.
    outbox.append(Batch::default()).await.unwrap();
    drop(outbox);
    let (_, record) = folder.open(2, 100_000);
    let mut on_record: Vec<_> = record.tenants.into_keys().collect();
    on_record.sort_unstable();
    assert_eq!(on_record, written);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_record_begins_anew() {
    let damages: [(&str, fn(&Path)); 4] = [
        ("cut short", |file| {
            let length = std::fs::metadata(file).unwrap().len();
            let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(length / 2).unwrap();
        }),
        ("not a database", |file| std::fs::write(file, vec![7; 10_000]).unwrap()),
        ("a torn page", |file| {
            let mut bytes = std::fs::read(file).unwrap();
            bytes[4_096..8_192].fill(0xa5);
            std::fs::write(file, bytes).unwrap();
        }),
        ("empty", |file| std::fs::write(file, []).unwrap()),
    ];
    for (name, damage) in damages {
        let folder = Folder::new();
        let (outbox, _) = folder.open(1, 10_000);
        let events = (1..=500).map(|tenant| turned(tenant, Condition::Hotspot, true));
        outbox.append(batch(events)).await.unwrap();
        outbox.close();
        for companion in ["outbox.db-wal", "outbox.db-shm"] {
            let _ = std::fs::remove_file(folder.0.path().join(companion));
        }
        damage(&folder.file());
        let (outbox, record) = folder.open(2, 10_000);
        assert_eq!(
            (outbox.record_since(), record),
            (Incarnation(2), Record::default()),
            "{name}"
        );
        outbox.append(batch([crossed(1, 1)])).await.unwrap();
        assert_eq!(waiting(&outbox).await, [(1, "quota-crossed")], "{name}");
        outbox.close();
        let aside = folder.0.path().join("outbox.db.damaged");
        assert_eq!(aside.exists(), name != "empty", "{name}");
    }
}

#[test]
fn a_file_that_cannot_be_had_is_no_reason_to_begin_anew() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file()).unwrap();
    let refused = Outbox::open(&folder.file(), Incarnation(1), 10);
    assert!(matches!(refused, Err(OutboxError::Storage { .. })));
}
