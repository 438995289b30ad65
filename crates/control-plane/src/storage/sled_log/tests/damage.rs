//! Damage to a real folder: quarantined, never repaired, never answered as if it were good.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::storage::log_layout::{Changes, Tree as _};
use crate::storage::records;

/// Changes one value behind the frame's back.
fn flip_last_byte(folder: &Path, key: &[u8]) {
    let database = database::Database::open(&rewrite::current(folder)).unwrap();
    let mut value = database.get(key).unwrap().unwrap();
    *value.last_mut().unwrap() ^= 1;
    let mut changes = Changes::default();
    changes.0.insert(key.to_vec(), Some(value));
    database.write("test", &changes).unwrap();
    database.close().unwrap();
}

#[test]
fn a_damaged_log_is_quarantined_and_refused_in_the_same_words_until_it_is_mended() {
    let (folder, store) = store_of(3);
    drop(store);
    let key = records::key(1, 0);
    flip_last_byte(folder.path(), &key);
    let words: Vec<String> = (0..3)
        .map(|_| open(folder.path()).map(drop).unwrap_err().to_string())
        .collect();
    assert!(words[0].contains("damaged (malformed checksum)"), "{words:?}");
    assert!(words.iter().all(|said| *said == words[0]), "{words:?}");
    let marker = folder.path().join("QUARANTINED");
    let told = fs::read_to_string(&marker).unwrap();
    assert!(
        told.starts_with("the log store is damaged: malformed checksum\n"),
        "{told}"
    );
    assert!(told.contains("under a new member id"), "{told}");
    // Mended, but still marked; then the mark is taken away.
    flip_last_byte(folder.path(), &key);
    assert_eq!(open(folder.path()).map(drop).unwrap_err().to_string(), words[0]);
    fs::remove_file(marker).unwrap();
    assert_eq!(last(&mut open(folder.path()).unwrap()), 3);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Harms one file of a folder.
fn harm(folder: &Path, rng: &mut StdRng) -> String {
    let files = files(folder);
    let path = &files[rng.random_range(0..files.len())];
    let mut bytes = fs::read(path).unwrap();
    // Most of the database is still empty; harm is to fall on what is in use.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    if used == 0 {
        return "nothing".into();
    }
    let at = rng.random_range(0..used);
    let what = match rng.random_range(0..4) {
        0 => {
            bytes.truncate(at);
            "truncated"
        }
        1 => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            "flipped a bit"
        }
        2 => {
            let page = at / 4096 * 4096;
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
            "zeroed a page"
        }
        _ => {
            let end = (at + 512).min(bytes.len());
            rng.fill(&mut bytes[at..end]);
            "scrambled a sector"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{what} at {at} of {used} in {}", path.display())
}

/// Bits flipped on one disk of five lost half of another system's messages.
#[test]
fn a_harmed_folder_opens_with_everything_or_is_refused() {
    let (folder, mut store) = store_of(40);
    let position = LogPosition { index: 20, term: 1 };
    store
        .compact(position, LogPosition { index: 10, term: 1 }, HardState::default())
        .unwrap();
    store.append(&entries(41..=300)).unwrap();
    let held = store.load().unwrap();
    drop(store);
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let harm = harm(copy.path(), &mut rng);
        match open(copy.path()) {
            Ok(mut store) => {
                opened += 1;
                assert_eq!(store.load().unwrap(), held, "seed {seed}: {harm}");
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, StoreError::Damaged { .. } | StoreError::Foreign(_)),
                    "seed {seed}: {harm}: {error:?}"
                );
                assert!(
                    copy.path().join("QUARANTINED").exists(),
                    "seed {seed}: {harm}: {error:?}"
                );
            }
        }
    }
    assert!(refused > 20, "{opened} opened, {refused} refused");
}
