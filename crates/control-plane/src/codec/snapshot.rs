//! The state as a stream of length-delimited records, so that neither side ever holds it encoded as a whole.

use std::io::{ErrorKind, Read, Write};

use prost::Message as _;
use tenantry_proto::internal::v1::{SnapshotEnd, SnapshotRecord};
use tenantry_state::{Record, Restorer, State};

use super::record::{from_wire, to_wire};
use super::{DecodeError, EncodeError};

/// The version that this binary writes, and the only one that it reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// No record is larger, encoded. The largest possible one, a tenant with all its labels and domains, is far smaller.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// Writes the whole state. Equal states give equal bytes.
///
/// # Errors
/// Those of `out`; and for a record that could not be read again.
pub fn write_state(state: &State, out: &mut dyn Write) -> Result<(), EncodeError> {
    let mut end = SnapshotEnd {
        state_digest: state.digest(),
        ..SnapshotEnd::default()
    };
    let mut buffer = Vec::new();
    for record in state.records() {
        if let Some(count) = count_of(&mut end, &record).1 {
            *count += 1;
        }
        write_record(
            &SnapshotRecord {
                record: Some(to_wire(&record)),
            },
            &mut buffer,
            out,
        )?;
    }
    let end = tenantry_proto::internal::v1::snapshot_record::Record::End(end);
    write_record(&SnapshotRecord { record: Some(end) }, &mut buffer, out)
}

/// Reads a whole state, and checks that it is the one that was written. Reads `input` to its end.
///
/// # Errors
/// When the stream is cut short or damaged, or was written by a binary with another format.
pub fn read_state(input: &mut dyn Read) -> Result<State, DecodeError> {
    let mut restorer = Restorer::new();
    let mut found = SnapshotEnd::default();
    let mut records = 0;
    let mut buffer = Vec::new();
    let end = loop {
        let record = read_record(&mut buffer, input)?.ok_or(DecodeError::Truncated { records })?;
        match from_wire(record)? {
            Err(end) => break end,
            Ok(record) => {
                records += 1;
                if let Some(count) = count_of(&mut found, &record).1 {
                    *count += 1;
                }
                restorer.add(record)?;
            }
        }
    };
    // The end of the stream is where the snapshot's own checks are.
    if read_record(&mut buffer, input)?.is_some() {
        return Err(DecodeError::UnknownRecord);
    }
    let pairs = [
        ("tenants", found.tenants, end.tenants),
        ("nodes", found.nodes, end.nodes),
        ("events", found.events, end.events),
        ("cursors", found.cursors, end.cursors),
        ("requests", found.requests, end.requests),
        ("signing keys", found.signing_keys, end.signing_keys),
    ];
    for (table, found, written) in pairs {
        if found != written {
            return Err(DecodeError::CountMismatch { table, found, written });
        }
    }
    let state = restorer.finish()?;
    let (found, written) = (state.digest(), end.state_digest);
    if found != written {
        return Err(DecodeError::DigestMismatch { found, written });
    }
    Ok(state)
}

/// The table that a record belongs to, and its count. The head has none.
fn count_of<'end>(end: &'end mut SnapshotEnd, record: &Record) -> (&'static str, Option<&'end mut u64>) {
    match record {
        Record::Head { .. } => ("head", None),
        Record::Tenant(_) => ("tenants", Some(&mut end.tenants)),
        Record::Node(_) => ("nodes", Some(&mut end.nodes)),
        Record::Event(_) => ("events", Some(&mut end.events)),
        Record::Cursor(..) => ("cursors", Some(&mut end.cursors)),
        Record::Request(_) => ("requests", Some(&mut end.requests)),
        Record::Key(_) => ("signing keys", Some(&mut end.signing_keys)),
    }
}

fn write_record(record: &SnapshotRecord, buffer: &mut Vec<u8>, out: &mut dyn Write) -> Result<(), EncodeError> {
    buffer.clear();
    record
        .encode(buffer)
        .map_err(|error| EncodeError::Io(std::io::Error::other(error)))?;
    let bytes = buffer.len();
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_RECORD_BYTES);
    let length = length.ok_or(EncodeError::RecordTooLarge {
        bytes,
        limit: MAX_RECORD_BYTES,
    })?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(buffer)?;
    Ok(())
}

