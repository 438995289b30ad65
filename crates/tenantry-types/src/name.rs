//! Names that people type. All are checked here, so that no name can escape from a path or a host.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A name that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct InvalidName {
    /// Which kind of name.
    pub what: &'static str,
    /// The rule that was broken, as the end of a sentence.
    pub rule: &'static str,
}

/// A DNS label: 1 to 63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit.
fn check_label(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let fail = |rule| Err(InvalidName { what, rule });
    if text.is_empty() || text.len() > 63 {
        return fail("must have 1 to 63 characters");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return fail("may hold only a-z, 0-9 and `-`");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return fail("must start and end with a letter or digit");
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// # Errors
            /// When the text is not a DNS label in lower case.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check_label($what, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    };
}

label! {
    /// What operators call a webhook.
    WebhookName, "webhook name"
}

label! {
    /// What people call a tenant; the first label of its host.
    TenantName, "tenant name"
}
label! {
    /// A tenant-node's stable id, kept in its data folder.
    NodeId, "node id"
}

/// A host name that an operator registered for a tenant, in lower case and without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// # Errors
    /// When the text is not two or more DNS labels joined by dots, or has more than 253 characters.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        const WHAT: &str = "domain";
        if text.len() > 253 || !text.contains('.') {
            return Err(InvalidName {
                what: WHAT,
                rule: "must be labels joined by dots, at most 253 characters",
            });
        }
        text.split('.').try_for_each(|label| check_label(WHAT, label))?;
        Ok(Self(text.into()))
    }

    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Free-form key-value pairs that operators attach to tenants and nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// How many pairs one resource may carry.
    pub const MAX: usize = 32;

    /// # Errors
    /// When there are too many pairs, or a key or a value is too long or holds a control character.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, InvalidName> {
        const WHAT: &str = "label";
        if pairs.len() > Self::MAX {
            return Err(InvalidName {
                what: WHAT,
                rule: "count must be at most 32",
            });
        }
        for (key, value) in &pairs {
            if key.is_empty() || key.len() > 63 || value.len() > 255 {
                return Err(InvalidName {
                    what: WHAT,
                    rule: "key must have 1 to 63 bytes and its value at most 255",
                });
            }
            if key.chars().chain(value.chars()).any(char::is_control) {
                return Err(InvalidName {
                    what: WHAT,
                    rule: "must not hold control characters",
                });
            }
        }
        Ok(Self(pairs))
    }

    /// All pairs, in the order of their keys.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names_are_dns_labels() {
        for good in ["a", "acme", "a-1", "0day", &"x".repeat(63)] {
            assert!(TenantName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "..",
            "a b",
            "ä",
            "a_b",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(TenantName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn domains_need_two_labels() {
        assert!(DomainName::new("db.acme.example").is_ok());
        for bad in [
            "",
            "localhost",
            "a..b",
            ".a.b",
            "a.b.",
            "*.a.b",
            &format!("{}.x", "a".repeat(64)),
        ] {
            assert!(DomainName::new(bad).is_err(), "{bad:?}");
        }
    }
}
