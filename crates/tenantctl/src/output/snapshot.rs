//! What is printed of snapshot files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use snapshot_format::Summary;
use tenantry_proto::v1::SnapshotFileStart;

use super::table::fields;
use super::units::{NONE, bytes, count};

/// A file that was saved.
#[derive(Debug, Serialize)]
pub(crate) struct SavedFile {
    file: PathBuf,
    answered_by: u64,
    index: u64,
    term: u64,
    cluster_epoch: Option<u64>,
    tenants: u64,
    size_bytes: u64,
}

impl SavedFile {
    pub(crate) fn new(file: &Path, start: &SnapshotFileStart, summary: &Summary) -> Self {
        Self {
            file: file.to_owned(),
            answered_by: start.answered_by,
            index: start.index,
            term: start.term,
            cluster_epoch: summary.head.cluster.as_ref().map(|cluster| cluster.cluster_epoch),
            tenants: summary.counts.tenants,
            size_bytes: start.size_bytes,
        }
    }
}

impl fmt::Display for SavedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "saved {} from member {}: up to index {}, {} tenants, {}\nIt holds secrets: keep it as safe as the control plane's own disks.",
            self.file.display(),
            self.answered_by,
            self.index,
            count(self.tenants),
            bytes(self.size_bytes)
        )
    }
}

/// A whole file, verified.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotFile {
    format: u16,
    cluster_uid: Option<String>,
    cluster_epoch: Option<u64>,
    index: u64,
    term: u64,
    revision: u64,
    /// 16 hexadecimal digits: more than a JSON number holds exactly.
    cluster_fingerprint: String,
    voters: Vec<u64>,
    learners: Vec<u64>,
    addresses: BTreeMap<u64, String>,
    tenants: u64,
    nodes: u64,
    events: u64,
    report_cursors: u64,
    kept_answers: u64,
    signing_keys: u64,
    conditions: u64,
    proposed_moves: u64,
    webhooks: u64,
    dead_letters: u64,
    size_bytes: u64,
    state_bytes: u64,
    /// 16 hexadecimal digits; as its writer computed it.
    state_digest: String,
}

impl SnapshotFile {
    pub(crate) fn new(summary: &Summary, size_bytes: u64) -> Self {
        let Summary {
            format,
            header,
            head,
            counts,
            state_bytes,
            state_digest,
        } = summary;
        let members = header.members.clone().unwrap_or_default();
        Self {
            format: *format,
            cluster_uid: head.cluster.as_ref().map(|cluster| cluster.cluster_uid.clone()),
            cluster_epoch: head.cluster.as_ref().map(|cluster| cluster.cluster_epoch),
            index: header.index,
            term: header.term,
            revision: head.revision,
            cluster_fingerprint: format!("{:016x}", header.cluster_fingerprint),
            voters: members.voters,
            learners: members.learners,
            addresses: members.addresses,
            tenants: counts.tenants,
            nodes: counts.nodes,
            events: counts.events,
            report_cursors: counts.cursors,
            kept_answers: counts.requests,
            signing_keys: counts.signing_keys,
            conditions: counts.conditions,
            proposed_moves: counts.moves,
            webhooks: counts.webhooks,
            dead_letters: counts.dead_letters,
            size_bytes,
            state_bytes: *state_bytes,
            state_digest: format!("{state_digest:016x}"),
        }
    }

    pub(crate) fn to_table(&self) -> String {
        let list = |ids: &[u64]| match ids {
            [] => NONE.to_owned(),
            ids => {
                let member = |id: &u64| match self.addresses.get(id) {
                    Some(address) => format!("{id}={address}"),
                    None => id.to_string(),
                };
                ids.iter().map(member).collect::<Vec<_>>().join(", ")
            }
        };
        fields([
            ("cluster", self.cluster_uid.clone().unwrap_or_else(|| NONE.to_owned())),
            (
                "epoch",
                self.cluster_epoch
                    .map_or_else(|| NONE.to_owned(), |epoch| epoch.to_string()),
            ),
            ("index", self.index.to_string()),
            ("term", self.term.to_string()),
            ("revision", self.revision.to_string()),
            ("fingerprint", self.cluster_fingerprint.clone()),
            ("voters", list(&self.voters)),
            ("learners", list(&self.learners)),
            ("tenants", count(self.tenants)),
            ("nodes", count(self.nodes)),
            ("events", count(self.events)),
            ("report cursors", count(self.report_cursors)),
            ("kept answers", count(self.kept_answers)),
            ("signing keys", count(self.signing_keys)),
            ("conditions", count(self.conditions)),
            ("proposed moves", count(self.proposed_moves)),
            ("webhooks", count(self.webhooks)),
            ("dead letters", count(self.dead_letters)),
            ("format", self.format.to_string()),
            ("size", bytes(self.size_bytes)),
            ("state", bytes(self.state_bytes)),
            ("digest", self.state_digest.clone()),
        ])
    }
}
