//! Who is let in, who is believed, and what a change of files does, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

mod authority;

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::{Authority, Validity};
use mutual_tls::{Caller, Change, Credentials, GrpcIncoming, Role, Security, TlsError, TlsFiles};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Longer than a handshake may take.
const BOUND: Duration = Duration::from_secs(20);

fn mutual(credentials: Credentials) -> Security {
    Security::MutualTls(Arc::new(credentials))
}

/// What the server says of its caller after a word went both ways, or who of the two refused.
async fn meet(server: &Security, client: &Security, expected: Role) -> Result<Caller, &'static str> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.clone();
    let accepting = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let (mut connection, caller) = server.accept(socket).await.map_err(|_| "server")?;
        let mut word = [0; 4];
        connection.read_exact(&mut word).await.map_err(|_| "client")?;
        connection.write_all(&word).await.map_err(|_| "client")?;
        connection.flush().await.map_err(|_| "client")?;
        Ok(caller)
    });
    let asking = async {
        let mut connection = client.connect(&address, expected, BOUND).await.map_err(|_| "client")?;
        // With TLS 1.3 a client hears after its own handshake that it is refused.
        connection.write_all(b"word").await.map_err(|_| "server")?;
        connection.flush().await.map_err(|_| "server")?;
        let mut word = [0; 4];
        connection.read_exact(&mut word).await.map_err(|_| "server")?;
        (&word == b"word").then_some(()).ok_or("server")
    };
    let asked = tokio::time::timeout(BOUND, asking).await.unwrap();
    let accepted = tokio::time::timeout(BOUND, accepting).await.unwrap().unwrap();
    match asked {
        Ok(()) => accepted,
        Err(who) => Err(who),
    }
}

#[tokio::test]
async fn both_ends_prove_their_roles() {
    let authority = Authority::new();
    let (member, _files) = authority.credentials(Role::ControlPlane);
    let (node, _files_of_node) = authority.credentials(Role::TenantNode);
    let (member, node) = (mutual(member), mutual(node));
    let caller = meet(&member, &node, Role::ControlPlane).await.unwrap();
    assert!(caller.is_one_of(&[Role::TenantNode]));
    assert!(!caller.is_one_of(&[Role::ControlPlane, Role::Operator]));
    // A node that poses as a member is found out by whoever connects.
    assert_eq!(meet(&node, &member, Role::ControlPlane).await, Err("client"));
    assert_eq!(
        meet(&Security::Plain, &Security::Plain, Role::ControlPlane).await,
        Ok(Caller::Unasked)
    );
}

/// A node that believes `ours`, and is believed by another authority alone.
fn stranger_who_believes(ours: &Authority) -> (Security, TempDir) {
    let (folder, node) = (tempfile::tempdir().unwrap(), &[Role::TenantNode.dns_name()][..]);
    let ours = fs::read_to_string(ours.write(folder.path(), node, Validity::Now).ca).unwrap();
    let files = Authority::new().write(folder.path(), node, Validity::Now);
    let both = ours + &fs::read_to_string(&files.ca).unwrap();
    fs::write(&files.ca, both).unwrap();
    (mutual(Credentials::load(files, &[Role::TenantNode]).unwrap()), folder)
}

#[tokio::test]
async fn a_connection_that_is_never_answered_was_not_made() {
    let (operator, _files) = Authority::new().credentials(Role::Operator);
    // Takes connections in the kernel's queue and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let channel = mutual(operator).channel(&endpoint, Role::ControlPlane, Duration::from_millis(200));
    let failed = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    let mut causes = std::iter::successors(std::error::Error::source(&failed), |error| error.source());
    assert!(causes.any(|cause| cause.is::<tonic::ConnectError>()), "{failed:?}");
}

#[test]
fn a_leaf_among_the_authorities_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new().write(folder.path(), &[Role::ControlPlane.dns_name()], Validity::Now);
    let both = fs::read_to_string(&files.ca).unwrap() + &fs::read_to_string(&files.cert).unwrap();
    fs::write(&files.ca, both).unwrap();
    let refused = Credentials::load(files, &[Role::ControlPlane]).map(drop);
    assert!(matches!(refused, Err(TlsError::Authority { .. })), "{refused:?}");
}

#[tokio::test]
async fn nobody_believes_the_certificates_of_another_authority() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (member, _files) = ours.credentials(Role::ControlPlane);
    let (stranger, _files_of_other) = others.credentials(Role::TenantNode);
    let member = mutual(member);
    assert_eq!(
        meet(&member, &mutual(stranger), Role::ControlPlane).await,
        Err("client"),
        "it does not believe the member"
    );
    let (stranger, _files_of_stranger) = stranger_who_believes(&ours);
    assert_eq!(meet(&member, &stranger, Role::ControlPlane).await, Err("server"));
}

#[tokio::test]
async fn one_end_without_certificates_is_refused() {
    let (member, _files) = Authority::new().credentials(Role::ControlPlane);
    let member = mutual(member);
    assert_eq!(meet(&member, &Security::Plain, Role::ControlPlane).await, Err("server"));
    assert_eq!(meet(&Security::Plain, &member, Role::ControlPlane).await, Err("client"));
}

