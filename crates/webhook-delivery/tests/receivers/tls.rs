//! Receivers behind TLS: who is believed, and who is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use webhook_delivery::{Client, ClientOptions, Failure, Outcome};

use crate::support::{Receiver, attempt, client, failure, options, read_request, until_closed};

/// An authority that nobody knows but whom we tell.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Trusts this authority besides Mozilla's.
    fn client(&self) -> Client {
        let encoded = base64::engine::general_purpose::STANDARD.encode(self.0.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
        Client::new(ClientOptions {
            extra_roots: Some(pem.into_bytes()),
            ..options()
        })
        .unwrap()
    }

    /// A server's certificate for `names`, with its key.
    fn certificate(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
    }
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Serves TLS on loopback and answers each request with 200.
struct Server {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(identity: Identity, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = identity;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                if read_request(&mut tls).await.starts_with("POST ") {
                    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
                until_closed(tls).await;
            }
        };
        Self {
            address,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    async fn with(identity: Identity) -> Self {
        Self::start(identity, rustls::ALL_VERSIONS, &[]).await
    }

    /// By name: the host is verified by this.
    fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.address.port())
    }
}

fn unchanged(_: &mut CertificateParams) {}

/// What TLS had against the receiver.
fn tls_text(reason: Failure) -> String {
    assert!(reason.is_lasting());
    match reason {
        Failure::Tls { text } => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_by_an_authority_that_was_given_is_good_in_both_versions_of_tls() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let identity = authority.certificate(&["localhost", "127.0.0.1"], unchanged);
        let server = Server::start(identity, &[version], &["h2", "http/1.1"]).await;
        for url in [server.url(), format!("https://{}/", server.address)] {
            let outcome = attempt(&authority.client(), &url).await;
            assert!(
                matches!(outcome, Outcome::Delivered { status: 200, .. }),
                "{url}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not_believed() {
    let identity = Authority::new().certificate(&["localhost"], unchanged);
    let server = Server::with(identity).await;
    for client in [client(), Authority::new().client()] {
        let text = tls_text(failure(&client, &server.url()).await);
        assert!(text.starts_with("invalid peer certificate"), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let authority = Authority::new();
    let crowd: Vec<_> = (0..300).map(|number| format!("host-{number}.example")).collect();
    let crowd: Vec<_> = crowd.iter().map(String::as_str).collect();
    for names in [&["other.example"][..], &["127.0.0.1"], &["local.host"], &crowd] {
        let server = Server::with(authority.certificate(names, unchanged)).await;
        let text = tls_text(failure(&authority.client(), &server.url()).await);
        assert!(text.contains("not valid for name"), "{text}");
        assert!(text.len() <= 512, "as long as the receiver likes: {}", text.len());
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_its_own_authority_is_not_believed() {
    let authority = Authority::new();
    let expired = authority.certificate(&["localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let server = Server::with(expired).await;
    let text = tls_text(failure(&authority.client(), &server.url()).await);
    assert!(text.contains("expired"), "{text}");

    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = params.self_signed(&key).unwrap();
    let identity = (own.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    let server = Server::with(identity).await;
    tls_text(failure(&authority.client(), &server.url()).await);
}

#[tokio::test]
async fn who_speaks_http_2_alone_is_told_apart_in_the_handshake() {
    let authority = Authority::new();
    let identity = authority.certificate(&["localhost"], unchanged);
    let server = Server::start(identity, rustls::ALL_VERSIONS, &["h2"]).await;
    let text = tls_text(failure(&authority.client(), &server.url()).await);
    assert!(text.contains("NoApplicationProtocol"), "{text}");
}

#[tokio::test]
async fn who_speaks_no_tls_is_sent_no_message() {
    let plain = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let url = plain.url().replace("http://", "https://");
    // The receiver waits for a request that never comes, so it is the client who has to give up.
    let impatient = Client::new(ClientOptions {
        connect_timeout: Duration::from_secs(1),
        ..options()
    })
    .unwrap();
    let reason = failure(&impatient, &url).await;
    assert!(matches!(reason, Failure::ConnectTimedOut { .. }), "{reason}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let talking = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        until_closed(stream).await;
    });
    tls_text(failure(&client(), &url).await);
    talking.await.unwrap();
}

#[tokio::test]
async fn who_hangs_up_in_the_handshake_has_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let hanging_up = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    let reason = failure(&client(), &url).await;
    assert!(matches!(reason, Failure::BrokenOff { .. }), "{reason}");
    hanging_up.await.unwrap();
}

#[tokio::test]
async fn http_to_a_receiver_behind_tls_is_not_http() {
    let identity = Authority::new().certificate(&["localhost"], unchanged);
    let server = Server::with(identity).await;
    let reason = failure(&client(), &server.url().replace("https://", "http://")).await;
    assert!(matches!(reason, Failure::NotHttp { .. }), "{reason}");
}
