//! Why certificates cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::role::Role;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has not what it should have.
    #[error("{} holds no {expected} in PEM", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should have.
        expected: &'static str,
    },
    /// A certificate of an authority cannot be used as one.
    #[error("{} holds a certificate that is not an authority's: {source}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("{} cannot be used with its key: {source}", .path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The certificate is for another kind of program.
    #[error("{} is a certificate without the DNS name {}", .path.display(), either(.roles))]
    Role {
        /// The certificate's file.
        path: PathBuf,
        /// The roles of which it should name one.
        roles: &'static [Role],
    },
    /// The certificate itself cannot be read.
    #[error("{} holds a certificate that cannot be read: {reason}", .path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The authorities did not sign it, or its time is not now.
    #[error("{} would be believed by nobody: {source}", .path.display())]
    Unbelievable {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl TlsError {
    /// The file that is at fault.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::Empty { path, .. }
            | Self::Authority { path, .. }
            | Self::Pair { path, .. }
            | Self::Role { path, .. }
            | Self::Certificate { path, .. }
            | Self::Unbelievable { path, .. } => path,
        }
    }
}

fn either(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(Role::to_string).collect();
    names.join(" or ")
}
