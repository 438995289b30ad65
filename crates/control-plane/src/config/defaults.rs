//! The defaults of a member's options, each in one place.

use std::time::Duration;

use service_runtime::options::loopback;
use webhook_delivery::Schedule;

use super::Options;

impl Options {
    /// What was given, and the default of what was not. An option that is still absent has none.
    ///
    /// Doing it twice changes nothing, and every option is named here, so that none can be forgotten.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        Self {
            member_id: self.member_id,
            initial_members: self.initial_members,
            join: self.join,
            data_dir: self.data_dir,
            listen: self.listen.or(Some(loopback(7401))),
            ops_listen: self.ops_listen.or(Some(loopback(7411))),
            tick_ms: self.tick_ms.or(Some(50)),
            snapshot_every: self.snapshot_every.or(Some(10_000)),
            log_keep: self.log_keep.or(Some(5_000)),
            heartbeat_ms: self.heartbeat_ms.or(Some(2_000)),
            suspect_ms: self.suspect_ms.or(Some(7_000)),
            down_ms: self.down_ms.or(Some(30_000)),
            purge_hours: self.purge_hours.or(Some(168)),
            webhook_networks: self.webhook_networks,
            webhook_ca_file: self.webhook_ca_file,
            webhook_pauses_ms: self
                .webhook_pauses_ms
                .or_else(|| Some(in_millis(&Schedule::DEFAULT_DELAYS))),
            tls_ca: self.tls_ca,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            insecure_dev: self.insecure_dev.or(Some(false)),
        }
    }
}

fn in_millis(pauses: &[Duration]) -> String {
    let pauses: Vec<String> = pauses.iter().map(|pause| pause.as_millis().to_string()).collect();
    pauses.join(",")
}
