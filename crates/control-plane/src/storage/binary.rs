//! The bytes of small records: little-endian numbers and length-prefixed strings.
//!
//! Reading never panics and never trusts a length: what does not fit is `Malformed`.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_types::MemberId;

use super::{HardState, LogId, LogPosition, Members, MembersAt};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes values off the front of a slice.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("length"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("number"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-prefixed byte string.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u32()?).map_err(|_| Malformed("length"))?;
        self.bytes(len)
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("end"))
        }
    }
}

/// Appends a length-prefixed byte string of less than 4 GiB.
pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_hard_state(out: &mut Vec<u8>, state: HardState) {
    for number in [state.term, state.vote, state.commit] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn take_hard_state(input: &mut Input<'_>) -> Result<HardState, Malformed> {
    Ok(HardState {
        term: input.u64()?,
        vote: input.u64()?,
        commit: input.u64()?,
    })
}

pub(super) fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    for number in [position.index, position.term] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn take_position(input: &mut Input<'_>) -> Result<LogPosition, Malformed> {
    Ok(LogPosition {
        index: input.u64()?,
        term: input.u64()?,
    })
}

pub(super) fn put_members(out: &mut Vec<u8>, at: &MembersAt) {
    let members = &at.members;
    out.extend_from_slice(&at.index.to_le_bytes());
    for set in [
        &members.voters,
        &members.learners,
        &members.voters_outgoing,
        &members.learners_next,
    ] {
        put_ids(out, set);
    }
    out.push(u8::from(members.auto_leave));
    put_count(out, members.addresses.len());
    for (id, address) in &members.addresses {
        out.extend_from_slice(&id.get().to_le_bytes());
        put_blob(out, address.as_bytes());
    }
    put_count(out, members.logs.len());
    for (id, log) in &members.logs {
        out.extend_from_slice(&id.get().to_le_bytes());
        out.extend_from_slice(&log.get().to_le_bytes());
    }
    put_ids(out, &members.removed);
}

fn put_ids(out: &mut Vec<u8>, ids: &BTreeSet<MemberId>) {
    put_count(out, ids.len());
    for id in ids {
        out.extend_from_slice(&id.get().to_le_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn take_members(input: &mut Input<'_>) -> Result<MembersAt, Malformed> {
    let index = input.u64()?;
    let voters = take_ids(input)?;
    let learners = take_ids(input)?;
    let voters_outgoing = take_ids(input)?;
    let learners_next = take_ids(input)?;
    let auto_leave = match input.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("flag")),
    };
    let mut addresses = BTreeMap::new();
    for _ in 0..input.u32()? {
        let id = take_id(input)?;
        let address = std::str::from_utf8(input.blob()?).map_err(|_| Malformed("address"))?;
        addresses.insert(id, address.to_owned());
    }
    let mut logs = BTreeMap::new();
    for _ in 0..input.u32()? {
        let id = take_id(input)?;
        logs.insert(id, LogId::new(input.u64()?).ok_or(Malformed("log id"))?);
    }
    let removed = take_ids(input)?;
    let members = Members {
        voters,
        learners,
        voters_outgoing,
        learners_next,
        auto_leave,
        addresses,
        logs,
        removed,
    };
    Ok(MembersAt { index, members })
}

fn take_ids(input: &mut Input<'_>) -> Result<BTreeSet<MemberId>, Malformed> {
    let count = input.u32()?;
    (0..count).map(|_| take_id(input)).collect()
}

fn take_id(input: &mut Input<'_>) -> Result<MemberId, Malformed> {
    MemberId::new(input.u64()?).map_err(|_| Malformed("member id"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = BTreeSet<MemberId>> {
        proptest::collection::btree_set((1..u64::MAX).prop_map(|id| MemberId::new(id).unwrap()), 0..5)
    }

    proptest! {
        #[test]
        fn members_read_back_as_written(
            index: u64, voters in ids(), learners in ids(), outgoing in ids(), next in ids(), auto_leave: bool, name in ".{0,20}",
            removed in ids(), log in 1..u64::MAX,
        ) {
            let logs = learners.iter().map(|id| (*id, LogId::new(log).unwrap())).collect();
            let addresses = voters.iter().map(|id| (*id, name.clone())).collect();
            let at = MembersAt {
                index,
                members: Members { voters, learners, voters_outgoing: outgoing, learners_next: next, auto_leave, addresses, logs, removed },
            };
            let mut bytes = Vec::new();
            put_members(&mut bytes, &at);
            let mut input = Input(&bytes);
            prop_assert_eq!(take_members(&mut input), Ok(at));
            prop_assert_eq!(input.finish(), Ok(()));
            for cut in 0..bytes.len() {
                prop_assert!(take_members(&mut Input(&bytes[..cut])).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = take_members(&mut Input(&bytes));
            let _ = take_hard_state(&mut Input(&bytes));
            let _ = take_position(&mut Input(&bytes));
        }
    }
}
