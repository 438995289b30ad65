//! SQL functions on SQLite's C interface, behind safe types.
//!
//! rusqlite's own wrapper would panic, and so end the node, where memory for an argument is refused to a tenant; it cannot tell the text
//! of a real as SQLite writes it; and what it returns is copied. Here an argument that cannot be had is an error of the statement, numbers
//! come as SQLite's text, and results are made in memory that SQLite counts.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

mod planner;

pub(in crate::database) use planner::Planned;

/// Most arguments that a function may have.
const MOST_ARGUMENTS: usize = 3;

/// An argument. Numbers are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Argument<'a> {
    Null,
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl<'a> Argument<'a> {
    /// What SQLite takes for the text of it: that of a blob are its bytes.
    pub(in crate::database) const fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Null => None,
            Self::Text(bytes) | Self::Blob(bytes) => Some(bytes),
        }
    }
}

/// What a function returns.
pub(in crate::database) enum Answer<'a> {
    Null,
    Integer(i64),
    /// Is copied.
    Text(&'a [u8]),
    MadeText(Buffer),
    MadeBlob(Buffer),
}

/// Why a function returns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Failure {
    OutOfMemory,
    /// Longer than a text or blob may be.
    TooBig,
    /// The statement has to stop.
    Interrupted,
    /// In SQLite's words.
    Words(&'static CStr),
}

/// One call of a function.
pub(in crate::database) struct Call<'a> {
    pub(in crate::database) arguments: &'a [Argument<'a>],
    database: *mut ffi::sqlite3,
}

impl Call<'_> {
    /// How long a text or blob may be.
    pub(in crate::database) fn limit_bytes(&self) -> usize {
        self.limit(ffi::SQLITE_LIMIT_LENGTH)
    }

    /// How long a pattern may be.
    pub(in crate::database) fn limit_pattern_bytes(&self) -> usize {
        self.limit(ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH)
    }

    fn limit(&self, limit: c_int) -> usize {
        // SAFETY: the connection runs the statement that makes this call; -1 asks without setting.
        let value = unsafe { ffi::sqlite3_limit(self.database, limit, -1) };
        usize::try_from(value).unwrap_or(0)
    }
}

/// A function that does not depend on anything but its arguments, and is harmless wherever a schema uses it.
pub(in crate::database) trait Function: Send + 'static {
    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure>;

    /// What SQLite's planner takes it for.
    fn planned(&self) -> Planned {
        Planned::Plainly
    }
}

/// Bytes that SQLite's allocator gave, and so the tenant's account.
pub(in crate::database) struct Buffer {
    start: NonNull<u8>,
    filled: usize,
    capacity: usize,
    /// It owns bytes.
    _bytes: PhantomData<u8>,
}

impl Buffer {
    pub(in crate::database) fn with_capacity(capacity: usize) -> Result<Self, Failure> {
        // One more, as SQLite may want to end a text with a NUL without moving it. Zero bytes would be no allocation.
        let bytes = u64::try_from(capacity).map_or(u64::MAX, |bytes| bytes.saturating_add(1));
        // SAFETY: takes any number; SQLite refuses what is too large.
        let start = unsafe { ffi::sqlite3_malloc64(bytes) };
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(Failure::OutOfMemory)?,
            filled: 0,
            capacity,
            _bytes: PhantomData,
        })
    }

    /// Fails where the capacity is used up.
    pub(in crate::database) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > self.capacity - self.filled {
            return Err(Failure::OutOfMemory);
        }
        // SAFETY: that many bytes are free behind those that are filled, and nobody else has a reference into them.
        unsafe {
            let free = self.start.as_ptr().add(self.filled);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), free, bytes.len());
        }
        self.filled += bytes.len();
        Ok(())
    }

    /// The bytes and how many, for somebody who frees them with `sqlite3_free`.
    fn into_raw(self) -> (*mut u8, u64) {
        let raw = (self.start.as_ptr(), self.filled as u64);
        std::mem::forget(self);
        raw
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: came from `sqlite3_malloc64`, and is freed once.
        unsafe { ffi::sqlite3_free(self.start.as_ptr().cast()) }
    }
}

/// The data of a registered function.
#[repr(C)]
struct Registered<F> {
    /// Of [`Planned::data`]: first, since SQLite reads it there.
    planned: [u8; 4],
    function: F,
}

