//! A node's whole request stack around real databases, and what is read of its answers.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use mutual_tls::Security;
use serde_json::{Value, json};
use tenant_node::http::body::{Body, full};
use tenant_node::http::router::{RateLimitFields, Stack, StackParts, stack};
use tenant_node::layers::Authentication;
use tenant_node::metrics::SampledTenants;
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenant_node::usage::UsageReader;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::QuotaRegistry;
use tenantry_types::{
    Durability, EffectiveQuota, Epoch, NodeId, Placement, Revision, TenantName, TenantRoute, Tier, TokenGeneration,
};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::harness::{Harness, execute, tenant};

pub(crate) struct Node {
    pub(crate) harness: Harness,
    stack: Stack,
    pub(crate) meters: Arc<MeterRegistry>,
}

impl Node {
    /// A node that serves the tenant `acme` of that quota.
    pub(crate) fn new(authentication: Authentication, requests_per_day: u64) -> Self {
        Self::with(authentication, |quota| quota.requests_per_day = requests_per_day)
    }

    /// A node that serves the tenant `acme`.
    pub(crate) fn with(authentication: Authentication, change: impl FnOnce(&mut EffectiveQuota)) -> Self {
        let harness = Harness::new();
        let node = NodeId::new("node-1").unwrap();
        let mut quota = tenant(1).quota;
        change(&mut quota);
        let mut table = RoutingTable::default();
        table.revision = Revision(1);
        table.put_tenant(TenantRoute {
            uid: tenant(1).uid,
            name: TenantName::new("acme").unwrap(),
            domains: Vec::new(),
            placement: Some(Placement {
                node: node.clone(),
                epoch: Epoch(1),
            }),
            tier: Tier::Small,
            quota,
            durability: Durability::Local,
            token_generation: TokenGeneration::default(),
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let meters = MeterRegistry::new(Arc::clone(&clock));
        let reader = UsageReader {
            meters: Arc::clone(&meters),
            sampled: Arc::new(SampledTenants::new(Duration::from_secs(300), 24)),
            quotas: QuotaRegistry::new(harness.folder.path(), Arc::clone(&clock)),
            databases: harness.databases.clone(),
            table: SharedRoutingTable::new(table),
            clock,
        };
        let stack = stack(StackParts {
            security: Security::Plain,
            node,
            host_suffix: "localhost".into(),
            authentication,
            reader,
            rate_limit_fields: RateLimitFields::Draft,
            crossings: mpsc::channel(8).0,
            hrana: harness.service.clone(),
        });
        Self { harness, stack, meters }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(full(body.to_string())).unwrap();
        self.stack.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn requests_used(&self) -> Value {
        let response = self
            .send(Method::GET, "/v1/usage", &[("host", "acme.localhost")], Value::Null)
            .await;
        json_of(response).await["requests_last_day"]["used"].clone()
    }
}

pub(crate) async fn bytes_of(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

pub(crate) async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_slice(&bytes_of(response).await).unwrap()
}

pub(crate) fn pipeline(sql: &str) -> Value {
    json!({"requests": [execute(sql), {"type": "close"}]})
}
