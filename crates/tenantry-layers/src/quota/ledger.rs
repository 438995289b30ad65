//! What a tenant's daily counter leaves on disk: the file `quota.ledger` in the tenant's folder.
//!
//! A record holds the exact buckets at one moment and a *reservation*: requests that may have been admitted since without
//! being written. Whoever reads the record counts the whole reservation as used, at the moment of reading. So a crash
//! can withhold a reservation and can never grant one.
//!
//! Time. A record carries the tenant's own time, the machine's monotonic time with the id of the machine's start, and the
//! wall clock. A reader on the same start of the machine advances the tenant's time by monotonic time: wall-clock jumps
//! count for nothing. After a restart of the machine, or on another one, the wall clock is all there is: going back counts
//! as no time, and only there a clock that was set forward meanwhile is believed.
//!
//! A file that does not parse is no fresh budget: the tenant starts with its whole daily limit used, and regains it 24
//! hours later (`QuotaCounters::corrupt_ledgers`). An operator who would rather grant a fresh day removes the file.
//! A missing file is a tenant that never had a request here.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tenantry_types::{TenantUid, UnixMillis};

use crate::clock::Boot;

const MAGIC: [u8; 8] = *b"TNTQUOTA";
/// Buckets are two and a half minutes wide.
const VERSION: u16 = 2;
/// The same, with buckets of five minutes.
const VERSION_OF_FIVE_MINUTES: u16 = 1;
const HEADER_BYTES: usize = MAGIC.len() + 2 + 4;
const CHECKSUM_BYTES: usize = 4;
/// A record of a full window has under 10 KiB.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The state of one tenant's daily counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRecord {
    /// Whose.
    pub tenant: TenantUid,
    /// The tenant's own time when it was written, in milliseconds.
    pub time_millis: u64,
    /// The wall clock when it was written.
    pub wall: UnixMillis,
    /// Which start of the machine `monotonic_millis` counts from.
    pub boot: Boot,
    /// The monotonic clock when it was written, in milliseconds.
    pub monotonic_millis: u64,
    /// Requests that may have been admitted since.
    pub reserved: u64,
    /// `(bucket number, requests)`, oldest first.
    pub buckets: Vec<(u64, u64)>,
}

/// Why a file is not a record of this tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorruptLedger {
    /// It ends early, is too long or holds something else in its place.
    #[error("not a quota ledger of the expected shape")]
    Malformed,
    /// It was written by a version that this one does not know.
    #[error("written in the unknown format version {0}")]
    UnknownVersion(u16),
    /// Its bytes are not those that were written.
    #[error("checksum does not match")]
    Checksum,
    /// It belongs to another tenant.
    #[error("belongs to tenant {0}")]
    OtherTenant(TenantUid),
}

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLedgerError {
    /// The file is there and is not a record of this tenant.
    #[error("quota ledger {path} is corrupt")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CorruptLedger,
    },
    /// The file cannot be read. A later attempt may succeed.
    #[error("cannot read quota ledger {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A ledger that could not be written; the one before it is still in place, or the new one is.
