//! The three files that a program proves itself with.

use std::path::{Path, PathBuf};

/// Paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are believed; more than one while an authority is replaced.
    pub ca: PathBuf,
    /// The program's certificate, then those between it and its authority.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Some of the three were given, and this one was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is missing: tls-ca, tls-cert and tls-key are given together")]
pub struct IncompleteTlsFiles {
    /// The option's name.
    pub option: &'static str,
}

impl TlsFiles {
    /// The option that names `path`.
    #[must_use]
    pub fn option_of(&self, path: &Path) -> &'static str {
        match path {
            path if path == self.ca => "tls-ca",
            path if path == self.key => "tls-key",
            _ => "tls-cert",
        }
    }

    /// From the options `tls-ca`, `tls-cert` and `tls-key`; `None` when none was given.
    ///
    /// # Errors
    /// Names the first that is missing when others were given.
    pub fn from_options(
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Option<Self>, IncompleteTlsFiles> {
        let missing = |option| IncompleteTlsFiles { option };
        match (ca, cert, key) {
            (None, None, None) => Ok(None),
            (ca, cert, key) => Ok(Some(Self {
                ca: ca.ok_or(missing("tls-ca"))?,
                cert: cert.ok_or(missing("tls-cert"))?,
                key: key.ok_or(missing("tls-key"))?,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_files_are_given_together_or_not_at_all() {
        let path = || Some(PathBuf::from("file"));
        let named = |ca, cert, key| TlsFiles::from_options(ca, cert, key).map_err(|missing| missing.option);
        assert_eq!(named(None, None, None), Ok(None));
        assert!(matches!(named(path(), path(), path()), Ok(Some(_))));
        assert_eq!(named(None, path(), path()), Err("tls-ca"));
        assert_eq!(named(path(), None, None), Err("tls-cert"));
        assert_eq!(named(path(), path(), None), Err("tls-key"));
    }
}
