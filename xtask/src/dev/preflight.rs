//! What can be known before anything is built: compiler, data folder, ports. Each problem is one clear line.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cluster::{self, Service};

/// Grows when the content of the data folder changes so that an older one cannot be continued.
const LAYOUT: u32 = 1;

/// # Errors
/// When the compiler that builds SQLite cannot be run.
pub(crate) fn c_compiler() -> Result<()> {
    let compiler = env::var("CC")
        .ok()
        .filter(|cc| !cc.trim().is_empty())
        .unwrap_or_else(|| "cc".to_owned());
    runs(&compiler)
}

fn runs(compiler: &str) -> Result<()> {
    // CC may carry a wrapper or arguments: `ccache gcc`.
    let mut words = compiler.split_ascii_whitespace();
    let Some(program) = words.next() else {
        bail!("CC names no program")
    };
    let started = Command::new(program)
        .args(words)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("no C compiler: `{compiler}` does not run; install gcc or clang, or name yours in CC"),
    }
}

/// The marker that makes a folder ours: the shape of the cluster whose data it holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    layout: u32,
    initial_members: String,
    nodes: u16,
}

/// Creates the folder, or makes sure that it holds this very cluster.
///
/// # Errors
/// When it holds something else, or cannot be used.
pub(crate) fn claim_data_folder(data: &Path) -> Result<()> {
    let shown = data.display();
    let ours = Marker {
        layout: LAYOUT,
        initial_members: cluster::initial_members(),
        nodes: cluster::NODES,
    };
    fs::create_dir_all(data).with_context(|| format!("cannot create the data folder {shown}"))?;
    let path = data.join("cluster.json");
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Marker>(&bytes) {
            Ok(theirs) if theirs == ours => {}
            Ok(theirs) => bail!(
                "the data folder {shown} is of another cluster (layout {}, members {}, {} nodes): remove it, or choose another with --data",
                theirs.layout,
                theirs.initial_members,
                theirs.nodes
            ),
            Err(_) => bail!(
                "the data folder {shown} is of another cluster or version: {} is not ours",
                path.display()
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(data).with_context(|| format!("cannot read the data folder {shown}"))?;
            if entries.next().is_some() {
                bail!(
                    "the data folder {shown} is not empty and was not made by `cargo xtask up`: choose another with --data"
                );
            }
            fs::write(&path, serde_json::to_vec_pretty(&ours)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let logs = cluster::logs(data);
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))
}

/// # Errors
/// Names the first port that cannot be had.
pub(crate) fn ports_free<'s>(services: impl IntoIterator<Item = &'s Service>) -> Result<()> {
    for service in services {
        for port in &service.ports {
            if let Err(error) = TcpListener::bind(port.address) {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => "is taken by another process".to_owned(),
                    _ => format!("cannot be used ({error})"),
                };
                bail!(
                    "port {} ({} of {}) {why}",
                    port.address.port(),
                    port.purpose,
                    service.name
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::cluster::Port;

    #[test]
    fn a_taken_port_is_named_with_its_purpose() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut service = cluster::services(Path::new("/data")).pop().unwrap();
        service.ports = vec![Port {
            address,
            purpose: "data HTTP",
        }];
        let refusal = ports_free([&service]).unwrap_err().to_string();
        assert_eq!(
            refusal,
            format!(
                "port {} (data HTTP of node-2) is taken by another process",
                address.port()
            )
        );
        drop(taken);
        ports_free([&service]).unwrap();
    }

    #[test]
    fn a_compiler_that_does_not_run_is_one_line() {
        let refusal = runs("no-such-compiler -m64").unwrap_err().to_string();
        assert!(
            refusal.starts_with("no C compiler: `no-such-compiler -m64` does not run"),
            "{refusal}"
        );
        assert!(runs("false").is_err());
        runs("true").unwrap();
    }

    #[test]
    fn a_folder_is_claimed_once_and_continued() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("a/b");
        claim_data_folder(&data).unwrap();
        fs::create_dir(data.join("node-1")).unwrap();
        claim_data_folder(&data).unwrap();
    }

    #[test]
    fn a_folder_of_someone_else_is_refused_and_left_alone() {
        let members = cluster::initial_members();
        for (file, content, words) in [
            ("thesis.txt", "words", "is not empty and was not made by"),
            ("cluster.json", "{", "is of another cluster or version"),
            (
                "cluster.json",
                &format!(r#"{{"layout":0,"initial_members":"{members}","nodes":2}}"#),
                "(layout 0, members",
            ),
            (
                "cluster.json",
                r#"{"layout":1,"initial_members":"1=10.0.0.1:1","nodes":2}"#,
                "members 1=10.0.0.1:1",
            ),
        ] {
            let data = tempfile::tempdir().unwrap();
            fs::write(data.path().join(file), content).unwrap();
            let refusal = claim_data_folder(data.path()).unwrap_err().to_string();
            assert!(refusal.contains(words), "{content}: {refusal}");
            assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1);
            assert_eq!(fs::read_to_string(data.path().join(file)).unwrap(), content);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(claim_data_folder(file.path()).is_err());
    }
}
