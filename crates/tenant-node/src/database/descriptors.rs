//! File descriptors for databases: how many there are, and that no tenant takes those of the others.
//!
//! A connection needs two descriptors: of the file and of the write-ahead log.
//! Every open tenant is sure of its first connection; further ones come out of a common stock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Descriptors of a connection.
const CONNECTION: usize = 2;

/// How the descriptors are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    /// Tenants that may be open at once.
    pub(super) open_tenants: usize,
    /// Further connections, of all tenants.
    pub(super) further_connections: usize,
}

/// Divides `descriptors` for as many open tenants as are wished for, as far as they go: at most three quarters are for first connections.
pub(super) fn divide(descriptors: usize, wished_open: usize) -> Division {
    let open_tenants = wished_open.min(descriptors / 4 * 3 / CONNECTION).max(1);
    Division {
        open_tenants,
        further_connections: (descriptors / CONNECTION).saturating_sub(open_tenants),
    }
}

/// The further connections that may still be opened.
#[derive(Debug)]
pub(super) struct Stock {
    left: AtomicUsize,
    all: usize,
}

impl Stock {
    pub(super) fn new(further_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(further_connections),
            all: further_connections,
        })
    }

    /// Whether there are so few left that idle connections should be closed rather than kept.
    pub(super) fn is_short(&self) -> bool {
        self.left.load(Relaxed) < self.all / 2
    }

    fn take(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Relaxed, Relaxed, less).ok()?;
        Some(ConnectionSlot::Further(Arc::clone(self)))
    }
}

/// The right to have one connection open; given back when dropped.
#[derive(Debug)]
pub(super) enum ConnectionSlot {
    /// The tenant's own.
    First(Arc<AtomicBool>),
    /// Out of the common stock.
    Further(Arc<Stock>),
}

impl ConnectionSlot {
    /// A slot for a tenant whose first connection is told about by `first`; `None` when the stock is used up.
    pub(super) fn take(first: &Arc<AtomicBool>, stock: &Arc<Stock>) -> Option<Self> {
        if first.swap(true, Relaxed) {
            stock.take()
        } else {
            Some(Self::First(Arc::clone(first)))
        }
    }

    /// Whether it should be given back as soon as nobody uses it.
    pub(super) fn is_wanted_elsewhere(&self) -> bool {
        match self {
            Self::First(_) => false,
            Self::Further(stock) => stock.is_short(),
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        match self {
            Self::First(first) => first.store(false, Relaxed),
            Self::Further(stock) => {
                stock.left.fetch_add(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_so_that_some_are_left_for_further_connections() {
        let cases = [
            (20_000, 1_000, (1_000, 9_000)),
            (4_000, 1_000, (1_000, 1_000)),
            (1_000, 1_000, (375, 125)),
            (100, 1_000, (37, 13)),
            (0, 1_000, (1, 0)),
        ];
        for (descriptors, wished, (open_tenants, further_connections)) in cases {
            let expected = Division {
                open_tenants,
                further_connections,
            };
            assert_eq!(divide(descriptors, wished), expected, "{descriptors}");
        }
    }

    #[test]
    fn every_tenant_is_sure_of_one_connection_and_the_others_come_from_the_stock() {
        let stock = Stock::new(2);
        let tenants: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
        let slots: Vec<_> = tenants
            .iter()
            .map(|first| ConnectionSlot::take(first, &stock))
            .collect();
        assert!(slots.iter().all(Option::is_some));
        let further: Vec<_> = (0..3).map(|_| ConnectionSlot::take(&tenants[0], &stock)).collect();
        assert_eq!(further.iter().flatten().count(), 2);
        drop(further);
        assert!(ConnectionSlot::take(&tenants[0], &stock).is_some());
        drop(slots);
        assert!(matches!(
            ConnectionSlot::take(&tenants[0], &stock),
            Some(ConnectionSlot::First(_))
        ));
    }
}
