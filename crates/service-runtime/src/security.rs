//! Whether a daemon's connections are proved and encrypted, from its options.

use std::path::PathBuf;
use std::sync::Arc;

use mutual_tls::{Credentials, Role, Security, TlsFiles};

use crate::options::InvalidOption;

/// From the options `tls-ca`, `tls-cert`, `tls-key` and `insecure-dev` of a daemon whose certificate names one of `roles`. Reads the
/// files.
///
/// # Errors
/// When neither or both were given, or the files cannot be used.
pub fn security(
    [ca, cert, key]: [Option<PathBuf>; 3],
    insecure_dev: Option<bool>,
    roles: &'static [Role],
) -> Result<Security, InvalidOption> {
    let files = TlsFiles::from_options(ca, cert, key)
        .map_err(|missing| InvalidOption::new(missing.option, missing.to_string()))?;
    match (files, insecure_dev.unwrap_or(false)) {
        (Some(files), false) => match Credentials::load(files.clone(), roles) {
            Ok(credentials) => Ok(Security::MutualTls(Arc::new(credentials))),
            Err(error) => Err(InvalidOption::new(files.option_of(error.path()), error.to_string())),
        },
        (None, true) => Ok(Security::Plain),
        (Some(_), true) => Err(InvalidOption::new(
            "insecure-dev",
            "cannot be given together with certificates",
        )),
        (None, false) => Err(InvalidOption::new(
            "tls-ca",
            "is missing, with tls-cert and tls-key: `tenantctl certificates create` makes them. For development alone, \
             insecure-dev does without, on loopback",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(files: [Option<&str>; 3], insecure_dev: Option<bool>) -> Option<&'static str> {
        let outcome = security(
            files.map(|file| file.map(PathBuf::from)),
            insecure_dev,
            &[Role::TenantNode],
        );
        outcome.err().map(|error| error.option)
    }

    #[test]
    fn certificates_or_development_but_not_both_and_not_neither() {
        let all = [Some("/nowhere/ca"), Some("/nowhere/cert"), Some("/nowhere/key")];
        assert_eq!(refused([None; 3], Some(true)), None);
        assert_eq!(refused([None; 3], None), Some("tls-ca"));
        assert_eq!(refused([None; 3], Some(false)), Some("tls-ca"));
        assert_eq!(refused([None, all[1], all[2]], None), Some("tls-ca"));
        assert_eq!(refused([all[0], all[1], None], Some(true)), Some("tls-key"));
        assert_eq!(refused(all, Some(true)), Some("insecure-dev"));
        assert_eq!(
            refused(all, None),
            Some("tls-ca"),
            "the first of them that is not there"
        );
    }
}
