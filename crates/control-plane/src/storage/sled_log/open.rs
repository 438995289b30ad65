//! Opening the log: lock, settle, read, check against the mark, and write anew what is in doubt. And closing it.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use service_runtime::telemetry;

use super::super::log_layout::Layout;
use super::super::{Identity, IdentityError, StoreError};
use super::database::Database;
use super::mark::{Ending, Mark};
use super::space::Limits;
use super::{quarantine, rewrite};

const DOING: &str = "open the log";

/// What to do with a folder that holds no log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Begin,
    Refuse,
}

/// What is lost by closing, and read again by opening.
pub(super) struct Open {
    pub(super) database: Database,
    pub(super) layout: Layout,
    pub(super) mark: Mark,
}

impl Open {
    pub(super) fn new(folder: &Path, identity: Identity, absent: Absent, limits: Limits) -> Result<Self, StoreError> {
        if absent == Absent::Refuse && !Mark::exists(folder) && !rewrite::current(folder).exists() {
            return Err(missing(folder));
        }
        quarantine::check(folder)?;
        let opened = guarded_open(|| match absent {
            Absent::Begin if !Mark::exists(folder) => begin(folder, identity),
            Absent::Begin | Absent::Refuse => open(folder, identity, absent, limits),
        });
        quarantine::judge(folder, opened)
    }

    /// Writes the whole log anew, in a fresh folder.
    pub(super) fn rewritten(self, folder: &Path, identity: Identity) -> Result<Self, StoreError> {
        let Self {
            database,
            layout,
            mut mark,
        } = self;
        let copied = rewrite::copy(&database, folder);
        database.close()?;
        copied?;
        rewrite::swap(folder)?;
        let (database, found) = read(folder, identity)?;
        if found != layout {
            return Err(StoreError::Damaged {
                what: "a copy of it differs".into(),
            });
        }
        rewrite::forget_replaced(folder)?;
        mark.begin(layout.sequence())?;
        Ok(Self { database, layout, mark })
    }

    /// Closes a log whose writes all succeeded.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let synced = self.database.sync("close the log");
        self.database.close()?;
        synced?;
        self.mark.close()
    }

    /// Closes a log whose last write failed.
    pub(super) fn abandon(self) -> Result<(), StoreError> {
        self.database.close()
    }
}

/// Begins a log where there is none. Until the mark exists, nothing was ever promised.
fn begin(folder: &Path, identity: Identity) -> Result<Open, StoreError> {
    let io = |source| StoreError::Io { doing: DOING, source };
    let path = rewrite::current(folder);
    fs::create_dir_all(&path).map_err(io)?;
    let database = Database::open(&path)?;
    let layout = match Layout::read(&database, &place(folder), identity)? {
        // An earlier start got just as far.
        Some(layout) if layout == Layout::begin(identity).0 => {
            database.sync(DOING)?;
            layout
        }
        Some(_) => return Err(mark_is_gone()),
        None => {
            let (layout, plan) = Layout::begin(identity);
            database.write(DOING, &plan.changes)?;
            layout
        }
    };
    rewrite::sync_all_files(&path).map_err(io)?;
    let mark = Mark::create(folder, layout.sequence())?;
    rewrite::sync_folder(folder).map_err(io)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        rewrite::sync_folder(parent).map_err(io)?;
    }
    Ok(Open { database, layout, mark })
}

fn open(folder: &Path, identity: Identity, absent: Absent, limits: Limits) -> Result<Open, StoreError> {
    if !Mark::exists(folder) {
        return Err(mark_is_gone());
    }
    limits.check_space(folder, DOING)?;
    let (mark, ending) = Mark::open(folder)?;
    rewrite::settle(folder)?;
    if !rewrite::current(folder).join("db").exists() {
        return Err(match absent {
            Absent::Begin => StoreError::Damaged {
                what: "its database is gone".into(),
            },
            Absent::Refuse => missing(folder),
        });
    }
    let (database, layout) = read(folder, identity)?;
    if layout.sequence() < mark.sequence() {
        let (found, durable) = (layout.sequence(), mark.sequence());
        return Err(StoreError::Damaged {
            what: format!("it ends at change {found}, but change {durable} was durable"),
        });
    }
    let mut opened = Open { database, layout, mark };
    match ending {
        Ending::Orderly => {
            opened.database.sync(DOING)?;
            opened.mark.begin(opened.layout.sequence())?;
            rewrite::forget_replaced(folder)?;
            Ok(opened)
        }
        Ending::Abrupt => {
            limits.check_room(folder, opened.layout.live_bytes())?;
            opened.rewritten(folder, identity)
        }
    }
}

fn mark_is_gone() -> StoreError {
    StoreError::Damaged {
        what: "its mark is gone".into(),
    }
}

fn read(folder: &Path, identity: Identity) -> Result<(Database, Layout), StoreError> {
    let database = Database::open(&rewrite::current(folder))?;
    match Layout::read(&database, &place(folder), identity)? {
        Some(layout) => Ok((database, layout)),
        None => Err(StoreError::Damaged {
            what: "its database is empty".into(),
        }),
    }
}

fn place(folder: &Path) -> String {
    folder.display().to_string()
}

fn missing(folder: &Path) -> StoreError {
    IdentityError::Incomplete {
        folder: folder.to_owned(),
        missing: "its Raft log",
    }
    .into()
}

/// sled panics on some damage where it should answer an error.
fn guarded_open<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    telemetry::contain(work).unwrap_or_else(|panic| {
        Err(StoreError::Damaged {
            what: format!("sled panicked: {}", panic_text(panic.as_ref())),
        })
    })
}

/// While it is in use, a panic of sled's is like a failed write: the log is to be opened again, and is judged then. The
/// daemons do not get this far, since a panic ends them.
pub(super) fn guarded<T>(doing: &'static str, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(StoreError::Io {
            doing,
            source: io::Error::other(format!("sled panicked: {}", panic_text(panic.as_ref()))),
        })
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}
