//! A disk in memory that forgets what was not synced, fails when told to, and can be full.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rand::Rng;
use rand::rngs::StdRng;

use super::support::LONG;
use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct ForgetfulDisk {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    gate: Condvar,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    renames: Vec<NameChange>,
    capacity: Option<usize>,
    /// Syncs of files whose name contains this wait.
    held: Option<&'static str>,
    waiting: usize,
    /// Syncs of files whose name contains this fail.
    failing: Option<&'static str>,
    /// Files whose name contains this cannot be opened or made.
    closed: Option<&'static str>,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
}

/// Releases the syncs when it is dropped. Declared behind the log, it is dropped first.
pub(super) struct Held(ForgetfulDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct OpenFile {
    disk: ForgetfulDisk,
    file: usize,
}

impl ForgetfulDisk {
    /// The disk after the power failed: of what was not synced any sectors are there, and of the changes of names the first ones.
    pub(super) fn after_power_loss(&self, random: &mut StdRng) -> Self {
        let state = self.inner.state.lock();
        // All, nothing and anything between happen.
        let kept = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
        let mut names = state.durable_names.clone();
        let changes = if kept == 0.0 {
            0
        } else {
            random.random_range(0..=state.renames.len())
        };
        for change in &state.renames[..changes] {
            apply(change, &mut names);
        }
        let mut files = Vec::new();
        for content in &state.files {
            let mut bytes = content.durable.clone();
            for (offset, written) in &content.pending {
                let mut position = *offset;
                for sector in sectors(*offset, written) {
                    if random.random_bool(kept) {
                        put(&mut bytes, position, sector);
                    }
                    position += sector.len();
                }
            }
            files.push(Content {
                now: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            });
        }
        let state = State {
            files,
            names: names.clone(),
            durable_names: names,
            capacity: state.capacity,
            ..State::default()
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                gate: Condvar::new(),
            }),
        }
    }

    /// How many bytes of files there may be.
    pub(super) fn set_capacity(&self, bytes: usize) {
        self.inner.state.lock().capacity = Some(bytes);
    }

    /// From now on syncs of files whose name contains this wait until [`Self::release`].
    /// Also when what this returns is dropped: a test that fails must not wait for them for ever.
    #[must_use]
    pub(super) fn hold(&self, part: &'static str) -> Held {
        self.inner.state.lock().held = Some(part);
        Held(self.clone())
    }

    /// Waits until a sync waits.
    pub(super) fn wait_for_held(&self) {
        let mut state = self.inner.state.lock();
        let mut waited = false;
        while state.waiting == 0 {
            assert!(!waited, "no sync came");
            waited = self.inner.gate.wait_for(&mut state, LONG).timed_out();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.inner.state.lock().waiting > 0
    }

    pub(super) fn release(&self) {
        self.inner.state.lock().held = None;
        self.inner.gate.notify_all();
    }

    /// From now on syncs of files whose name contains this fail.
    pub(super) fn fail_syncs_of(&self, part: &'static str) {
        self.inner.state.lock().failing = Some(part);
    }

    /// From now on files whose name contains this cannot be opened or made; with `None` all can.
    pub(super) fn refuse_to_open(&self, part: Option<&'static str>) {
        self.inner.state.lock().closed = part;
    }

    /// What a file would hold if the power failed and nothing was kept that was not synced.
    pub(super) fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.inner.state.lock();
        state
            .durable_names
            .get(path)
            .map(|&file| state.files[file].durable.clone())
    }

    /// What a reader of the file sees now.
    pub(super) fn now(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.inner.state.lock();
        state.names.get(path).map(|&file| state.files[file].now.clone())
    }

    pub(super) fn file_names(&self) -> Vec<String> {
        let state = self.inner.state.lock();
        state.names.keys().map(|path| file_name(path)).collect()
    }

    fn handle(&self, file: usize) -> Box<dyn DiskFile> {
        Box::new(OpenFile {
            disk: self.clone(),
            file,
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Cuts what was written at `offset` at the borders of sectors, which are written whole or not at all.
fn sectors(offset: usize, written: &[u8]) -> Vec<&[u8]> {
    let (first, rest) = written.split_at((offset.next_multiple_of(SECTOR) - offset).min(written.len()));
    std::iter::once(first)
        .chain(rest.chunks(SECTOR))
        .filter(|sector| !sector.is_empty())
        .collect()
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

fn apply(change: &NameChange, names: &mut BTreeMap<PathBuf, usize>) {
    match change {
        NameChange::Set(path, file) => {
            // A file has one name: this is how a rename removes the old one.
            names.retain(|_, other| other != file);
            names.insert(path.clone(), *file);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
    }
}

impl State {
    fn change(&mut self, change: NameChange) {
        apply(&change, &mut self.names);
        self.renames.push(change);
    }

    fn name_of(&self, file: usize) -> String {
        let named = self.names.iter().find(|(_, other)| **other == file);
        named.map(|(path, _)| file_name(path)).unwrap_or_default()
    }

    fn check_open(&self, path: &Path) -> io::Result<()> {
        match self.closed {
            Some(part) if file_name(path).contains(part) => Err(io::Error::other("too many open files")),
            _ => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|&file| self.files[file].now.len()).sum()
    }
}

impl Disk for ForgetfulDisk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.inner.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.map(|path| file_name(path)).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let state = self.inner.state.lock();
        state.check_open(path)?;
        let file = state.names.get(path).copied();
        drop(state);
        Ok(file.map(|file| self.handle(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.inner.state.lock();
        state.check_open(path)?;
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.change(NameChange::Set(path.to_owned(), file));
        drop(state);
        Ok(self.handle(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Set(to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.state.lock().change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        let changes = std::mem::take(&mut state.renames);
        for change in &changes {
            apply(change, &mut state.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.inner.state.lock();
        Ok(state
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()) as u64))
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.inner.state.lock();
        let from = state.files[self.file]
            .now
            .get(usize::try_from(offset).unwrap()..)
            .unwrap_or_default();
        let length = from.len().min(bytes.len());
        bytes[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.inner.state.lock();
        let offset = usize::try_from(offset).unwrap();
        let grows = (offset + bytes.len()).saturating_sub(state.files[self.file].now.len());
        if state
            .capacity
            .is_some_and(|capacity| grows > 0 && state.used() + grows > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut state.files[self.file];
        put(&mut content.now, offset, bytes);
        content.pending.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.inner.state.lock();
        // What is written while it waits is not part of it.
        let count = state.files[self.file].pending.len();
        while state.held.is_some_and(|part| state.name_of(self.file).contains(part)) {
            state.waiting += 1;
            self.disk.inner.gate.notify_all();
            self.disk.inner.gate.wait(&mut state);
            state.waiting -= 1;
        }
        if state
            .failing
            .is_some_and(|part| state.name_of(self.file).contains(part))
        {
            return Err(io::Error::other("the disk is broken"));
        }
        let content = &mut state.files[self.file];
        let synced = count.min(content.pending.len());
        for (offset, written) in content.pending.drain(..synced) {
            put(&mut content.durable, offset, &written);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.inner.state.lock().files[self.file].now.len() as u64)
    }
}
