//! Nodes in this process, and clients that speak HTTP/1.1 or h2c.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mutual_tls::Security;
use serde_json::Value;
use tenant_node::http::StopNotice;
use tenant_node::http::body::{Body, BoxError, full};
use tenant_node::http::lanes::Lanes;
use tenant_node::http::server::{ServerOptions, serve};
use tenant_node::layers::{
    AuthenticateLayer, Authentication, CatchUpLayer, Forwarder, Ingress, IngressLayer, RouteLayer, TenantContext,
};
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenantry_layers::IdentifyLayer;
use tenantry_layers::clock::SystemClock;
use tenantry_types::{
    DomainName, Durability, Epoch, NodeId, NodeRoute, Placement, Revision, TenantName, TenantRoute, TenantUid, Tier,
    TierDefinition, TokenGeneration, TokenKey,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, service_fn};

/// For whatever has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Bounds a wait.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Asks until it holds, within bounds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(crate) struct Node {
    pub(crate) data: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) table: SharedRoutingTable,
    pub(crate) notice: StopNotice,
    pub(crate) stop: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl Node {
    /// A node whose tenants are answered by `handler`.
    pub(crate) async fn start<H, F>(id: &str, handler: H) -> Self
    where
        H: Fn(Request<Body>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_at(id, ANY_PORT, LONG, handler).await
    }

    /// One that asks its callers for tokens.
    pub(crate) async fn start_with_tokens<H, F>(id: &str, handler: H) -> Self
    where
        H: Fn(Request<Body>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_as(id, Authentication::Required, ANY_PORT, LONG, handler).await
    }

    pub(crate) async fn start_at<H, F>(id: &str, peer: SocketAddr, drain: Duration, handler: H) -> Self
    where
        H: Fn(Request<Body>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_as(id, Authentication::Open, peer, drain, handler).await
    }

    async fn start_as<H, F>(
        id: &str,
        authentication: Authentication,
        peer: SocketAddr,
        drain: Duration,
        handler: H,
    ) -> Self
    where
        H: Fn(Request<Body>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let table = SharedRoutingTable::default();
        let inner = service_fn(move |request| {
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let stack = ServiceBuilder::new()
            .layer(IngressLayer)
            .map_response(|response: Response<_>| response.map(tenant_node::http::body::boxed))
            .layer(IdentifyLayer::new("localhost"))
            .layer(CatchUpLayer::new(table.clone()))
            .layer(AuthenticateLayer::new(
                authentication,
                table.clone(),
                Arc::new(SystemClock::start()),
            ))
            .layer(RouteLayer::new(
                NodeId::new(id).unwrap(),
                table.clone(),
                Forwarder::new(Security::Plain),
            ))
            .service(inner);
        let (notice, stop) = (StopNotice::default(), CancellationToken::new());
        let data_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer_listener = TcpListener::bind(peer).await.unwrap();
        let (data, peer) = (data_listener.local_addr().unwrap(), peer_listener.local_addr().unwrap());
        let options = |ingress| ServerOptions {
            ingress,
            security: Security::Plain,
            lanes: Lanes::single(),
            max_connections: 1_024,
            drain,
            notice: notice.clone(),
        };
        let serving = vec![
            tokio::spawn(serve(
                data_listener,
                stack.clone(),
                options(Ingress::Public),
                stop.clone(),
            )),
            tokio::spawn(serve(peer_listener, stack, options(Ingress::Peer), stop.clone())),
        ];
        Self {
            data,
            peer,
            table,
            notice,
            stop,
            serving,
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        for listener in self.serving {
            soon("a listener to end", listener).await.unwrap();
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        for listener in self.serving {
            listener.abort();
            let _ = listener.await;
        }
    }
}

/// Counts what is running.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<AtomicUsize>);

/// One that runs, until it is dropped.
pub(crate) struct Run(Arc<AtomicUsize>);

impl Running {
    pub(crate) fn begin(&self) -> Run {
        self.0.fetch_add(1, Ordering::SeqCst);
        Run(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Who serves whom.
#[derive(Default)]
pub(crate) struct Placements {
    table: RoutingTable,
}

impl Placements {
    pub(crate) fn at(revision: u64) -> Self {
        let mut placements = Self::default();
        placements.table.revision = Revision(revision);
        placements
    }

    pub(crate) fn tenant(self, uid: u128, name: &str, node: &str, epoch: u64) -> Self {
        self.tenant_with(uid, name, node, epoch, &[])
    }

    pub(crate) fn tenant_with(mut self, uid: u128, name: &str, node: &str, epoch: u64, domains: &[&str]) -> Self {
        self.table.put_tenant(TenantRoute {
            uid: TenantUid::from_u128(uid),
            name: TenantName::new(name).unwrap(),
            domains: domains.iter().map(|domain| DomainName::new(domain).unwrap()).collect(),
            placement: Some(Placement {
                node: NodeId::new(node).unwrap(),
                epoch: Epoch(epoch),
            }),
            tier: Tier::Small,
            quota: TierDefinition::defaults()[1].quota,
            durability: Durability::Local,
            token_generation: TokenGeneration::default(),
        });
        self
    }

    pub(crate) fn node(mut self, id: &str, peer: SocketAddr) -> Self {
        self.table.put_node(NodeRoute {
            id: NodeId::new(id).unwrap(),
            peer_address: peer.to_string(),
        });
        self
    }

    pub(crate) fn token_key(mut self, key: TokenKey) -> Self {
        self.table.set_token_keys(vec![key]);
        self
    }

    pub(crate) fn put_into(self, node: &Node) {
        node.table.replace(Arc::new(self.table));
    }
}

/// Two nodes; `acme` is served by the second, which answers by `handler`.
pub(crate) async fn two_nodes<H, F>(handler: H) -> (Node, Node)
where
    H: Fn(Request<Body>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let wrong = Node::start("node-1", nobody).await;
    let owner = Node::start("node-2", handler).await;
    for node in [&wrong, &owner] {
        Placements::at(1)
            .tenant(1, "acme", "node-2", 1)
            .node("node-2", owner.peer)
            .put_into(node);
    }
    (wrong, owner)
}

/// The handler of a node that must not be asked.
pub(crate) async fn nobody(_: Request<Body>) -> Response<Body> {
    Response::builder().status(599).body(full("asked by mistake")).unwrap()
}

/// Answers with the tenant's name and what was sent.
pub(crate) async fn echo_collected(request: Request<Body>) -> Response<Body> {
    let name = request.extensions().get::<TenantContext>().unwrap().name.to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Response::new(full([name.as_bytes(), b":", &body].concat()))
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Http1,
    H2c,
}

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::H2c];

pub(crate) type TestClient = Client<HttpConnector, Body>;

pub(crate) fn client(protocol: Protocol) -> TestClient {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    if let Protocol::H2c = protocol {
        builder.http2_only(true);
    }
    builder.build_http()
}

/// A request for `acme` at `address`.
pub(crate) fn request(address: SocketAddr, body: Body) -> Request<Body> {
    Request::post(format!("http://{address}/v3/pipeline?x=1"))
        .header("x-tenant-id", "acme")
        .body(body)
        .unwrap()
}

/// Status and body.
pub(crate) async fn answer(client: &TestClient, request: Request<Body>) -> (u16, Bytes) {
    let response = soon("an answer", client.request(request)).await.unwrap();
    let status = response.status().as_u16();
    (status, soon("a body", response.collect()).await.unwrap().to_bytes())
}

/// Status and the end of the problem's type.
pub(crate) fn problem((status, body): (u16, Bytes)) -> (u16, String) {
    let problem: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{status} {body:?}"));
    let kind = problem["type"].as_str().unwrap().rsplit('/').next().unwrap();
    (status, kind.to_owned())
}

/// A body that is written while it is read.
pub(crate) fn channel_body() -> (mpsc::Sender<Result<Frame<Bytes>, BoxError>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync())
}

pub(crate) async fn next_data(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = soon("a frame", body.frame()).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}
