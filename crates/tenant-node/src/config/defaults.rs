//! The defaults of a node's options, each in one place; some of them depend on the machine.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use service_runtime::disk::disk_space;
use service_runtime::options::loopback;

use super::Options;

/// What a node's defaults depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Processor cores that this process may use.
    pub cores: usize,
    /// Bytes of the data folder's file system.
    pub disk_size: u64,
}

impl Machine {
    /// This machine, with a data folder on a file system of `disk_size` bytes.
    #[must_use]
    pub fn with_disk(disk_size: u64) -> Self {
        Self {
            cores: thread::available_parallelism().map_or(2, NonZeroUsize::get),
            disk_size,
        }
    }

    /// This machine, with a data folder that may still have to be made.
    ///
    /// # Errors
    /// When the file system cannot be asked for its size.
    pub fn with_data_dir(data_dir: &Path) -> io::Result<Self> {
        // The folder will be made on the file system of the nearest one that is there.
        for folder in data_dir.ancestors() {
            let folder = match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => folder,
            };
            match disk_space(folder) {
                Ok(space) => return Ok(Self::with_disk(space.size)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Options {
    /// What was given, and the default of what was not. An option that is still absent has none.
    ///
    /// Doing it twice changes nothing, and every option is named here, so that none can be forgotten.
    #[must_use]
    pub fn with_defaults(self, machine: Machine) -> Self {
        let listen = self.listen.unwrap_or_else(|| loopback(8401));
        let peer_listen = self.peer_listen.unwrap_or_else(|| loopback(8421));
        let ops_listen = self.ops_listen.unwrap_or_else(|| loopback(8411));
        let running_queries = self.running_queries.unwrap_or(4 * machine.cores);
        Self {
            node_id: self.node_id,
            data_dir: self.data_dir,
            control_plane: self.control_plane,
            listen: Some(listen),
            peer_listen: Some(peer_listen),
            ops_listen: Some(ops_listen),
            advertise_data: self.advertise_data.or_else(|| reachable(listen)),
            advertise_peer: self.advertise_peer.or_else(|| reachable(peer_listen)),
            advertise_ops: self.advertise_ops.or_else(|| reachable(ops_listen)),
            host_suffix: self.host_suffix.or_else(|| Some("localhost".to_owned())),
            zone: self.zone,
            max_tenants: self.max_tenants.or(Some(10_000)),
            disk: self.disk.or_else(|| Some(format!("{} B", machine.disk_size))),
            max_open_tenants: self.max_open_tenants.or(Some(1_000)),
            idle_close_ms: self.idle_close_ms.or(Some(600_000)),
            running_queries: Some(running_queries),
            long_running_queries: self.long_running_queries.or(Some(machine.cores)),
            queries_per_tenant: self.queries_per_tenant.or(Some(running_queries.div_ceil(2))),
            sqlite_memory: self.sqlite_memory.or_else(|| Some("4GiB".to_owned())),
            node_log_size: self.node_log_size.or_else(|| Some("256MiB".to_owned())),
            sample_interval_ms: self.sample_interval_ms.or(Some(10_000)),
            node_millicores: self.node_millicores.or(Some(machine.cores as u64 * 1_000)),
            outbox_events: self.outbox_events.or(Some(10_000)),
            growth_interval_ms: self.growth_interval_ms.or(Some(300_000)),
            metrics_tenant_limit: self.metrics_tenant_limit.or(Some(1_000)),
            max_connections: self.max_connections.or(Some(4_096)),
            stop_notice_ms: self.stop_notice_ms.or(Some(1_000)),
            drain_ms: self.drain_ms.or(Some(10_000)),
            legacy_rate_limit_fields: self.legacy_rate_limit_fields.or(Some(false)),
            tls_ca: self.tls_ca,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            insecure_dev: self.insecure_dev.or(Some(false)),
        }
    }
}

/// What others are told of a socket that is bound to `address`. A wildcard leads nowhere for them.
fn reachable(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_folder_that_is_not_there_is_that_of_the_nearest_one() {
        let folder = tempfile::tempdir().unwrap();
        let here = disk_space(folder.path()).unwrap().size;
        let missing = folder.path().join("a/b");
        assert_eq!(Machine::with_data_dir(&missing).unwrap().disk_size, here);
        assert!(!folder.path().join("a").exists(), "nothing is made");
        let working = disk_space(Path::new(".")).unwrap().size;
        let relative = Path::new("no-such-folder/data");
        assert_eq!(Machine::with_data_dir(relative).unwrap().disk_size, working);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Machine::with_data_dir(&file.join("data")).is_err());
    }
}