/// The next record; `None` at the end of the stream.
fn read_record(
    buffer: &mut Vec<u8>,
    input: &mut dyn Read,
) -> Result<Option<tenantry_proto::internal::v1::snapshot_record::Record>, DecodeError> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match input.read(length.get_mut(have..).unwrap_or_default()) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(DecodeError::Io(ErrorKind::UnexpectedEof.into())),
            Ok(read) => have += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(DecodeError::Io(error)),
        }
    }
    let bytes = u32::from_le_bytes(length);
    let size = usize::try_from(bytes).unwrap_or(usize::MAX);
    if size > MAX_RECORD_BYTES {
        return Err(DecodeError::RecordTooLarge {
            bytes: u64::from(bytes),
            limit: MAX_RECORD_BYTES,
        });
    }
    buffer.resize(size, 0);
    input.read_exact(buffer).map_err(DecodeError::Io)?;
    let record = SnapshotRecord::decode(buffer.as_slice())?;
    if record.encoded_len() != size {
        return Err(DecodeError::UnknownField);
    }
    record
        .record
        .map_or(Err(DecodeError::UnknownRecord), |record| Ok(Some(record)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_state::strategies::{histories, initialize, member_id, replay, tenant_of};
    use tenantry_state::{Command, Envelope, Fingerprint, Request, TierDecision};
    use tenantry_types::{
        ByteSize, Epoch, EventDetail, Incarnation, Labels, NodeCapacity, NodeEndpoints, NodeId, NodeSpec,
        ReportSequence, ReportedEvent, RequestId, Revision, Scheduling, TenantName, TenantUid, Tier, TierDefinition,
        TierPolicy, UnixMillis,
    };

    use super::*;

    fn written(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_state(state, &mut bytes).unwrap();
        bytes
    }

    /// The place of a command in `one_of_each`. A new command does not compile until it has one.
    fn place(command: &Command) -> usize {
        match command {
            Command::InitializeCluster { .. } => 0,
            Command::RegisterNode { .. } => 1,
            Command::SetNodeScheduling { .. } => 2,
            Command::CreateTenant { .. } => 3,
            Command::PlaceTenant { .. } => 4,
            Command::UpdateTenant { .. } => 5,
            Command::UpdateTier { .. } => 6,
            Command::RecordEvents { .. } => 7,
            Command::DeleteTenant { .. } => 8,
            Command::UndeleteTenant { .. } => 9,
        }
    }

    fn one_of_each() -> Vec<Envelope> {
        let id = NodeId::new("node-1").unwrap();
        let uid = TenantUid::from_u128(5);
        let spec = tenant_of(Tier::Small, TierPolicy::Auto { max_tier: Tier::Large }).spec;
        let endpoints = NodeEndpoints {
            data: "h:1".into(),
            peer: "h:2".into(),
            ops: "h:3".into(),
        };
        let capacity = NodeCapacity {
            max_tenants: 9,
            disk: ByteSize(1 << 30),
        };
        let node_spec = NodeSpec {
            endpoints,
            capacity,
            zone: "a".into(),
            labels: Labels::default(),
        };
        let detail = EventDetail::ClassChanged {
            from: Tier::Small,
            to: Tier::Medium,
            database_bytes: 1,
            requests_last_day: 2,
        };
        let event = ReportedEvent {
            sequence: ReportSequence(1),
            occurred_at: UnixMillis(3),
            tenant: Some(uid),
            detail,
        };
        let changed = TierDefinition {
            weight: 77,
            ..TierDefinition::defaults()[0]
        };
        let commands = vec![
            initialize(1),
            Command::RegisterNode {
                id: id.clone(),
                incarnation: Incarnation(1),
                spec: node_spec,
            },
            Command::SetNodeScheduling {
                id: id.clone(),
                scheduling: Scheduling::Cordoned,
            },
            Command::CreateTenant {
                uid,
                name: TenantName::new("acme").unwrap(),
                spec: spec.clone(),
                node: None,
            },
            Command::PlaceTenant {
                uid,
                node: id.clone(),
                expected_epoch: Epoch::ZERO,
            },
            Command::UpdateTenant {
                uid,
                expected: None,
                spec: tenantry_types::TenantSpec {
                    tier: Tier::Small,
                    durability: tenantry_types::Durability::Replicated,
                    ..spec
                },
            },
            Command::UpdateTier { definition: changed },
            Command::RecordEvents {
                node: id,
                incarnation: Incarnation(1),
                events: vec![event],
                tier_changes: vec![TierDecision {
                    uid,
                    from: Tier::Small,
                    to: Tier::Medium,
                }],
            },
            Command::DeleteTenant {
                uid,
                expected: None,
                purge_at: UnixMillis(u64::MAX),
            },
            Command::UndeleteTenant { uid },
        ];
        for (index, command) in commands.iter().enumerate() {
            assert_eq!(place(command), index);
        }
        (1..)
            .zip(commands)
            .map(|(number, command)| Envelope {
                now: UnixMillis(number),
                proposed_by: member_id(1),
                request: Some(Request {
                    id: RequestId::from_u128(u128::from(number)),
                    fingerprint: Fingerprint(number),
                }),
                command,
            })
            .collect()
    }

    #[test]
    fn the_effect_of_every_command_is_there_after_a_restore() {
        let mut state = State::new();
        for (revision, envelope) in (1..).zip(one_of_each()) {
            let before = state.digest();
            let applied = tenantry_state::apply(&mut state, Revision(revision), envelope);
            assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
            assert_ne!(before, state.digest(), "the command at {revision} left no trace");
            assert_eq!(read_state(&mut written(&state).as_slice()).unwrap(), state);
        }
    }

    #[test]
    fn a_stream_that_is_cut_short_anywhere_is_refused() {
        let bytes = written(&replay(&one_of_each()));
        for cut in 0..bytes.len() {
            assert!(read_state(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    fn states() -> impl Strategy<Value = State> {
        histories(1..40).prop_map(|history| replay(&history))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_state_reads_back(state in states()) {
            let bytes = written(&state);
            let restored = read_state(&mut bytes.as_slice()).unwrap();
            prop_assert_eq!(restored.digest(), state.digest());
            prop_assert_eq!(written(&restored), bytes);
            prop_assert_eq!(restored, state);
        }

        #[test]
        fn damage_never_panics(state in states(), at in any::<prop::sample::Index>(), mask in 1_u8..) {
            let mut bytes = written(&state);
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            // Most damage is found; what is not must at least be a consistent state.
            if let Ok(state) = read_state(&mut bytes.as_slice()) {
                prop_assert_eq!(state.check(), Ok(()));
            }
        }
    }
}
