//! Tables that differ, where callers must prove who they are: what a node has not heard of yet is no reason to refuse a token.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tenant_node::http::body::{Body, full};
use tenantry_types::{TenantUid, TokenKey};

use crate::harness::{Node, Placements, Protocol, answer, client, echo_collected, nobody, problem, request, soon};

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn token_of(uid: u128) -> HeaderValue {
    let header = Header {
        kid: Some("k7".to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = json!({"sub": TenantUid::from_u128(uid).to_string(), "scope": "full", "exp": 10_000_000_000_u64});
    let key = signing_key().to_pkcs8_der().unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(key.as_bytes())).unwrap();
    HeaderValue::from_str(&format!("Bearer {token}")).unwrap()
}

fn with_token(mut request: Request<Body>, uid: u128) -> Request<Body> {
    request.headers_mut().insert(AUTHORIZATION, token_of(uid));
    request
}

/// A table of this revision, with the key and the second node.
fn known(revision: u64, owner: &Node) -> Placements {
    let key = TokenKey {
        id: "k7".to_owned(),
        public_key: signing_key().verifying_key().to_bytes(),
    };
    Placements::at(revision).token_key(key).node("node-2", owner.peer)
}

/// Two nodes, of which the first knows that the second serves `acme`.
async fn nodes() -> (Node, Node) {
    let ahead = Node::start_with_tokens("node-1", nobody).await;
    let owner = Node::start_with_tokens("node-2", echo_collected).await;
    known(2, &owner).tenant(1, "acme", "node-2", 1).put_into(&ahead);
    (ahead, owner)
}

#[tokio::test]
async fn an_owner_that_has_not_heard_of_a_tenant_asks_for_its_table_before_it_judges_the_token() {
    for has_a_table in [true, false] {
        let (ahead, owner) = nodes().await;
        if has_a_table {
            known(1, &owner).tenant(2, "other", "node-2", 1).put_into(&owner);
        }
        let asking = tokio::spawn({
            let asking = with_token(request(ahead.data, full("body")), 1);
            async move { answer(&client(Protocol::Http1), asking).await }
        });
        soon("a table to be asked for", owner.table.refresh_asked()).await;
        known(2, &owner).tenant(1, "acme", "node-2", 1).put_into(&owner);
        let answered = asking.await.unwrap();
        assert_eq!(answered, (200, Bytes::from_static(b"acme:body")), "{has_a_table}");
    }
}

#[tokio::test]
async fn an_owner_that_goes_on_not_knowing_the_tenant_is_no_reason_to_refuse_the_token() {
    let (ahead, owner) = nodes().await;
    known(1, &owner).put_into(&owner);
    let asking = with_token(request(ahead.data, full("x")), 1);
    let refused = problem(answer(&client(Protocol::Http1), asking).await);
    assert_eq!(refused, (503, "placement-changing".to_owned()));
}

#[tokio::test]
async fn what_a_node_says_of_a_request_lets_nobody_in() {
    let (_ahead, owner) = nodes().await;
    known(1, &owner).tenant(2, "other", "node-2", 1).put_into(&owner);
    let forwarded = |uid| {
        let request = Request::post(format!("http://{}/v3/pipeline", owner.peer))
            .header("x-tenantry-tenant-uid", TenantUid::from_u128(1).to_string())
            .header("x-tenantry-epoch", 1)
            .body(full("x"))
            .unwrap();
        with_token(request, uid)
    };
    for uid in [1, 2] {
        let refused = problem(answer(&client(Protocol::H2c), forwarded(uid)).await);
        assert_eq!(
            refused,
            (421, "not-the-owner".to_owned()),
            "not served before it is known"
        );
    }
    known(2, &owner)
        .tenant(1, "acme", "node-2", 1)
        .tenant(2, "other", "node-2", 1)
        .put_into(&owner);
    let refused = problem(answer(&client(Protocol::H2c), forwarded(2)).await);
    assert_eq!(refused, (403, "not-your-tenant".to_owned()));
    let served = answer(&client(Protocol::H2c), forwarded(1)).await;
    assert_eq!(served, (200, Bytes::from_static(b"acme:x")));
}

#[tokio::test]
async fn a_node_without_a_table_says_so_to_who_has_a_token() {
    let node = Node::start_with_tokens("node-1", nobody).await;
    let asking = with_token(request(node.data, full("x")), 1);
    let refused = problem(answer(&client(Protocol::Http1), asking).await);
    assert_eq!(refused, (503, "routing-table-missing".to_owned()));
    let unproved = problem(answer(&client(Protocol::Http1), request(node.data, full("x"))).await);
    assert_eq!(unproved, (401, "not-authenticated".to_owned()));
}
