//! The list of running processes, kept in the data folder so that `down` and `status` find what `up` started.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What `up` started and has not stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Processes {
    pub(crate) processes: Vec<ProcessRecord>,
}

/// One started process. Pid, start and boot together name it for ever: a pid alone may belong to another by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessRecord {
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// Start in clock ticks after boot, as in `/proc/PID/stat`.
    pub(crate) start_ticks: u64,
    /// The kernel's id of this boot.
    pub(crate) boot_id: String,
    /// Start in milliseconds since 1970, to show the uptime.
    pub(crate) started_unix_ms: u64,
    pub(crate) ops: SocketAddr,
}

impl Processes {
    /// The list of `data`; an empty one where there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn load(data: &Path) -> Result<Self> {
        let path = path(data);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged; stop its processes by hand and remove it",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the list; removes the file when nothing is left.
    pub(crate) fn store(&self, data: &Path) -> Result<()> {
        let path = path(data);
        let temporary = path.with_extension("tmp");
        let stored = if self.processes.is_empty() {
            fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
        } else {
            let text = serde_json::to_vec_pretty(self)?;
            fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path))
        };
        stored.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Replaces the record of the same name, or adds it. The list stays sorted by name.
    pub(crate) fn put(&mut self, record: ProcessRecord) {
        self.processes.retain(|other| other.name != record.name);
        self.processes.push(record);
        self.processes.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("processes.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, pid: i32) -> ProcessRecord {
        ProcessRecord {
            name: name.to_owned(),
            pid,
            start_ticks: 7,
            boot_id: "boot".to_owned(),
            started_unix_ms: 1,
            ops: "127.0.0.1:7411".parse().unwrap(),
        }
    }

    #[test]
    fn the_list_survives_and_an_empty_one_leaves_no_file() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Processes::load(data.path()).unwrap(), Processes::default());
        let mut list = Processes {
            processes: vec![record("node-1", 10), record("node-2", 11)],
        };
        list.store(data.path()).unwrap();
        assert_eq!(Processes::load(data.path()).unwrap(), list);

        list.put(record("node-1", 12));
        assert_eq!(
            list.processes.len(),
            2,
            "a restarted process takes the place of the old"
        );

        Processes::default().store(data.path()).unwrap();
        Processes::default().store(data.path()).unwrap();
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_list_is_an_error_that_names_the_file() {
        let data = tempfile::tempdir().unwrap();
        fs::write(path(data.path()), "{").unwrap();
        let refusal = Processes::load(data.path()).unwrap_err();
        assert!(refusal.to_string().contains("processes.json is damaged"), "{refusal}");
    }
}
