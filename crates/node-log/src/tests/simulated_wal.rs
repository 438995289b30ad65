//! A tenant's WAL file as SQLite would write it, with pages of 512 bytes. Sums are computed here once more, by the letter of the
//! format, so that the crate's own are not proved by themselves.

use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;
use tenantry_types::TenantUid;

use super::forgetful_disk::ForgetfulDisk;
use crate::disk::Disk;
use crate::record::CommitRecord;

pub(super) const PAGE: usize = 512;
const PAGE_WORD: u32 = 512;
pub(super) const FRAME: usize = PAGE + 24;
const HEADER: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct SimulatedWal {
    pub(super) tenant: TenantUid,
    /// The whole file, as a reader sees it.
    pub(super) bytes: Vec<u8>,
    sum: (u32, u32),
}

impl SimulatedWal {
    /// A file that has just begun: only its header.
    pub(super) fn new(tenant: TenantUid, random: &mut StdRng) -> Self {
        let mut wal = Self {
            tenant,
            bytes: Vec::new(),
            sum: (0, 0),
        };
        wal.begin_anew(random);
        wal
    }

    /// What SQLite does after a complete checkpoint: a header with other salts.
    pub(super) fn begin_anew(&mut self, random: &mut StdRng) {
        let mut header = Vec::new();
        let salts: [u32; 2] = random.random();
        for word in [0x377f_0682, 3_007_000, PAGE_WORD, 0, salts[0], salts[1]] {
            header.extend_from_slice(&word.to_be_bytes());
        }
        self.sum = sum((0, 0), &header);
        header.extend_from_slice(&self.sum.0.to_be_bytes());
        header.extend_from_slice(&self.sum.1.to_be_bytes());
        self.bytes = header;
    }

    /// Takes over what is valid of a file, as SQLite does when it opens one.
    pub(super) fn read(tenant: TenantUid, file: &[u8]) -> Self {
        let mut wal = Self {
            tenant,
            bytes: file[..HEADER].to_vec(),
            sum: sum((0, 0), &file[..24]),
        };
        for frame in file[HEADER..].chunks_exact(FRAME) {
            let next = sum(sum(wal.sum, &frame[..8]), &frame[24..]);
            let stored = [next.0.to_be_bytes(), next.1.to_be_bytes()].concat();
            if frame[8..16] != file[16..24] || frame[16..24] != stored {
                break;
            }
            wal.sum = next;
            wal.bytes.extend_from_slice(frame);
        }
        wal
    }

    /// Adds a commit of so many frames.
    pub(super) fn commit(&mut self, frames: usize, random: &mut StdRng) -> CommitRecord {
        let offset = self.bytes.len();
        for index in 1..=frames {
            let mut frame = Vec::with_capacity(FRAME);
            frame.extend_from_slice(&random.random_range(1..100_u32).to_be_bytes());
            let size = if index == frames { 100_u32 } else { 0 };
            frame.extend_from_slice(&size.to_be_bytes());
            let mut page = vec![0; PAGE];
            random.fill(&mut page[..]);
            self.sum = sum(sum(self.sum, &frame), &page);
            frame.extend_from_slice(&self.bytes[16..24]);
            frame.extend_from_slice(&self.sum.0.to_be_bytes());
            frame.extend_from_slice(&self.sum.1.to_be_bytes());
            frame.extend_from_slice(&page);
            self.bytes.extend_from_slice(&frame);
        }
        CommitRecord {
            tenant: self.tenant,
            salts: self.bytes[16..24].try_into().unwrap(),
            offset: offset as u64,
            frames: self.bytes[offset..].to_vec(),
        }
    }
}

fn sum(mut sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| u32::from_le_bytes(pair[at..at + 4].try_into().unwrap());
        sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
    }
    sum
}

pub(super) fn database_path(tenant: TenantUid) -> PathBuf {
    Path::new("/tenants").join(tenant.to_string()).join("db")
}

pub(super) fn path(tenant: TenantUid) -> PathBuf {
    database_path(tenant).with_file_name("db-wal")
}

/// Writes a part of a tenant's WAL file, without a sync.
pub(super) fn write(disk: &ForgetfulDisk, tenant: TenantUid, offset: u64, bytes: &[u8]) {
    let path = path(tenant);
    let file = match disk.open(&path).unwrap() {
        Some(file) => file,
        None => {
            let file = disk.create(&path).unwrap();
            disk.sync_folder(Path::new("/tenants")).unwrap();
            file
        }
    };
    file.write_at(bytes, offset).unwrap();
}

pub(super) fn sync(disk: &ForgetfulDisk, tenant: TenantUid) {
    disk.open(&path(tenant)).unwrap().unwrap().sync().unwrap();
}
