//! How much memory SQLite holds for a tenant, and for all of them: exact, because SQLite asks for all of it here, and limited at the moment
//! it asks. SQLite's own figures and limit would have each allocation of the process wait for one lock, which a thread of low priority can
//! hold for as long as the kernel lets it wait.
//!
//! All work of a tenant runs inside [`MemoryAccount::enter`]; what SQLite takes on that thread meanwhile is put on the account, and what
//! it gives back is taken off. A thread draws from the account in advance, so that most allocations touch nothing that is shared. What is
//! refused makes the statement fail with SQLite's "out of memory", and nothing else.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What a thread draws from an account at once, in bytes.
const DRAW: i64 = 256 << 10;

/// SQLite needs about this much to open a database and to say what is wrong, whatever a quota says.
const LEAST_LIMIT: i64 = 4 << 20;

/// What SQLite holds for one tenant.
#[derive(Debug)]
pub(super) struct MemoryAccount {
    own: Held,
    node: Arc<NodeMemory>,
}

/// What SQLite holds for all tenants of a node.
#[derive(Debug)]
pub(super) struct NodeMemory(Held);

/// Bytes, and how many there may be.
#[derive(Debug)]
struct Held {
    bytes: AtomicI64,
    limit: AtomicI64,
}

impl NodeMemory {
    /// All tenants together may hold so many bytes.
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        let held = Held::new();
        held.set_limit(limit_bytes);
        Arc::new(Self(held))
    }
}

impl Held {
    const fn new() -> Self {
        Self {
            bytes: AtomicI64::new(0),
            limit: AtomicI64::new(i64::MAX),
        }
    }

    fn set_limit(&self, bytes: u64) {
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX).max(LEAST_LIMIT);
        self.limit.store(limit, Relaxed);
    }

    /// Takes so many more if there may be. What does not fit is never seen by others, to whom it would look as if there were none left.
    fn add(&self, bytes: i64) -> bool {
        let limit = self.limit.load(Relaxed);
        let more = |held: i64| held.checked_add(bytes).filter(|held| *held <= limit);
        self.bytes.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn subtract(&self, bytes: i64) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

thread_local! {
    /// Whose memory it is.
    static ACCOUNT: RefCell<Option<Arc<MemoryAccount>>> = const { RefCell::new(None) };
    /// Bytes drawn from the account that nobody uses; `None` while no account is entered.
    static DRAWN: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Until it is dropped, SQLite's memory on this thread is the account's.
#[must_use]
pub(super) struct Entered {
    /// Whether this is the outermost one.
    outermost: bool,
}

impl MemoryAccount {
    pub(super) const fn new(node: Arc<NodeMemory>) -> Self {
        Self { own: Held::new(), node }
    }

    /// What the tenant may hold from now on, in bytes. What it holds already stays.
    pub(super) fn set_limit(&self, bytes: u64) {
        self.own.set_limit(bytes);
    }

    /// What it holds, in bytes, up to what threads have drawn in advance.
    pub(super) fn held_bytes(&self) -> u64 {
        u64::try_from(self.own.bytes.load(Relaxed)).unwrap_or(0)
    }

    /// Inside another call for the same tenant this does nothing.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        if DRAWN.get().is_some() {
            return Entered { outermost: false };
        }
        ACCOUNT.with(|account| *account.borrow_mut() = Some(Arc::clone(self)));
        DRAWN.set(Some(0));
        Entered { outermost: true }
    }

    fn draw(&self, bytes: i64) -> bool {
        if !self.own.add(bytes) {
            return false;
        }
        let fits = self.node.0.add(bytes);
        if !fits {
            self.own.subtract(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: i64) {
        self.own.subtract(bytes);
        self.node.0.subtract(bytes);
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        // What was never given back, if anything, is nobody's.
        self.node.0.subtract(self.own.bytes.load(Relaxed));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.outermost {
            return;
        }
        let drawn = DRAWN.take().unwrap_or(0);
        if let Some(account) = ACCOUNT.with(|account| account.borrow_mut().take()) {
            account.give_back(drawn);
        }
    }
}

/// SQLite wants this many bytes more. Whether it may have them.
pub(super) fn take(bytes: i64) -> bool {
    let Ok(Some(drawn)) = DRAWN.try_with(Cell::get) else {
        return true;
    };
    if drawn >= bytes {
        DRAWN.set(Some(drawn - bytes));
        return true;
    }
    let missing = bytes - drawn;
    let more = on_account(|account| {
        [missing.max(DRAW), missing]
            .into_iter()
            .find(|bytes| account.draw(*bytes))
    });
    match more {
        Some(more) => DRAWN.set(Some(drawn + more - bytes)),
        None => return false,
    }
    true
}

/// SQLite has given this many bytes back.
pub(super) fn give(bytes: i64) {
    let Ok(Some(drawn)) = DRAWN.try_with(Cell::get) else {
        return;
    };
    let drawn = drawn + bytes;
    let surplus = if drawn > 4 * DRAW { drawn - DRAW } else { 0 };
    DRAWN.set(Some(drawn - surplus));
    if surplus > 0 {
        on_account(|account| {
            account.give_back(surplus);
            None::<i64>
        });
    }
}

/// Memory that is not SQLite's and yet the tenant's, until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    bytes: i64,
}

impl Reserved {
    /// So many bytes more are wanted. Whether they may be taken.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let may = take(bytes);
        if may {
            self.bytes += bytes;
        }
        may
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        give(self.bytes);
    }
}

