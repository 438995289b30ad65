//! The key that signs batons: kept in the data folder, so that what clients hold is still good after a restart.
//!
//! Nothing is lost with it but the batons that it signed. So a key that cannot be read is replaced, not a reason to stop.

use std::io::ErrorKind;
use std::path::Path;

use service_runtime::data_dir::{AtomicWriteError, write_atomically};

use crate::hrana::BatonKey;

const FILE: &str = "baton.key";
const KEY_BYTES: usize = 32;

/// Reads the folder's key, or makes one, which is on disk when this returns. Blocks.
///
/// # Errors
/// When a new key cannot be written.
pub fn read_or_make(data_dir: &Path) -> Result<BatonKey, AtomicWriteError> {
    let path = data_dir.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match parse(&bytes) {
            Some(key) => return Ok(BatonKey::new(key)),
            None => tracing::error!(path = %path.display(), "the key of batons is damaged; a new one is made"),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::info!(path = %path.display(), "there is no key of batons yet; one is made");
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the key of batons cannot be read; a new one is made");
        }
    }
    let key: [u8; KEY_BYTES] = rand::random();
    let mut bytes = key.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&key).to_be_bytes());
    // Readable by this user alone, like every file that is written so.
    write_atomically(&path, &bytes)?;
    Ok(BatonKey::new(key))
}

/// The key, then its CRC-32.
fn parse(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let (key, checksum) = bytes.split_at_checked(KEY_BYTES)?;
    let is_whole = checksum == crc32fast::hash(key).to_be_bytes();
    key.try_into().ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_restart_finds_its_key_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        read_or_make(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let first = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        read_or_make(folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        let other = tempfile::tempdir().unwrap();
        read_or_make(other.path()).unwrap();
        assert_ne!(std::fs::read(other.path().join(FILE)).unwrap(), first);
    }

    #[test]
    fn a_damaged_key_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        read_or_make(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[3] ^= 1;
        for damaged in [&good[..35], &good[..0], &[&good[..], b"x"].concat(), &flipped] {
            std::fs::write(&path, damaged).unwrap();
            read_or_make(folder.path()).unwrap();
            let made = std::fs::read(&path).unwrap();
            assert!(parse(&made).is_some() && made != good);
        }
    }
}
