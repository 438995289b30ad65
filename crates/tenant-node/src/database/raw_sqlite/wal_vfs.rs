//! A file layer for SQLite that asks a [`WalKeeper`] where SQLite wants a commit synced in its write-ahead log; everything else goes
//! through to the layer below it unchanged.
//!
//! SQLite writes the frames of a commit to the log, syncs it, and only then lets other connections see the commit. So at that sync the
//! keeper knows all frames, and nobody else knows any. Syncs of anything but a commit (the header of a log that begins anew, a checkpoint)
//! are carried out; [`TELLS_CHECKPOINTS`] makes SQLite tell them apart. What is unexpected in any way is carried out as well. Nothing here
//! knows tenants, or where frames are kept.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

use super::super::unsynced_frames::{FrameCopy, UnsyncedFrames};
use super::super::wal_format::{HEADER_BYTES, HEADER_LENGTH, WalHeader};

/// Makes commits durable in another way than by a sync of the log's own file.
pub(in crate::database) trait WalKeeper: Send + Sync {
    /// A transaction is written whole, and nobody sees it yet.
    fn committing(&self, commit: &Commit<'_>) -> Kept;

    /// What the keeper did not keep was synced, up to this offset.
    fn synced(&self, header: &WalHeader, end: u64);

    /// Others see the last commit by now.
    fn visible(&self);

    /// How often any connection has asked so far. What a connection wrote before the last time belongs to no transaction that can still be
    /// committed.
    fn commits(&self) -> u64;

    /// The file could not be synced: the system may have dropped what it could not write, and will not say so again.
    fn sync_failed(&self, code: c_int);
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Kept {
    /// The keeper sees to it; no sync is needed.
    ByKeeper,
    /// The log has to be synced.
    Nowhere,
    /// The commit must fail.
    Failed,
}

/// A transaction at the end of a write-ahead log.
pub(in crate::database) struct Commit<'a> {
    pub(in crate::database) header: WalHeader,
    /// The first byte that was written since the last commit of this connection.
    pub(in crate::database) first_written: u64,
    /// Where the log ends now.
    pub(in crate::database) end: u64,
    copy: Cell<Option<FrameCopy>>,
    read: &'a dyn Fn(u64, &mut [u8]) -> bool,
}

impl Commit<'_> {
    /// The bytes of the log between two offsets; `None` where they could not be read.
    pub(in crate::database) fn frames(&self, begin: u64, end: u64) -> Option<Vec<u8>> {
        self.copy.take().and_then(|copy| copy.between(begin, end)).or_else(|| {
            let mut frames = vec![0; usize::try_from(end.checked_sub(begin)?).ok()?];
            (self.read)(begin, &mut frames).then_some(frames)
        })
    }
}

/// The name to open connections with; `None` where the layer below is missing. What is opened through it behaves as `below` unless
/// [`opening`] names a keeper.
pub(in crate::database) fn name(below: &CStr) -> Option<&'static str> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    REGISTERED.get_or_init(|| register(below)).then_some(NAME_TEXT)
}

/// Lets SQLite ask for a fuller sync of a checkpoint and of a header than of a commit. Where there is only one kind of sync, as on Linux, that
/// changes nothing below.
pub(in crate::database) const TELLS_CHECKPOINTS: &str = "PRAGMA checkpoint_fullfsync=ON";

const NAME: &CStr = c"tenantry";
const NAME_TEXT: &str = "tenantry";

/// Runs `open`, which opens a connection; its log is kept by `keeper`.
pub(in crate::database) fn opening<T>(keeper: Arc<dyn WalKeeper>, open: impl FnOnce() -> T) -> T {
    /// Forgets the keeper, also when `open` panicked.
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            KEEPER.with(|current| *current.borrow_mut() = None);
        }
    }
    KEEPER.with(|current| *current.borrow_mut() = Some(keeper));
    let _forget = Forget;
    open()
}

/// The bits of a sync's flags that say how much of a sync it is.
const SYNC_KIND: c_int = 0x0f;

thread_local! {
    /// Of the connection that this thread is opening.
    static KEEPER: RefCell<Option<Arc<dyn WalKeeper>>> = const { RefCell::new(None) };
}

