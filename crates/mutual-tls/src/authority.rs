//! An authority that signs certificates of roles. Knows no file. Behind the feature `authority`: those who only use certificates need
//! none of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::role::Role;

/// The authority's name. Its certificate and those that it signs must say the same.
const NAME: &str = "Tenantry authority";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates are good a little before they are made: clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key.
pub struct Pair {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new one, whose certificate is good for `days`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(now: SystemTime, days: u32) -> Result<(Self, Pair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params();
        (params.not_before, params.not_after) = validity(now, days);
        let pair = Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer }, pair))
    }

    /// One that was created before, from its private key in PEM.
    ///
    /// # Errors
    /// When that is no key.
    pub fn resume(key: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(key)?;
        Ok(Self {
            issuer: Issuer::new(params(), key),
        })
    }

    /// A certificate for bearers of `role`, good for `days`, for either end of a connection.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn sign(&self, role: Role, now: SystemTime, days: u32) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::new(vec![role.dns_name().to_owned()])?;
        params.distinguished_name = named(role.dns_name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, days);
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// rcgen's time is that of a crate that we do not use otherwise, so that its type is not named here.
fn validity<T>(now: SystemTime, days: u32) -> (T, T)
where
    T: From<SystemTime>,
{
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let begin = UNIX_EPOCH + since_1970.saturating_sub(CLOCKS_DIFFER);
    (T::from(begin), T::from(UNIX_EPOCH + since_1970 + DAY * days))
}
