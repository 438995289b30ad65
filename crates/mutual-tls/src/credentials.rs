//! What a program proves itself with and whom it believes, read from files and read anew when they change.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::BasicConstraints;

use crate::error::TlsError;
use crate::files::TlsFiles;
use crate::role::{Role, Roles};

/// How often the files are compared with what is in use.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const HTTP2: &[u8] = b"h2";

/// Certificates in use. Shared by all connections of a program.
pub struct Credentials {
    files: TlsFiles,
    roles: &'static [Role],
    contents: Mutex<Contents>,
    current: ArcSwap<InUse>,
}

/// What became of looking at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are as before.
    None,
    /// Other certificates are in use now.
    Renewed,
}

pub(crate) struct InUse {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    expires: SystemTime,
}

/// The files' bytes.
#[derive(Default, PartialEq, Eq)]
struct Contents {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    /// Reads the files of a program whose certificate names one of `roles`. Blocks.
    ///
    /// # Errors
    /// When they cannot be read, do not go together, or others would not believe them.
    pub fn load(files: TlsFiles, roles: &'static [Role]) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let current = ArcSwap::from_pointee(contents.parse(&files, roles)?);
        Ok(Self {
            files,
            roles,
            contents: Mutex::new(contents),
            current,
        })
    }

    /// Reads the files again; later connections use what they say. Blocks.
    ///
    /// # Errors
    /// As [`Credentials::load`]; what was in use stays so.
    pub fn look(&self) -> Result<Change, TlsError> {
        let read = Contents::read(&self.files)?;
        let mut contents = self.contents.lock();
        if read == *contents {
            return Ok(Change::None);
        }
        self.current.store(Arc::new(read.parse(&self.files, self.roles)?));
        *contents = read;
        Ok(Change::Renewed)
    }

    /// Looks at the files again and again, until `stop`. `in_use` is told when the certificate in use ends, at the start and after
    /// each change.
    pub async fn follow_files(self: Arc<Self>, in_use: impl Fn(SystemTime) + Send, stop: CancellationToken) {
        in_use(self.expires_at());
        let mut told = None;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL))
            .await
            .is_some()
        {
            let looking = Arc::clone(&self);
            let outcome = match tokio::task::spawn_blocking(move || looking.look()).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(panicked) => Err(panicked.to_string()),
            };
            match outcome {
                Ok(Change::None) => told = None,
                Ok(Change::Renewed) => {
                    told = None;
                    in_use(self.expires_at());
                    tracing::info!(
                        days_left = days_until(self.expires_at()),
                        "other certificates are in use"
                    );
                }
                // Half of a change is seen, or somebody erred. Told once, not every few seconds.
                Err(reason) if told.as_ref() != Some(&reason) => {
                    tracing::warn!(
                        reason,
                        "changed certificates cannot be used; the earlier ones stay in use"
                    );
                    told = Some(reason);
                }
                Err(_) => {}
            }
        }
    }

    /// When the program's own certificate ends.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.current.load().expires
    }

    /// The files.
    #[must_use]
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(crate) fn current(&self) -> Arc<InUse> {
        self.current.load_full()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.files)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            ca: read(&files.ca)?,
            cert: read(&files.cert)?,
            key: read(&files.key)?,
        })
    }

    fn parse(&self, files: &TlsFiles, roles: &'static [Role]) -> Result<InUse, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca, &files.ca)? {
            if !may_sign(&authority) {
                return Err(TlsError::Authority {
                    path: files.ca.clone(),
                    source: rustls::Error::General("it may not sign others".to_owned()),
                });
            }
            roots.add(authority).map_err(|source| TlsError::Authority {
                path: files.ca.clone(),
                source,
            })?;
        }
        let chain = certificates(&self.cert, &files.cert)?;
        let Ok(key) = PrivateKeyDer::from_pem_slice(&self.key) else {
            return Err(TlsError::Empty {
                path: files.key.clone(),
                expected: "private key",
            });
        };
        let believed = Believed::by(roots).map_err(|error| TlsError::Pair {
            path: files.ca.clone(),
            source: rustls::Error::General(error.to_string()),
        })?;
        let expires = believed.check(&chain, &files.cert, roles)?;
        let (server, client) = believed.configurations(chain, key).map_err(|source| TlsError::Pair {
            path: files.cert.clone(),
            source,
        })?;
        Ok(InUse {
            server: Arc::new(server),
            client: Arc::new(client),
            expires,
        })
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or(TlsError::Empty {
        path: path.to_owned(),
        expected: "certificate",
    })
}

/// Whom a program believes.
struct Believed {
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Believed {
    fn by(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        Ok(Self {
            clients: WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?,
            servers: WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?,
            provider,
        })
    }

    /// Refuses what the other programs would refuse, so that it is told at the start and not by each of them. Answers with the
    /// certificate's end.
    fn check(&self, chain: &[CertificateDer<'_>], path: &Path, roles: &'static [Role]) -> Result<SystemTime, TlsError> {
        let unreadable = |reason: String| TlsError::Certificate {
            path: path.to_owned(),
            reason,
        };
        let unbelievable = |source| TlsError::Unbelievable {
            path: path.to_owned(),
            source,
        };
        let (own, between) = chain
            .split_first()
            .ok_or_else(|| unreadable("there is none".to_owned()))?;
        let named = Roles::of(own);
        let Some(role) = roles.iter().copied().find(|role| named.contains(*role)) else {
            return Err(TlsError::Role {
                path: path.to_owned(),
                roles,
            });
        };
        let now = UnixTime::now();
        self.clients
            .verify_client_cert(own, between, now)
            .map_err(unbelievable)?;
        // Nobody connects to an operator.
        if role != Role::Operator {
            let name = role.server_name();
            let verified = self.servers.verify_server_cert(own, between, &name, &[], now);
            verified.map_err(unbelievable)?;
        }
        let ends: Result<Vec<_>, _> = chain.iter().map(end_of).collect();
        let first = ends.map_err(|error| unreadable(error.to_string()))?.into_iter().min();
        first.ok_or_else(|| unreadable("there is none".to_owned()))
    }

    fn configurations(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(ServerConfig, ClientConfig), rustls::Error> {
        // Both ends are ours: there is nobody who would need an older version.
        let versions = &[&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::clone(&self.clients))
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![HTTP2.to_vec()];
        // A resumed session would go on with a certificate that has ended meanwhile.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_webpki_verifier(Arc::clone(&self.servers))
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        client.resumption = Resumption::disabled();
        Ok((server, client))
    }
}

fn end_of(certificate: &CertificateDer<'_>) -> x509_cert::der::Result<SystemTime> {
    let read = x509_cert::Certificate::from_der(certificate)?;
    Ok(UNIX_EPOCH + read.tbs_certificate.validity.not_after.to_unix_duration())
}

/// Whether a certificate says of itself that it is an authority's. Whom we believe outright nobody checks for that later.
fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    let Ok(read) = x509_cert::Certificate::from_der(certificate) else {
        return false;
    };
    matches!(read.tbs_certificate.get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca)
}

fn days_until(time: SystemTime) -> u64 {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    left.as_secs() / (24 * 60 * 60)
}
