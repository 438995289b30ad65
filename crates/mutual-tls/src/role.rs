//! The parts that a certificate's bearer may play.

use std::fmt;

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::server::ParsedCertificate;

/// A part in the system, named in a certificate as one of its DNS names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A member of the control plane.
    ControlPlane,
    /// A tenant-node.
    TenantNode,
    /// Somebody who runs the system, by `tenantctl` or another client.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ControlPlane, Self::TenantNode, Self::Operator];

    /// The DNS name that says so in a certificate. It is looked up nowhere.
    #[must_use]
    pub const fn dns_name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane.tenantry",
            Self::TenantNode => "tenant-node.tenantry",
            Self::Operator => "operator.tenantry",
        }
    }

    #[expect(clippy::expect_used, reason = "three constants, each tried by a test")]
    pub(crate) fn server_name(self) -> ServerName<'static> {
        ServerName::DnsName(DnsName::try_from(self.dns_name()).expect("a valid name"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dns_name())
    }
}

/// The roles that a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// Those of a certificate whose chain was verified before. None when it cannot be read.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return Self(Vec::new());
        };
        let named = |role: &Role| rustls::client::verify_server_name(&parsed, &role.server_name()).is_ok();
        Self(Role::ALL.into_iter().filter(named).collect())
    }

    /// Whether `role` is among them.
    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// Who is at the other end of a connection that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody was asked: development.
    Unasked,
    /// Proved by certificate.
    Proved(Roles),
}

impl Caller {
    /// Whether it may do what is for `roles`.
    #[must_use]
    pub fn is_one_of(&self, roles: &[Role]) -> bool {
        match self {
            Self::Unasked => true,
            Self::Proved(proved) => roles.iter().any(|role| proved.contains(*role)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_a_name_that_a_certificate_can_have() {
        for role in Role::ALL {
            assert_eq!(role.server_name().to_str(), role.to_string());
        }
    }

    #[test]
    fn a_caller_may_do_what_is_for_one_of_its_roles() {
        let node = Caller::Proved(Roles(vec![Role::TenantNode]));
        assert!(node.is_one_of(&[Role::ControlPlane, Role::TenantNode]));
        assert!(!node.is_one_of(&[Role::Operator]) && !node.is_one_of(&[]));
        assert!(!Caller::Proved(Roles(Vec::new())).is_one_of(&Role::ALL));
        assert!(Caller::Unasked.is_one_of(&[]));
    }
}