fn on_account(act: impl FnOnce(&MemoryAccount) -> Option<i64>) -> Option<i64> {
    ACCOUNT
        .try_with(|account| account.borrow().as_deref().and_then(act))
        .ok()
        .flatten()
}

#[cfg(test)]
impl Default for MemoryAccount {
    /// Of a node with all the memory that there is.
    fn default() -> Self {
        Self::new(NodeMemory::new(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_held_until_it_is_given_back_on_whatever_thread() {
        let account = Arc::new(MemoryAccount::default());
        {
            let _entered = account.enter();
            assert!(take(1_000));
            assert!(take(DRAW));
        }
        assert_eq!(account.held_bytes(), 1_000 + DRAW.unsigned_abs());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _entered = account.enter();
                give(DRAW);
            });
        });
        assert_eq!(account.held_bytes(), 1_000);
    }

    #[test]
    fn the_limit_is_exact_and_counts_all_threads() {
        let account = Arc::new(MemoryAccount::default());
        account.set_limit(LEAST_LIMIT.unsigned_abs());
        let half = LEAST_LIMIT / 2;
        {
            let _entered = account.enter();
            assert!(take(half));
        }
        let _entered = account.enter();
        assert!(!take(half + 1));
        assert!(take(half));
        assert!(!take(1));
        give(half);
        assert!(take(half));
    }

    #[test]
    fn all_tenants_together_have_a_limit_too() {
        let node = NodeMemory::new(10 << 20);
        let account = || Arc::new(MemoryAccount::new(Arc::clone(&node)));
        let (one, other) = (account(), account());
        {
            let _entered = one.enter();
            assert!(take(7 << 20));
        }
        {
            let _entered = other.enter();
            assert!(!take(4 << 20));
            assert!(take(3 << 20));
            assert!(!take(1));
        }
        assert_eq!((one.held_bytes(), other.held_bytes()), (7 << 20, 3 << 20));
        {
            let _entered = one.enter();
            give(7 << 20);
        }
        let _entered = other.enter();
        assert!(take(7 << 20));
    }

    #[test]
    fn outside_of_an_account_nothing_is_counted() {
        let account = Arc::new(MemoryAccount::default());
        assert!(take(i64::MAX));
        give(1_000);
        assert_eq!(account.held_bytes(), 0);
    }

    #[test]
    fn what_was_drawn_in_advance_goes_back_and_much_that_is_given_back_goes_back_at_once() {
        let account = Arc::new(MemoryAccount::default());
        let _entered = account.enter();
        assert!(take(100 * DRAW));
        give(100 * DRAW);
        assert!(account.held_bytes() <= 4 * DRAW.unsigned_abs(), "{account:?}");
        {
            let _nested = account.enter();
            assert!(take(1));
            give(1);
        }
        drop(_entered);
        assert_eq!(account.held_bytes(), 0);
    }
}
