//! Open files: one limit of the process, divided between connections and databases before either begins.

/// For the log, the listeners, the routing table, the outbox and what libraries keep open.
const OTHERS: usize = 128;
/// Where the system sets no limit, or one beyond use.
const ENOUGH: usize = 1 << 20;

/// What each side may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBudget {
    /// Connections on each of the two listeners.
    pub connections: usize,
    /// Files of databases.
    pub databases: usize,
}

impl FileBudget {
    /// Divides `limit` files: as many connections on each listener as are wished for, the rest for databases, and at least half of all
    /// for these.
    #[must_use]
    pub fn divide(limit: usize, wished_connections: usize) -> Self {
        let usable = limit.saturating_sub(OTHERS);
        let databases = usable.saturating_sub(2 * wished_connections).max(usable / 2);
        Self {
            connections: wished_connections.min((usable - databases) / 2).max(1),
            databases,
        }
    }
}

/// Raises the process's limit of open files as far as it may and returns it.
#[must_use]
pub fn raise() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files could not be raised");
            limit.current
        }
    };
    in_force
        .and_then(|files| usize::try_from(files).ok())
        .map_or(ENOUGH, |files| files.min(ENOUGH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_get_what_connections_leave_and_at_least_half() {
        let cases = [
            (ENOUGH, 4_096, 4_096, ENOUGH - 8_192 - OTHERS),
            (20_000, 4_096, 4_096, 11_680),
            (1_024, 4_096, 224, 448),
            (1_024, 100, 100, 696),
            (0, 100, 1, 0),
        ];
        for (limit, wished, connections, databases) in cases {
            let expected = FileBudget { connections, databases };
            assert_eq!(FileBudget::divide(limit, wished), expected, "{limit} {wished}");
        }
    }

    #[test]
    fn the_limit_is_at_least_what_it_was() {
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let raised = raise();
        assert!(before.is_none_or(|before| u64::try_from(raised).unwrap() >= before.min(1 << 20)));
    }
}
