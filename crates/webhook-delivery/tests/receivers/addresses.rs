//! Addresses that are not ours to send to: refused before anyone there sees a connection.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use webhook_delivery::{AddressPolicy, Client, ClientOptions, Failure};

use crate::support::{failure, options};

/// May send to no loopback.
fn strict() -> Client {
    Client::new(ClientOptions {
        policy: AddressPolicy::default(),
        ..options()
    })
    .unwrap()
}

fn nobody_came(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    // A connection would be in the queue by now, since attempts have ended.
    let accepted = listener.accept().map(|(_, from)| from);
    assert_eq!(accepted.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn loopback_is_refused_under_every_name_and_sees_no_connection() {
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = v4.local_addr().unwrap().port();
    // Not every machine has IPv6.
    let v6 = TcpListener::bind(("::1", port)).ok();
    for host in [
        "localhost",
        "LocalHost",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
    ] {
        for scheme in ["https", "http"] {
            let reason = failure(&strict(), &format!("{scheme}://{host}:{port}/")).await;
            assert!(
                matches!(reason, Failure::AddressForbidden(_)),
                "{scheme} {host}: {reason}"
            );
            assert!(reason.is_lasting());
        }
    }
    nobody_came(&v4);
    if let Some(v6) = v6 {
        nobody_came(&v6);
    }
}

#[tokio::test]
async fn http_to_a_public_address_is_refused_though_https_is_not() {
    let reason = failure(&strict(), "http://1.1.1.1/").await;
    let address = "1.1.1.1".parse().unwrap();
    assert_eq!(reason, Failure::Unencrypted { address });
}

#[tokio::test]
async fn an_allowed_network_allows_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::new(ClientOptions {
        policy: AddressPolicy {
            allowed: vec!["127.0.0.2".parse().unwrap()],
        },
        ..options()
    })
    .unwrap();
    let reason = failure(&client, &format!("http://127.0.0.1:{port}/")).await;
    assert!(matches!(reason, Failure::AddressForbidden(_)), "{reason}");
    nobody_came(&listener);
}

#[tokio::test]
async fn a_name_that_is_none_is_not_resolved() {
    let client = Client::new(ClientOptions {
        lookup_timeout: Duration::from_secs(1),
        ..options()
    })
    .unwrap();
    let reason = failure(&client, "https://nobody.invalid./").await;
    assert!(matches!(reason, Failure::NameNotResolved { .. }), "{reason}");
    assert!(!reason.is_lasting());
}
