//! `tenantctl certificates`. Asks no control plane.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;
use mutual_tls::{Credentials, Role, TlsFiles};

use super::authority::{Authority, Pair};
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
    Renew(CreateArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArguments {
    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the certificates are good, in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
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
    let (arguments, earlier) = match command {
        CertificatesCommand::Create(arguments) => (arguments, Earlier::Kept),
        CertificatesCommand::Renew(arguments) => (arguments, Earlier::Replaced),
    };
    let written = create(arguments, earlier, SystemTime::now())?;
    printer.print(&json::WrittenFiles::new(&written), || match written.as_slice() {
        [] => "everything is there already".to_owned(),
        written => written.iter().map(|path| format!("{}\n", path.display())).collect(),
    })
}

/// Answers with the files that were written.
fn create(arguments: &CreateArguments, earlier: Earlier, now: SystemTime) -> Result<Vec<PathBuf>, Failure> {
    let CreateArguments {
        out,
        days,
        authority_days,
    } = arguments;
    let mut written = Vec::new();
    let (certificate, key) = (out.join("ca.crt"), out.join("ca.key"));
    let authority = match (read(&certificate)?, read(&key)?) {
        (Some(_), Some(pem)) => Authority::resume(&pem).map_err(|error| failed(&key, error))?,
        (None, None) if earlier == Earlier::Kept => {
            let (authority, pair) = Authority::create(now, *authority_days).map_err(|error| failed(&key, error))?;
            fs::create_dir_all(out).map_err(|error| failed(out, error))?;
            write(&key, PRIVATE, &pair.key)?;
            write(&certificate, PUBLIC, &pair.certificate)?;
            written.extend([key, certificate.clone()]);
            authority
        }
        (None, _) => {
            return Err(failed(
                &certificate,
                "is missing, and the authority cannot do without it",
            ));
        }
        (Some(_), None) => return Err(failed(&key, "is missing, and nothing can be signed without it")),
    };
    let root = read(&certificate)?.ok_or_else(|| failed(&certificate, "has gone"))?;
    for role in Role::ALL {
        let folder = out.join(folder(role));
        let files = TlsFiles {
            ca: folder.join("ca.crt"),
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        let all = [&files.ca, &files.cert, &files.key];
        if earlier == Earlier::Kept && all.iter().all(|path| path.is_file()) {
            continue;
        }
        let Pair { certificate, key } = authority
            .sign(role, now, *days)
            .map_err(|error| failed(&files.cert, error))?;
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        write(&files.ca, PUBLIC, &root)?;
        write(&files.key, PRIVATE, &key)?;
        write(&files.cert, PUBLIC, &certificate)?;
        written.extend(all.map(Clone::clone));
        // An authority of somebody else's making would sign what nobody believes.
        Credentials::load(files, &Role::ALL).map_err(|error| Failure::Failed(error.to_string()))?;
    }
    Ok(written)
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

    fn arguments(out: &Path) -> CreateArguments {
        CreateArguments {
            out: out.to_owned(),
            days: 365,
            authority_days: 3_650,
        }
    }

    fn made(out: &Path, earlier: Earlier) -> usize {
        create(&arguments(out), earlier, SystemTime::now()).unwrap().len()
    }

    #[test]
    fn what_is_there_is_kept_what_is_missing_is_made_and_a_renewal_replaces_all_but_the_authority() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("certificates");
        assert_eq!(made(&out, Earlier::Kept), 2 + 3 * 3);
        let authority = fs::read(out.join("ca.key")).unwrap();
        let node = fs::read(out.join("tenant-node/tls.crt")).unwrap();
        assert_eq!(made(&out, Earlier::Kept), 0);
        fs::remove_file(out.join("operator/tls.key")).unwrap();
        assert_eq!(made(&out, Earlier::Kept), 3);
        assert_eq!(fs::read(out.join("tenant-node/tls.crt")).unwrap(), node);
        assert_eq!(made(&out, Earlier::Replaced), 9);
        assert_ne!(fs::read(out.join("tenant-node/tls.crt")).unwrap(), node);
        assert_eq!(fs::read(out.join("ca.key")).unwrap(), authority);
        for (path, mode) in [("ca.key", 0o600), ("operator/tls.key", 0o600), ("ca.crt", 0o644)] {
            let permissions = fs::metadata(out.join(path)).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn half_an_authority_and_that_of_somebody_else_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let refused = |earlier| {
            let refusal = create(&arguments(out), earlier, SystemTime::now()).unwrap_err();
            let mut told = Vec::new();
            refusal.report(&mut told);
            String::from_utf8(told).unwrap()
        };
        assert!(refused(Earlier::Replaced).contains("ca.crt: is missing"));
        made(out, Earlier::Kept);
        let key = fs::read(out.join("ca.key")).unwrap();
        fs::remove_file(out.join("ca.key")).unwrap();
        assert!(refused(Earlier::Replaced).contains("ca.key: is missing"));
        // Another authority's certificate beside our key.
        let others = tempfile::tempdir().unwrap();
        made(others.path(), Earlier::Kept);
        fs::write(out.join("ca.key"), key).unwrap();
        fs::copy(others.path().join("ca.crt"), out.join("ca.crt")).unwrap();
        assert!(refused(Earlier::Replaced).contains("believed by nobody"));
    }

    #[test]
    fn certificates_are_good_for_their_days() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        create(&arguments(folder.path()), Earlier::Kept, now).unwrap();
        let operator = folder.path().join("operator");
        let files = TlsFiles {
            ca: operator.join("ca.crt"),
            cert: operator.join("tls.crt"),
            key: operator.join("tls.key"),
        };
        let expires = Credentials::load(files, &[Role::Operator]).unwrap().expires_at();
        let days = expires.duration_since(now).unwrap() + Duration::from_secs(60);
        assert_eq!(days.as_secs() / 86_400, 365);
    }
}
