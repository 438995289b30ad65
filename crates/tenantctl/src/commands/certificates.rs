//! `tenantctl certificates`. Asks no control plane.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;
use mutual_tls::authority::{Authority, Pair};
use mutual_tls::{Credentials, Role, TlsFiles};

use crate::failure::Failure;
use crate::output::{Printer, json};

/// Whoever reads a key can pose as its bearer.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub(crate) enum CertificatesCommand {
    /// Make an authority and a certificate for each role, unless they are there already
    ///
    /// In DIR: ca.crt and ca.key, and for each role a folder control-plane, tenant-node or operator with ca.crt, tls.crt and tls.key.
    /// Keep ca.key where no program runs: whoever has it can make certificates of any role.
    Create(CreateArguments),
    /// Make new certificates by the authority that is there, in place of those that are there
    ///
    /// Leaves each ca.crt of a role as it is: while an authority is exchanged, it holds two.
    Renew(RenewArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenewArguments {
    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the certificates are good, in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArguments {
    #[command(flatten)]
    certificates: RenewArguments,
    /// How long a new authority is good, in days
    #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    authority_days: u32,
}

/// What becomes of certificates that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Earlier {
    Kept,
    Replaced,
}

pub(crate) fn run(command: &CertificatesCommand, printer: &Printer) -> Result<(), Failure> {
    let now = SystemTime::now();
    let written = match command {
        CertificatesCommand::Create(arguments) => create(arguments, now)?,
        CertificatesCommand::Renew(arguments) => renew(arguments, now)?,
    };
    printer.print(&json::WrittenFiles::new(&written), || match written.as_slice() {
        [] => "everything is there already".to_owned(),
        written => written.iter().map(|path| format!("{}\n", path.display())).collect(),
    })
}

/// Answers with the files that were written.
fn create(arguments: &CreateArguments, now: SystemTime) -> Result<Vec<PathBuf>, Failure> {
    let CreateArguments {
        certificates,
        authority_days,
    } = arguments;
    let out = &certificates.out;
    let (certificate, key) = (out.join("ca.crt"), out.join("ca.key"));
    let mut written = Vec::new();
    if !certificate.exists() && !key.exists() {
        let (_, pair) = Authority::create(now, *authority_days).map_err(|error| failed(&key, error))?;
        fs::create_dir_all(out).map_err(|error| failed(out, error))?;
        write(&key, PRIVATE, &pair.key)?;
        write(&certificate, PUBLIC, &pair.certificate)?;
        written.extend([key, certificate]);
    }
    written.extend(sign(certificates, Earlier::Kept, now)?);
    Ok(written)
}

fn renew(arguments: &RenewArguments, now: SystemTime) -> Result<Vec<PathBuf>, Failure> {
    sign(arguments, Earlier::Replaced, now)
}

/// Makes certificates of all roles by the authority that is there.
fn sign(arguments: &RenewArguments, earlier: Earlier, now: SystemTime) -> Result<Vec<PathBuf>, Failure> {
    let RenewArguments { out, days } = arguments;
    let (certificate, key) = (out.join("ca.crt"), out.join("ca.key"));
    let root = read(&certificate)?.ok_or_else(|| failed(&certificate, "is missing"))?;
    let signing = read(&key)?.ok_or_else(|| failed(&key, "is missing, and nothing can be signed without it"))?;
    let authority = Authority::resume(&signing).map_err(|error| failed(&key, error))?;
    let mut written = Vec::new();
    for role in Role::ALL {
        let folder = out.join(folder(role));
        let files = in_folder(&folder);
        let there = [&files.cert, &files.key]
            .into_iter()
            .filter(|path| path.exists())
            .count();
        if earlier == Earlier::Kept && there == 2 && files.ca.exists() {
            continue;
        }
        if earlier == Earlier::Kept && there == 1 {
            return Err(failed(
                &folder,
                "has half of a certificate; `certificates renew` makes a new one",
            ));
        }
        let pair = authority
            .sign(role, now, *days)
            .map_err(|error| failed(&files.cert, error))?;
        let believed = read(&files.ca)?.unwrap_or_else(|| root.clone());
        prove(out, &believed, &pair)?;
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        if !files.ca.exists() {
            write(&files.ca, PUBLIC, &root)?;
            written.push(files.ca);
        }
        write(&files.key, PRIVATE, &pair.key)?;
        write(&files.cert, PUBLIC, &pair.certificate)?;
        written.extend([files.key, files.cert]);
    }
    Ok(written)
}

/// Refuses certificates that nobody would believe, before anything is replaced by them: an authority of somebody else's making has
/// another name than the one that we sign with.
fn prove(out: &Path, believed: &str, pair: &Pair) -> Result<(), Failure> {
    let folder = out.join(".proof");
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let files = in_folder(&folder);
    let proving = || {
        write(&files.ca, PUBLIC, believed)?;
        write(&files.key, PRIVATE, &pair.key)?;
        write(&files.cert, PUBLIC, &pair.certificate)?;
        Credentials::load(files, &Role::ALL)
            .map(drop)
            .map_err(|error| Failure::Failed(format!("nothing was replaced: {error}")))
    };
    let proved = proving();
    // The key of a certificate that is not used yet.
    fs::remove_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    proved
}

fn in_folder(folder: &Path) -> TlsFiles {
    TlsFiles {
        ca: folder.join("ca.crt"),
        cert: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    }
}

const fn folder(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::TenantNode => "tenant-node",
        Role::Operator => "operator",
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// Whole or not at all: a program may read it at any moment.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let writing = || {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    writing().map_err(|error| failed(path, error))
}

#[expect(clippy::needless_pass_by_value, reason = "errors, mostly, and sometimes a text")]
fn failed(path: &Path, what: impl ToString) -> Failure {
    Failure::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn to_create(out: &Path) -> usize {
        let arguments = CreateArguments {
            certificates: certificates(out),
            authority_days: 3_650,
        };
        create(&arguments, SystemTime::now()).unwrap().len()
    }

    fn certificates(out: &Path) -> RenewArguments {
        RenewArguments {
            out: out.to_owned(),
            days: 365,
        }
    }

    fn told(failure: &Failure) -> String {
        let mut told = Vec::new();
        failure.report(&mut told);
        String::from_utf8(told).unwrap()
    }

    #[test]
    fn what_is_there_is_kept_and_a_renewal_replaces_all_but_the_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("certificates");
        assert_eq!(to_create(&out), 2 + 3 * 3);
        let node = fs::read(out.join("tenant-node/tls.crt")).unwrap();
        assert_eq!(to_create(&out), 0);
        assert_eq!(fs::read(out.join("tenant-node/tls.crt")).unwrap(), node);
        // Two authorities, while one is exchanged.
        let others = tempfile::tempdir().unwrap();
        to_create(others.path());
        let root = |folder: &Path| fs::read(folder.join("ca.crt")).unwrap();
        let both = [root(&out), root(others.path())].concat();
        fs::write(out.join("tenant-node/ca.crt"), &both).unwrap();
        assert_eq!(renew(&certificates(&out), SystemTime::now()).unwrap().len(), 6);
        assert_ne!(fs::read(out.join("tenant-node/tls.crt")).unwrap(), node);
        assert_eq!(fs::read(out.join("tenant-node/ca.crt")).unwrap(), both);
        for (path, mode) in [("ca.key", 0o600), ("operator/tls.key", 0o600), ("ca.crt", 0o644)] {
            let permissions = fs::metadata(out.join(path)).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode, "{path}");
        }
        assert!(!out.join(".proof").exists());
    }

    #[test]
    fn half_of_a_certificate_is_left_alone_until_it_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        to_create(out);
        fs::remove_file(out.join("operator/tls.key")).unwrap();
        let certificate = fs::read(out.join("operator/tls.crt")).unwrap();
        let refused = sign(&certificates(out), Earlier::Kept, SystemTime::now()).unwrap_err();
        assert!(told(&refused).contains("half of a certificate"));
        assert_eq!(fs::read(out.join("operator/tls.crt")).unwrap(), certificate);
        assert!(renew(&certificates(out), SystemTime::now()).is_ok());
    }

    #[test]
    fn half_an_authority_and_that_of_somebody_else_replace_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let refused = || told(&renew(&certificates(out), SystemTime::now()).unwrap_err());
        assert!(refused().contains("ca.crt: is missing"));
        to_create(out);
        let before = ["tls.crt", "tls.key", "ca.crt"].map(|file| fs::read(out.join("operator").join(file)).unwrap());
        let key = fs::read(out.join("ca.key")).unwrap();
        fs::remove_file(out.join("ca.key")).unwrap();
        assert!(refused().contains("ca.key: is missing"));
        // The key of another authority beside our certificate.
        let others = tempfile::tempdir().unwrap();
        to_create(others.path());
        fs::copy(others.path().join("ca.key"), out.join("ca.key")).unwrap();
        assert!(refused().contains("nothing was replaced"));
        let after = ["tls.crt", "tls.key", "ca.crt"].map(|file| fs::read(out.join("operator").join(file)).unwrap());
        assert_eq!(after, before);
        fs::write(out.join("ca.key"), key).unwrap();
        assert!(renew(&certificates(out), SystemTime::now()).is_ok());
    }

    #[test]
    fn certificates_are_good_for_their_days() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        to_create(folder.path());
        let files = in_folder(&folder.path().join("operator"));
        let expires = Credentials::load(files, &[Role::Operator]).unwrap().expires_at();
        let days = expires.duration_since(now).unwrap() + Duration::from_secs(60);
        assert_eq!(days.as_secs() / 86_400, 365);
    }
}
