//! Environment keys that look like ours but are not: a misspelt key would otherwise be ignored in silence.

use std::ffi::OsString;

use crate::failure::Failure;

/// All keys that this program reads. The daemons' `TENANTRY_…` keys may be set beside them and are left alone.
const KNOWN: [&str; 6] = [
    "TENANTRY_ENDPOINT",
    "TENANTRY_CTL_TIMEOUT",
    "TENANTRY_CTL_OUTPUT",
    "TENANTRY_TLS_CA",
    "TENANTRY_TLS_CERT",
    "TENANTRY_TLS_KEY",
];

/// Misspellings that nothing else in the system reads.
const MISSPELT: [&str; 1] = ["TENANTRY_ENDPOINTS"];

/// # Errors
/// Names the first key that was probably meant for this program.
pub(crate) fn check(keys: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    for key in keys {
        let Some(key) = key.to_str() else { continue };
        let ours = key.starts_with("TENANTRY_CTL") && !KNOWN.contains(&key);
        if ours || MISSPELT.contains(&key) {
            return Err(Failure::usage(format!("unknown environment key `{key}`"))
                .with_hint(format!("tenantctl reads {}", KNOWN.join(", "))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_were_meant_for_us_are_refused() {
        let cases = [
            ("TENANTRY_ENDPOINT", true),
            ("TENANTRY_CTL_TIMEOUT", true),
            ("TENANTRY_NODE_ID", true),
            ("PATH", true),
            ("TENANTRY_ENDPOINTS", false),
            ("TENANTRY_CTL_TIMEOT", false),
        ];
        for (key, accepted) in cases {
            assert_eq!(check([OsString::from(key)].into_iter()).is_ok(), accepted, "{key}");
        }
    }
}
