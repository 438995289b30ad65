//! A small state machine: `set KEY VALUE` answers the value before it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use bytes::Bytes;
use tenantry_types::Revision;

use crate::raft::{FatalApply, RestoreError, StateMachine};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyValues {
    pub(super) values: BTreeMap<String, String>,
    pub(super) published: u64,
}

pub(super) fn set(key: &str, value: &str) -> Bytes {
    Bytes::from(format!("set {key} {value}"))
}

impl StateMachine for KeyValues {
    type Answer = Option<String>;
    type Cut = BTreeMap<String, String>;

    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Option<String>, FatalApply> {
        assert!(revision.get() > self.published, "applied twice: {revision}");
        let text = std::str::from_utf8(command).unwrap();
        match text.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
            ["set", key, value] => Ok(self.values.insert((*key).to_owned(), (*value).to_owned())),
            _ => Err(FatalApply {
                reason: format!("unknown command {text:?}"),
            }),
        }
    }

    fn applied(&mut self, revision: Revision) {
        assert!(revision.get() >= self.published, "time went backwards");
        self.published = revision.get();
    }

    fn cut(&self) -> Self::Cut {
        self.values.clone()
    }

    fn write_snapshot(cut: &Self::Cut, out: &mut dyn Write) -> io::Result<()> {
        cut.iter().try_for_each(|(key, value)| writeln!(out, "{key} {value}"))
    }

    fn restore(&mut self, input: &mut dyn Read) -> Result<(), RestoreError> {
        let mut text = String::new();
        input.read_to_string(&mut text)?;
        let pairs = text.lines().map(|line| line.split_once(' '));
        let values = pairs.map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned())));
        self.values = values.collect::<Option<_>>().ok_or(RestoreError::Invalid {
            what: "a line without a value".into(),
        })?;
        Ok(())
    }

    fn digest(&self) -> u64 {
        let text: String = self
            .values
            .iter()
            .map(|(key, value)| format!("{key}={value};"))
            .collect();
        u64::from(crc32fast::hash(text.as_bytes()))
    }
}
