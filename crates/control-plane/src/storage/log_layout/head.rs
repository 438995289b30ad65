//! The one small record that describes the whole log.

use super::super::binary::{Input, Malformed, put_hard_state, put_position, take_hard_state, take_position};
use super::super::{HardState, LogPosition};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) hard_state: HardState,
    pub(super) snapshot: LogPosition,
    pub(super) compacted: LogPosition,
    pub(super) last: LogPosition,
    /// CRC-32 of the members' record; 0 if there is none.
    pub(super) members_crc: u32,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.sequence.to_le_bytes());
        put_hard_state(&mut out, self.hard_state);
        for position in [self.snapshot, self.compacted, self.last] {
            put_position(&mut out, position);
        }
        out.extend_from_slice(&self.members_crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input(bytes);
        let head = Self {
            sequence: input.u64()?,
            hard_state: take_hard_state(&mut input)?,
            snapshot: take_position(&mut input)?,
            compacted: take_position(&mut input)?,
            last: take_position(&mut input)?,
            members_crc: input.u32()?,
        };
        input.finish()?;
        Ok(head)
    }
}
