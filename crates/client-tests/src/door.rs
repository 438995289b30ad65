//! A port that leads to one tenant, as a load balancer in front of the nodes would: requests pass with the tenant's host.
//!
//! Many machines do not resolve `*.localhost`, and most SDKs can neither set the `Host` header nor take another
//! resolver. A door changes that header and nothing else, streams both ways, and remembers what SDKs called.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Open as long as the runtime that it was opened on.
#[derive(Debug, Clone)]
pub struct Door {
    address: SocketAddr,
    calls: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Clone)]
struct Passage {
    client: Client<HttpConnector, Incoming>,
    node: Authority,
    host: HeaderValue,
    calls: Arc<Mutex<BTreeSet<String>>>,
}

impl Door {
    /// Leads to `tenant` through the node at `node`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn open(runtime: &Handle, node: SocketAddr, tenant: &str) -> Self {
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let calls = Arc::default();
        let passage = Passage {
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            node: node.to_string().parse().expect("an address is an authority"),
            host: HeaderValue::try_from(format!("{tenant}.localhost")).expect("a name fits into a header"),
            calls: Arc::clone(&calls),
        };
        runtime.spawn(accept(listener, passage));
        Self { address, calls }
    }

    /// The tenant's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was called, as `POST /v3/pipeline`.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, passage: Passage) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let passage = passage.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(passage.clone(), request));
            // An SDK that goes away is no matter of ours.
            let _gone = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

async fn pass(passage: Passage, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned();
    passage.note(format!("{} {}", parts.method, parts.uri.path()));
    let mut uri = Uri::default().into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(passage.node.clone());
    uri.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.uri = Uri::from_parts(uri).expect("scheme, authority and path are a URI");
    parts.version = Version::HTTP_11;
    parts.headers.insert(HOST, passage.host.clone());
    let answer = passage.client.request(Request::from_parts(parts, body)).await;
    Ok(answer.map_or_else(
        |error| {
            let words = Full::new(Bytes::from(format!("the door's node: {error}"))).map_err(|never| match never {});
            let mut answer = Response::new(words.boxed());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        },
        |answer| answer.map(Incoming::boxed),
    ))
}

impl Passage {
    fn note(&self, call: String) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
    }
}
