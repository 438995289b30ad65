//! What TLS trusts and offers: Mozilla's roots and the operator's, TLS 1.2 and 1.3, HTTP/1.1 alone.
//!
//! The name in the certificate is always verified; there must be no option to leave that out.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// A file of certificates that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoots {
    /// Not PEM.
    #[error("the additional certificates are not PEM: {0}")]
    NotPem(String),
    /// PEM, with no certificate in it.
    #[error("there is no certificate among the additional certificates")]
    Empty,
    /// The certificate with this number, from 1 on, cannot be a root.
    #[error("additional certificate {number} cannot be used: {text}")]
    Unusable {
        /// Its number in the file.
        number: usize,
        /// What is wrong with it.
        text: String,
    },
    /// The cryptography offers no version of TLS.
    #[error("TLS cannot be set up: {0}")]
    NoTls(String),
}

/// Trusts `extra_roots`, certificates in PEM, besides Mozilla's.
pub(crate) fn config(extra_roots: Option<&[u8]>) -> Result<ClientConfig, InvalidRoots> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(pem) = extra_roots {
        add(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidRoots::NoTls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // An attempt keeps nothing for the next one.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), InvalidRoots> {
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| InvalidRoots::NotPem(error.to_string()))?;
        number += 1;
        roots.add(certificate).map_err(|error| InvalidRoots::Unusable {
            number,
            text: error.to_string(),
        })?;
    }
    if number == 0 {
        return Err(InvalidRoots::Empty);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_none_are_refused() {
        assert!(config(None).is_ok());
        let pem = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
        for empty in ["", "no PEM at all", "-----BEGIN X-----\n\n-----END X-----\n"] {
            assert_eq!(
                config(Some(empty.as_bytes())).unwrap_err(),
                InvalidRoots::Empty,
                "{empty}"
            );
        }
        let unusable = config(Some(pem("AAAA").as_bytes())).unwrap_err();
        assert!(
            matches!(unusable, InvalidRoots::Unusable { number: 1, .. }),
            "{unusable}"
        );
        for broken in [pem("!"), "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned()] {
            let error = config(Some(broken.as_bytes())).unwrap_err();
            assert!(matches!(error, InvalidRoots::NotPem(_)), "{error}");
        }
    }
}