#[derive(Debug, thiserror::Error)]
#[error("cannot write quota ledger {path}")]
pub struct WriteLedgerError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl LedgerRecord {
    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(80 + self.buckets.len() * 16);
        payload.extend(self.tenant.as_u128().to_le_bytes());
        payload.extend(self.time_millis.to_le_bytes());
        payload.extend(self.wall.0.to_le_bytes());
        let (known, boot) = match self.boot {
            Boot::Known(id) => (1_u8, id),
            Boot::Unknown => (0, 0),
        };
        payload.push(known);
        payload.extend(boot.to_le_bytes());
        payload.extend(self.monotonic_millis.to_le_bytes());
        payload.extend(self.reserved.to_le_bytes());
        for (number, requests) in &self.buckets {
            payload.extend(number.to_le_bytes());
            payload.extend(requests.to_le_bytes());
        }
        let mut file = Vec::with_capacity(HEADER_BYTES + payload.len() + CHECKSUM_BYTES);
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        file.extend(payload);
        file.extend(crc32fast::hash(&file).to_le_bytes());
        file
    }

    /// # Errors
    /// When the bytes are not a whole record of `tenant`.
    pub fn decode(file: &[u8], tenant: TenantUid) -> Result<Self, CorruptLedger> {
        let mut header = Fields(file);
        if header.take::<8>()? != MAGIC {
            return Err(CorruptLedger::Malformed);
        }
        let version = u16::from_le_bytes(header.take()?);
        let widen: fn(u64) -> u64 = match version {
            VERSION => |number| number,
            // What may have come in either half counts in the later one: it leaves no sooner than it would have.
            VERSION_OF_FIVE_MINUTES => |number| number.saturating_mul(2).saturating_add(1),
            unknown => return Err(CorruptLedger::UnknownVersion(unknown)),
        };
        let payload_bytes = u32::from_le_bytes(header.take()?) as usize;
        if header.0.len() != payload_bytes.saturating_add(CHECKSUM_BYTES) {
            return Err(CorruptLedger::Malformed);
        }
        let (payload, checksum) = header.0.split_at(payload_bytes);
        let framed = &file[..HEADER_BYTES + payload_bytes];
        if crc32fast::hash(framed).to_le_bytes() != checksum {
            return Err(CorruptLedger::Checksum);
        }
        let mut record = Self::decode_payload(Fields(payload), tenant)?;
        record
            .buckets
            .iter_mut()
            .for_each(|(number, _)| *number = widen(*number));
        Ok(record)
    }

    fn decode_payload(mut payload: Fields<'_>, tenant: TenantUid) -> Result<Self, CorruptLedger> {
        let owner = TenantUid::from_u128(u128::from_le_bytes(payload.take()?));
        if owner != tenant {
            return Err(CorruptLedger::OtherTenant(owner));
        }
        let time_millis = payload.number()?;
        let wall = UnixMillis(payload.number()?);
        let [known] = payload.take()?;
        let id = u128::from_le_bytes(payload.take()?);
        let boot = match known {
            0 => Boot::Unknown,
            1 => Boot::Known(id),
            _ => return Err(CorruptLedger::Malformed),
        };
        let monotonic_millis = payload.number()?;
        let reserved = payload.number()?;
        let mut buckets = Vec::with_capacity(payload.0.len() / 16);
        while !payload.0.is_empty() {
            buckets.push((payload.number()?, payload.number()?));
        }
        Ok(Self {
            tenant,
            time_millis,
            wall,
            boot,
            monotonic_millis,
            reserved,
            buckets,
        })
    }
}