/// The layer below.
struct Below(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's file layers are registered for the process and shared by all threads.
unsafe impl Send for Below {}
// SAFETY: as above; it is only read.
unsafe impl Sync for Below {}

static BELOW: OnceLock<Below> = OnceLock::new();

/// An open log. SQLite allocates it with as many bytes as the layer asks for; the file of the layer below begins right behind it.
#[repr(C)]
struct WalFile {
    base: ffi::sqlite3_file,
    state: *mut WalState,
}

/// What was written since the last sync, and who keeps it.
struct WalState {
    keeper: Arc<dyn WalKeeper>,
    /// [`WalKeeper::commits`] when the rest was noted.
    commits: u64,
    unsynced: UnsyncedFrames,
}

impl WalState {
    /// Comes before each write.
    fn forget_what_is_over(&mut self, offset: u64) {
        let commits = self.keeper.commits();
        let others_committed = std::mem::replace(&mut self.commits, commits) != commits;
        if offset < HEADER_BYTES || others_committed {
            // The log begins anew, or what was noted was rolled back long ago.
            self.unsynced.forget();
        }
    }
}

fn register(below: &CStr) -> bool {
    // SAFETY: `below` ends with a zero byte; SQLite gives a layer that lives for ever, or null.
    let found = unsafe { ffi::sqlite3_vfs_find(below.as_ptr()) };
    if found.is_null() {
        return false;
    }
    // SAFETY: it is not null, and nothing changes a registered layer.
    let mut ours = unsafe { *found };
    let Ok(own_bytes) = c_int::try_from(size_of::<WalFile>()) else {
        return false;
    };
    ours.szOsFile += own_bytes;
    ours.pNext = std::ptr::null_mut();
    ours.zName = NAME.as_ptr();
    ours.xOpen = Some(open);
    let _ = BELOW.set(Below(found));
    // It must live for as long as the process.
    let ours = Box::leak(Box::new(ours));
    // SAFETY: all of its functions but `open` are those of the layer below, which do not look at the layer that they are called by.
    unsafe { ffi::sqlite3_vfs_register(ours, 0) == ffi::SQLITE_OK }
}

unsafe extern "C" fn open(
    _layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(below) = BELOW.get() else {
        return ffi::SQLITE_CANTOPEN;
    };
    // SAFETY: it was found among the registered ones.
    let Some(open_below) = (unsafe { (*below.0).xOpen }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let keeper = (flags & ffi::SQLITE_OPEN_WAL != 0)
        .then(|| KEEPER.with(|current| current.borrow().clone()))
        .flatten();
    let Some(keeper) = keeper else {
        // SAFETY: SQLite's own arguments; the memory has room for a file of the layer below.
        return unsafe { open_below(below.0, name, file, flags, out_flags) };
    };
    let wal = file.cast::<WalFile>();
    // SAFETY: the memory has room for both; a file that is not opened must say so by having no methods.
    let opened = unsafe {
        (*wal).base.pMethods = std::ptr::null();
        open_below(below.0, name, inner(file), flags, out_flags)
    };
    if opened == ffi::SQLITE_OK {
        let state = WalState {
            commits: keeper.commits(),
            keeper,
            unsynced: UnsyncedFrames::default(),
        };
        // SAFETY: as above. `close` takes the state back.
        unsafe {
            (*wal).state = Box::into_raw(Box::new(state));
            (*wal).base.pMethods = &raw const METHODS;
        }
    }
    opened
}

/// The file of the layer below.
///
/// # Safety
/// `file` must be the beginning of what SQLite allocated for this layer.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the allocation goes on behind the `WalFile`, as `register` has asked for.
    unsafe { file.cast::<WalFile>().add(1).cast() }
}

/// Calls a method of the layer below.
macro_rules! below {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls methods of open files only, and gives each the arguments that it asks for.
        unsafe {
            let inner = inner($file);
            match (*(*inner).pMethods).$method {
                Some(method) => method(inner $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

/// Of version 1, since nothing else is asked of a write-ahead log.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // A header that is still held belongs to a frame that was never written.
    let closed = below!(file, xClose);
    // SAFETY: `open` made it; SQLite closes a file once.
    unsafe { drop(Box::from_raw((*file.cast::<WalFile>()).state)) };
    closed
}

/// The state of an open log.
///
/// # Safety
/// `file` must be an open log of this layer, and no other reference to its state may be in use.
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a mut WalState {
    // SAFETY: `open` made it and `close` takes it back; a file is used by one thread at a moment, that of its connection.
    unsafe { &mut *(*file.cast::<WalFile>()).state }
}

/// Writes what is held back.
fn write_held(file: *mut ffi::sqlite3_file, unsynced: &mut UnsyncedFrames) -> c_int {
    let Some(held) = unsynced.take_held() else {
        return ffi::SQLITE_OK;
    };
    write_alone(file, unsynced, held.offset, &held.bytes)
}

/// Writes something as SQLite gave it.
fn write_alone(file: *mut ffi::sqlite3_file, unsynced: &mut UnsyncedFrames, offset: u64, bytes: &[u8]) -> c_int {
    let written = write_below(file, offset, bytes);
    match written {
        ffi::SQLITE_OK => unsynced.wrote(offset, bytes),
        _ => unsynced.write_failed(),
    }
    written
}

fn write_below(file: *mut ffi::sqlite3_file, offset: u64, bytes: &[u8]) -> c_int {
    match (i64::try_from(offset), c_int::try_from(bytes.len())) {
        (Ok(offset), Ok(length)) => below!(file, xWrite, bytes.as_ptr().cast(), length, offset),
        _ => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files only.
    match write_held(file, unsafe { &mut state(file).unsynced }) {
        ffi::SQLITE_OK => below!(file, xRead, buffer, bytes, offset),
        failed => failed,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, content: *const c_void, bytes: c_int, offset: i64) -> c_int {
    let (Ok(offset), Ok(bytes)) = (u64::try_from(offset), usize::try_from(bytes)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite calls methods of open files only, and gave as many bytes as it said.
    let (state, content) = unsafe { (state(file), std::slice::from_raw_parts(content.cast::<u8>(), bytes)) };
    state.forget_what_is_over(offset);
    let unsynced = &mut state.unsynced;
    if unsynced.is_page_of_held(offset)
        && let Some((offset, frame)) = unsynced.join(content)
    {
        let written = write_below(file, offset, frame);
        if written != ffi::SQLITE_OK {
            unsynced.write_failed();
        }
        return written;
    }
    let held_written = write_held(file, unsynced);
    if held_written != ffi::SQLITE_OK || unsynced.hold(offset, content) {
        return held_written;
    }
    write_alone(file, unsynced, offset, content)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files only.
    let state = unsafe { state(file) };
    let held_written = write_held(file, &mut state.unsynced);
    if held_written != ffi::SQLITE_OK {
        return held_written;
    }
    let written = state.unsynced.take();
    let is_commit = flags & SYNC_KIND == ffi::SQLITE_SYNC_NORMAL;
    let keeper = &state.keeper;
    let sync_below = || {
        let synced = below!(file, xSync, flags);
        if synced != ffi::SQLITE_OK {
            keeper.sync_failed(synced);
        }
        synced
    };
    let (true, Some(last_frame), Some(first_written)) = (is_commit, written.last_frame, written.first) else {
        return sync_below();
    };
    let read = |offset: u64, buffer: &mut [u8]| {
        let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), c_int::try_from(buffer.len())) else {
            return false;
        };
        below!(file, xRead, buffer.as_mut_ptr().cast(), bytes, offset) == ffi::SQLITE_OK
    };
    let header = written.copy.as_ref().and_then(FrameCopy::header).or_else(|| {
        let mut header = [0; HEADER_LENGTH];
        read(0, &mut header).then(|| WalHeader::read(&header)).flatten()
    });
    let Some(header) = header else {
        return sync_below();
    };
    let end = last_frame + header.frame_bytes();
    let commit = Commit {
        header,
        first_written,
        end,
        copy: Cell::new(written.copy),
        read: &read,
    };
    match keeper.committing(&commit) {
        Kept::ByKeeper => ffi::SQLITE_OK,
        Kept::Failed => ffi::SQLITE_IOERR_FSYNC,
        Kept::Nowhere => {
            let synced = sync_below();
            if synced == ffi::SQLITE_OK {
                keeper.synced(&header, end);
            }
            synced
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files only.
    match write_held(file, unsafe { &mut state(file).unsynced }) {
        ffi::SQLITE_OK => below!(file, xTruncate, bytes),
        failed => failed,
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, bytes: *mut i64) -> c_int {
    // SAFETY: SQLite calls methods of open files only.
    match write_held(file, unsafe { &mut state(file).unsynced }) {
        ffi::SQLITE_OK => below!(file, xFileSize, bytes),
        failed => failed,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    below!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    below!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    below!(file, xCheckReservedLock, reserved)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    below!(file, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    below!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    below!(file, xDeviceCharacteristics)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use parking_lot::Mutex;
    use rusqlite::Connection;

    use super::*;

    /// Notes what it is asked, and answers the same each time.
    struct Noting {
        answer: Kept,
        asked: AtomicU64,
        commits: Mutex<Vec<(u64, Vec<u8>)>>,
        /// Whether each commit was copied when it was written.
        copied: Mutex<Vec<bool>>,
        synced: Mutex<Vec<u64>>,
    }

    impl WalKeeper for Noting {
        fn committing(&self, commit: &Commit<'_>) -> Kept {
            let mut in_file = vec![0; usize::try_from(commit.end - commit.first_written).unwrap()];
            assert!((commit.read)(commit.first_written, &mut in_file));
            let mut header = [0; HEADER_LENGTH];
            assert!((commit.read)(0, &mut header));
            assert_eq!(Some(commit.header), WalHeader::read(&header));
            let copy = commit.copy.take();
            self.copied.lock().push(copy.is_some());
            commit.copy.set(copy);
            let frames = commit.frames(commit.first_written, commit.end).unwrap();
            assert_eq!(frames, in_file);
            self.commits.lock().push((commit.first_written, frames));
            self.asked.fetch_add(1, SeqCst);
            self.answer
        }

        fn synced(&self, _header: &WalHeader, end: u64) {
            self.synced.lock().push(end);
        }

        fn visible(&self) {}

        fn commits(&self) -> u64 {
            self.asked.load(SeqCst)
        }

        fn sync_failed(&self, code: c_int) {
            panic!("a sync failed with {code}");
        }
    }

    fn kept(folder: &tempfile::TempDir, answer: Kept) -> (Connection, Arc<Noting>) {
        let keeper = Arc::new(Noting {
            answer,
            asked: AtomicU64::new(0),
            commits: Mutex::default(),
            copied: Mutex::default(),
            synced: Mutex::default(),
        });
        (kept_by(folder, &keeper), keeper)
    }

    fn kept_by(folder: &tempfile::TempDir, keeper: &Arc<Noting>) -> Connection {
        let dynamic: Arc<dyn WalKeeper> = Arc::<Noting>::clone(keeper);
        opening(dynamic, || {
            let layer = name(c"unix-excl").unwrap();
            let path = folder.path().join("db");
            let connection = Connection::open_with_flags_and_vfs(path, rusqlite::OpenFlags::default(), layer).unwrap();
            let settings = format!(
                "pragma journal_mode = wal; pragma synchronous = full; {TELLS_CHECKPOINTS}; pragma wal_autocheckpoint = 0"
            );
            connection.execute_batch(&settings).unwrap();
            // The log is opened by the first read.
            connection
                .query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
                .unwrap();
            connection
        })
    }

    #[test]
    fn the_keeper_is_asked_for_each_commit_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, keeper) = kept(&folder, Kept::ByKeeper);
        connection.execute_batch("create table t (x)").unwrap();
        for number in 0..5 {
            connection.execute("insert into t values (?)", [number]).unwrap();
            connection
                .execute_batch("select * from t; begin; select * from t; commit")
                .unwrap();
        }
        connection
            .execute_batch("begin; insert into t values (9); rollback")
            .unwrap();
        assert_eq!(keeper.commits.lock().len(), 6);
        assert_eq!(*keeper.copied.lock(), [true; 6], "none has to be read back");
        let file = std::fs::read(folder.path().join("db-wal")).unwrap();
        let mut end = HEADER_BYTES;
        for (first, frames) in keeper.commits.lock().drain(..) {
            assert_eq!(first, end);
            let begin = usize::try_from(first).unwrap();
            assert_eq!(frames, file[begin..begin + frames.len()]);
            end += frames.len() as u64;
        }
        // The checkpoint is synced by itself, and so is the header of the log that begins anew.
        connection.execute_batch("pragma wal_checkpoint(passive)").unwrap();
        assert_eq!(keeper.commits.lock().len(), 0);
        connection.execute_batch("insert into t values (6)").unwrap();
        assert_eq!(
            keeper
                .commits
                .lock()
                .iter()
                .map(|(first, _)| *first)
                .collect::<Vec<_>>(),
            [HEADER_BYTES]
        );
        assert!(keeper.synced.lock().is_empty());
    }

    #[test]
    fn a_transaction_that_wrote_a_page_into_the_log_twice_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, keeper) = kept(&folder, Kept::ByKeeper);
        connection
            .execute_batch("pragma cache_size = 10; create table t (x primary key, y)")
            .unwrap();
        let many = "begin; insert into t select value % 97 * 1000 + value, randomblob(2000) from \
                    (with recursive n(value) as (select 1 union all select value + 1 from n limit 400) select value from n); \
                    update t set y = randomblob(1500); commit";
        connection.execute_batch(many).unwrap();
        let (first, frames) = keeper.commits.lock().pop().unwrap();
        let file = std::fs::read(folder.path().join("db-wal")).unwrap();
        let begin = usize::try_from(first).unwrap();
        assert!(frames.len() > 200_000, "{}", frames.len());
        assert_eq!(keeper.copied.lock().last(), Some(&false), "it is read back");
        assert_eq!(frames, file[begin..begin + frames.len()]);
    }

    #[test]
    fn what_was_rolled_back_long_ago_is_no_part_of_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (spilling, keeper) = kept(&folder, Kept::ByKeeper);
        let other = kept_by(&folder, &keeper);
        spilling
            .execute_batch("pragma cache_size = 10; create table t (x); create table u (x)")
            .unwrap();
        let before = keeper
            .commits
            .lock()
            .iter()
            .map(|(_, frames)| frames.len() as u64)
            .sum::<u64>()
            + HEADER_BYTES;
        let many = "begin; insert into t select randomblob(2000) from \
                    (with recursive n(value) as (select 1 union all select value + 1 from n limit 200) select value from n); rollback";
        spilling.execute_batch(many).unwrap();
        assert!(
            std::fs::metadata(folder.path().join("db-wal")).unwrap().len() > before,
            "it must have spilled"
        );
        other
            .execute_batch("insert into u values (1); insert into u values (2)")
            .unwrap();
        spilling.execute_batch("insert into u values (3)").unwrap();
        let mut end = HEADER_BYTES;
        for (first, frames) in keeper.commits.lock().iter() {
            assert_eq!(*first, end);
            end += frames.len() as u64;
        }
    }

    #[test]
    fn what_the_keeper_does_not_keep_is_synced_and_what_it_fails_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, keeper) = kept(&folder, Kept::Nowhere);
        connection
            .execute_batch("create table t (x); insert into t values (1)")
            .unwrap();
        assert_eq!(keeper.synced.lock().len(), 2);
        drop(connection);
        let (connection, _keeper) = kept(&folder, Kept::Failed);
        let error = connection.execute_batch("insert into t values (2)").unwrap_err();
        assert_eq!(error.sqlite_error().unwrap().extended_code, ffi::SQLITE_IOERR_FSYNC);
        let count: i64 = connection
            .query_row("select count(*) from t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn connections_without_a_keeper_are_those_of_the_layer_below() {
        let folder = tempfile::tempdir().unwrap();
        let layer = name(c"unix-excl").unwrap();
        let connection =
            Connection::open_with_flags_and_vfs(folder.path().join("db"), rusqlite::OpenFlags::default(), layer)
                .unwrap();
        connection
            .execute_batch("pragma journal_mode = wal; create table t (x); insert into t values (1)")
            .unwrap();
        assert!(folder.path().join("db-wal").exists());
    }
}