/// Puts `function` in the place of SQLite's own of that name and number of arguments.
pub(in crate::database) fn register<F: Function>(
    connection: &Connection,
    name: &CStr,
    arguments: c_int,
    function: F,
) -> rusqlite::Result<()> {
    let planned = function.planned().data();
    let function: *mut Registered<F> = Box::into_raw(Box::new(Registered { planned, function }));
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    // SAFETY: the handle is open while `connection` is borrowed, and `Connection` is not `Sync`. SQLite copies the name. It calls `destroy`
    // once with the pointer, also where this fails, and `call` only before that, with the pointer as user data.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            connection.handle(),
            name.as_ptr(),
            arguments,
            flags,
            function.cast(),
            Some(call::<F>),
            None,
            None,
            Some(destroy::<F>),
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

unsafe extern "C" fn destroy<F: Function>(function: *mut c_void) {
    // SAFETY: it is the pointer that `register` made of a box, and SQLite passes it once.
    drop(unsafe { Box::from_raw(function.cast::<Registered<F>>()) });
}

unsafe extern "C" fn call<F: Function>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the user data is the pointer that `register` made of a box, which lives as long as the function is registered; it is only
    // borrowed by shared references.
    let function = unsafe { &(*ffi::sqlite3_user_data(context).cast::<Registered<F>>()).function };
    let mut arguments = [Argument::Null; MOST_ARGUMENTS];
    let read_count = usize::try_from(count).unwrap_or(0).min(MOST_ARGUMENTS);
    let mut outcome = Ok(Answer::Null);
    for (index, argument) in arguments.iter_mut().take(read_count).enumerate() {
        // SAFETY: SQLite passes `count` values, and this is their first and only conversion in this call.
        match unsafe { read(*values.add(index)) } {
            Ok(read) => *argument = read,
            Err(failure) => outcome = Err(failure),
        }
    }
    // SAFETY: the context is valid for the call, and `register` made the function's pointer its user data.
    unsafe { planner::tell(context, count, function.planned()) };
    if outcome.is_ok() {
        outcome = function.call(&Call {
            arguments: &arguments[..read_count],
            // SAFETY: the context is valid for the call.
            database: unsafe { ffi::sqlite3_context_db_handle(context) },
        });
    }
    // SAFETY: the context is valid for the call.
    unsafe {
        match outcome {
            Ok(answer) => give_answer(context, answer),
            Err(failure) => give_failure(context, failure),
        }
    }
}

/// # Safety
/// `value` must be valid for `'a`, and not be read or converted again as long as the bytes are used.
unsafe fn read<'a>(value: *mut ffi::sqlite3_value) -> Result<Argument<'a>, Failure> {
    // SAFETY: as this function's own. The bytes are counted after a text was made of the value, and before the zeros of a blob are written
    // out: where memory for those is refused, SQLite makes a NULL of the value.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_NULL => Ok(Argument::Null),
            ffi::SQLITE_BLOB => {
                let count = ffi::sqlite3_value_bytes(value);
                let bytes = slice(ffi::sqlite3_value_blob(value).cast(), count);
                bytes.map(Argument::Blob)
            }
            _ => {
                let start = ffi::sqlite3_value_text(value);
                let count = ffi::sqlite3_value_bytes(value);
                if start.is_null() {
                    return Err(Failure::OutOfMemory);
                }
                slice(start, count).map(Argument::Text)
            }
        }
    }
}

/// # Safety
/// If `start` is not null, `count` bytes must be there for `'a`.
unsafe fn slice<'a>(start: *const u8, count: c_int) -> Result<&'a [u8], Failure> {
    match usize::try_from(count) {
        Ok(0) | Err(_) => Ok(&[]),
        Ok(_) if start.is_null() => Err(Failure::OutOfMemory),
        // SAFETY: as this function's own.
        Ok(count) => Ok(unsafe { std::slice::from_raw_parts(start, count) }),
    }
}

/// # Safety
/// The context must be that of a call that goes on.
unsafe fn give_answer(context: *mut ffi::sqlite3_context, answer: Answer<'_>) {
    // One of 1, 2, 3, 4 and 16.
    #[expect(clippy::cast_possible_truncation, reason = "a constant that fits")]
    const UTF8: u8 = ffi::SQLITE_UTF8 as u8;
    // SAFETY: texts that are not made here are copied before the call returns; buffers are SQLite's from here on, which frees them by the
    // function that fits their allocation, also where it refuses them.
    unsafe {
        match answer {
            Answer::Null => ffi::sqlite3_result_null(context),
            Answer::Integer(number) => ffi::sqlite3_result_int64(context, number),
            Answer::Text(text) => {
                let start = text.as_ptr().cast();
                ffi::sqlite3_result_text64(context, start, text.len() as u64, ffi::SQLITE_TRANSIENT(), UTF8);
            }
            Answer::MadeText(buffer) => {
                let (start, count) = buffer.into_raw();
                ffi::sqlite3_result_text64(context, start.cast(), count, Some(ffi::sqlite3_free), UTF8);
            }
            Answer::MadeBlob(buffer) => {
                let (start, count) = buffer.into_raw();
                ffi::sqlite3_result_blob64(context, start.cast(), count, Some(ffi::sqlite3_free));
            }
        }
    }
}

/// # Safety
/// The context must be that of a call that goes on.
unsafe fn give_failure(context: *mut ffi::sqlite3_context, failure: Failure) {
    // SAFETY: SQLite copies the words.
    unsafe {
        match failure {
            Failure::OutOfMemory => ffi::sqlite3_result_error_nomem(context),
            Failure::TooBig => ffi::sqlite3_result_error_toobig(context),
            Failure::Interrupted => {
                ffi::sqlite3_result_error(context, c"interrupted".as_ptr(), -1);
                ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT);
            }
            Failure::Words(words) => ffi::sqlite3_result_error(context, words.as_ptr(), -1),
        }
    }
}