/// The bytes that are still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CorruptLedger> {
        let (field, rest) = self.0.split_first_chunk().ok_or(CorruptLedger::Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u64, CorruptLedger> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Where the ledgers of a node's tenants are. Its methods block on the disk.
#[derive(Debug, Clone)]
pub struct LedgerFiles {
    tenants_folder: PathBuf,
}

impl LedgerFiles {
    /// The ledgers under `<data_folder>/tenants/<uid>/`.
    #[must_use]
    pub fn in_data_folder(data_folder: &Path) -> Self {
        Self {
            tenants_folder: data_folder.join("tenants"),
        }
    }

    /// The file of that tenant.
    #[must_use]
    pub fn path(&self, tenant: TenantUid) -> PathBuf {
        self.folder(tenant).join("quota.ledger")
    }

    /// The record of that tenant; `None` when it never had one.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a record of this tenant.
    pub fn read(&self, tenant: TenantUid) -> Result<Option<LedgerRecord>, ReadLedgerError> {
        let path = self.path(tenant);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => LedgerRecord::decode(&bytes, tenant)
                .map(Some)
                .map_err(|source| ReadLedgerError::Corrupt { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadLedgerError::Io { path, source }),
        }
    }

    /// Replaces the record of its tenant. It is on disk when this returns.
    ///
    /// # Errors
    /// When any step fails; the record before it may then still be the one in place.
    pub fn write(&self, record: &LedgerRecord) -> Result<(), WriteLedgerError> {
        let path = self.path(record.tenant);
        self.replace(&path, record)
            .map_err(|source| WriteLedgerError { path, source })
    }

    fn replace(&self, path: &Path, record: &LedgerRecord) -> io::Result<()> {
        let folder = self.folder(record.tenant);
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            sync_folder(&self.tenants_folder)?;
        }
        let unfinished = folder.join("quota.ledger.tmp");
        let mut file = File::create(&unfinished)?;
        file.write_all(&record.encode())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // Without this a power cut could bring the previous, smaller reservation back.
        sync_folder(&folder)
    }

    fn folder(&self, tenant: TenantUid) -> PathBuf {
        self.tenants_folder.join(tenant.to_string())
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = LedgerRecord> {
        let boot = prop_oneof![Just(Boot::Unknown), any::<u128>().prop_map(Boot::Known)];
        let buckets = proptest::collection::vec(any::<(u64, u64)>(), 0..300);
        (any::<(u128, u64, u64, u64, u64)>(), boot, buckets).prop_map(
            |((uid, time_millis, wall, monotonic_millis, reserved), boot, buckets)| LedgerRecord {
                tenant: TenantUid::from_u128(uid),
                time_millis,
                wall: UnixMillis(wall),
                boot,
                monotonic_millis,
                reserved,
                buckets,
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_changed_bit_goes_unseen(
            record in record(), at in any::<proptest::sample::Index>(), bit in 0_u8..8,
        ) {
            let mut bytes = record.encode();
            let read = LedgerRecord::decode(&bytes, record.tenant);
            prop_assert_eq!(read, Ok(record.clone()));
            let cut = at.index(bytes.len());
            prop_assert!(LedgerRecord::decode(&bytes[..cut], record.tenant).is_err());
            bytes[cut] ^= 1 << bit;
            prop_assert!(LedgerRecord::decode(&bytes, record.tenant).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(LedgerRecord::decode(&bytes, TenantUid::from_u128(1)).is_err());
        }
    }

    fn sample(reserved: u64) -> LedgerRecord {
        LedgerRecord {
            tenant: TenantUid::from_u128(5),
            time_millis: 1,
            wall: UnixMillis(2),
            boot: Boot::Known(3),
            monotonic_millis: 4,
            reserved,
            buckets: vec![(6, 7)],
        }
    }

    #[test]
    fn a_written_record_replaces_the_one_before() {
        let data = tempfile::tempdir().unwrap();
        let files = LedgerFiles::in_data_folder(data.path());
        assert!(files.read(TenantUid::from_u128(5)).unwrap().is_none());
        for reserved in [1, 2] {
            files.write(&sample(reserved)).unwrap();
            let read = files.read(TenantUid::from_u128(5)).unwrap();
            assert_eq!(read, Some(sample(reserved)));
        }
        let names = fs::read_dir(files.folder(TenantUid::from_u128(5))).unwrap().count();
        assert_eq!(names, 1, "no unfinished file is left behind");
    }

    #[test]
    fn what_a_crash_left_of_a_write_is_never_read_and_in_nobodys_way() {
        let data = tempfile::tempdir().unwrap();
        let files = LedgerFiles::in_data_folder(data.path());
        files.write(&sample(1)).unwrap();
        let torn = &sample(2).encode()[..20];
        let unfinished = files.folder(TenantUid::from_u128(5)).join("quota.ledger.tmp");
        fs::write(&unfinished, torn).unwrap();
        assert_eq!(files.read(TenantUid::from_u128(5)).unwrap(), Some(sample(1)));
        files.write(&sample(3)).unwrap();
        assert_eq!(files.read(TenantUid::from_u128(5)).unwrap(), Some(sample(3)));
        assert!(!unfinished.exists());
    }

    #[test]
    fn buckets_of_five_minutes_leave_no_sooner_than_they_would_have() {
        let mut bytes = sample(0).encode();
        bytes[8] = 1;
        let framed = bytes.len() - CHECKSUM_BYTES;
        let checksum = crc32fast::hash(&bytes[..framed]).to_le_bytes();
        bytes[framed..].copy_from_slice(&checksum);
        let read = LedgerRecord::decode(&bytes, TenantUid::from_u128(5)).unwrap();
        // Bucket 6 of five minutes ends with bucket 13 of half as much.
        assert_eq!(read.buckets, [(13, 7)]);
    }

    #[test]
    fn a_file_of_another_tenant_or_version_is_told_apart() {
        let mut bytes = sample(0).encode();
        assert_eq!(
            LedgerRecord::decode(&bytes, TenantUid::from_u128(9)),
            Err(CorruptLedger::OtherTenant(TenantUid::from_u128(5)))
        );
        bytes[8] = 9;
        assert_eq!(
            LedgerRecord::decode(&bytes, TenantUid::from_u128(5)),
            Err(CorruptLedger::UnknownVersion(9))
        );
    }
}