#[test]
fn what_the_others_would_refuse_is_refused_at_the_start() {
    let authority = Authority::new();
    let member = Role::ControlPlane.dns_name();
    assert!(authority.loading(&[member], Validity::Now).is_ok());
    assert!(authority.loading(&["some.host", member], Validity::Now).is_ok());
    let expired = authority.loading(&[member], Validity::Over);
    assert!(matches!(expired, Err(TlsError::Unbelievable { .. })), "{expired:?}");
    for names in [&["tenant-node.tenantry"][..], &["some.host"], &[]] {
        let refused = authority.loading(names, Validity::Now);
        assert!(matches!(refused, Err(TlsError::Role { .. })), "{refused:?}");
    }
}

#[test]
fn files_that_do_not_go_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, member) = (Authority::new(), &[Role::ControlPlane.dns_name()][..]);
    let load = |files: &TlsFiles| Credentials::load(files.clone(), &[Role::ControlPlane]).map(drop);
    let files = authority.write(folder.path(), member, Validity::Now);
    let key = fs::read(&files.key).unwrap();
    authority.write(folder.path(), member, Validity::Now);
    fs::write(&files.key, key).unwrap();
    assert!(matches!(load(&files), Err(TlsError::Pair { .. })));
    fs::write(&files.key, "no key").unwrap();
    let refused = load(&files).unwrap_err().to_string();
    assert!(refused.ends_with("tls.key holds no private key in PEM"), "{refused}");
    fs::write(&files.ca, "").unwrap();
    let refused = load(&files).unwrap_err().to_string();
    assert!(refused.ends_with("ca.crt holds no certificate in PEM"), "{refused}");
    fs::remove_file(&files.cert).unwrap();
    assert!(matches!(load(&files), Err(TlsError::Unreadable { .. })));
}

#[tokio::test]
async fn changed_files_are_used_for_the_next_connection_and_a_broken_change_is_not() {
    let authority = Authority::new();
    let (member, folder) = authority.credentials(Role::ControlPlane);
    let (node, _files_of_node) = authority.credentials(Role::TenantNode);
    let (member, node) = (Arc::new(member), mutual(node));
    let security = Security::MutualTls(Arc::clone(&member));
    assert!(member.expires_at() > SystemTime::now());
    assert_eq!(member.look().unwrap(), Change::None);

    let files = member.files().clone();
    let working = fs::read(&files.cert).unwrap();
    fs::write(&files.cert, "half a file").unwrap();
    assert!(member.look().is_err());
    assert!(meet(&security, &node, Role::ControlPlane).await.is_ok());
    fs::write(&files.cert, working).unwrap();
    assert_eq!(member.look().unwrap(), Change::None);

    // The authority is replaced: nobody who believes the old one alone believes this member any more.
    Authority::new().write(folder.path(), &[Role::ControlPlane.dns_name()], Validity::Now);
    assert_eq!(member.look().unwrap(), Change::Renewed);
    assert!(meet(&security, &node, Role::ControlPlane).await.is_err());
}

#[tokio::test]
async fn grpc_passes_and_a_silent_connection_holds_up_nobody() {
    let authority = Authority::new();
    let (member, _files) = authority.credentials(Role::ControlPlane);
    let (operator, _files_of_operator) = authority.credentials(Role::Operator);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = GrpcIncoming::new(listener, mutual(member));
    let server = tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));

    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    refused.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let check = |channel| async {
        let mut client = HealthClient::new(channel);
        let checking = client.check(HealthCheckRequest::default());
        tokio::time::timeout(BOUND, checking).await.unwrap()
    };
    let operator = mutual(operator);
    assert!(
        check(operator.channel(&endpoint, Role::ControlPlane, BOUND))
            .await
            .is_ok()
    );
    let connected = operator
        .connected_channel(&endpoint, Role::ControlPlane, BOUND)
        .await
        .unwrap();
    assert!(check(connected).await.is_ok());
    // All that was answered while the silent ones could still have proved themselves, and the oldest had given way.
    let last = silent.last().unwrap().try_read(&mut [0; 1]);
    assert!(matches!(last, Err(error) if error.kind() == ErrorKind::WouldBlock));
    let closed = tokio::time::timeout(BOUND, silent[0].read(&mut [0; 1])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0);

    assert!(
        check(Security::Plain.channel(&endpoint, Role::ControlPlane, BOUND))
            .await
            .is_err()
    );
    assert!(
        operator
            .connected_channel(&endpoint, Role::TenantNode, BOUND)
            .await
            .is_err()
    );
    // One that is not believed fails before a call could have been sent.
    let (stranger, _files_of_stranger) = stranger_who_believes(&authority);
    let unbelieved = stranger.connected_channel(&endpoint, Role::ControlPlane, BOUND).await;
    assert!(
        unbelieved.is_err(),
        "it would look like a call whose outcome is unknown"
    );
    // Nothing was said in clear but a refusal.
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(BOUND, refused.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.abort();
}
