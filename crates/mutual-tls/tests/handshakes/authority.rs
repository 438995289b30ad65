//! Certificates for tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mutual_tls::{Credentials, Role, TlsError, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate says beside its names.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    Now,
    Over,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes the three files of a bearer of `names` into `folder`.
    pub(crate) fn write(&self, folder: &Path, names: &[&str], validity: Validity) -> TlsFiles {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(validity, Validity::Over) {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            params.not_before = params.not_after - Duration::from_secs(3_600);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = TlsFiles {
            ca: folder.join("ca.crt"),
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        fs::write(&files.ca, &self.pem).unwrap();
        fs::write(&files.cert, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Credentials of a program of `role`, and the folder of their files.
    pub(crate) fn credentials(&self, role: Role) -> (Credentials, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let files = self.write(folder.path(), &[role.dns_name()], Validity::Now);
        (Credentials::load(files, &Role::ALL).unwrap(), folder)
    }

    /// What loading such a certificate for a member comes to.
    pub(crate) fn loading(&self, names: &[&str], validity: Validity) -> Result<(), TlsError> {
        let folder = tempfile::tempdir().unwrap();
        let files = self.write(folder.path(), names, validity);
        Credentials::load(files, &[Role::ControlPlane]).map(drop)
    }
}
