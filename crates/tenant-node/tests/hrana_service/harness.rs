//! A service over a folder of its own, and the few verbs that the tests speak in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::database::{Clock, Databases, DatabasesConfig};
use tenant_node::hrana::{HranaConfig, HranaService};
use tenant_node::http::body::{Body, full};
use tenant_node::layers::{Access, TenantContext};
use tenantry_types::{EffectiveQuota, Epoch, TenantName, TenantUid, TierDefinition};
use tower::ServiceExt as _;

pub(crate) struct Harness {
    pub(crate) service: HranaService,
    pub(crate) databases: Databases,
    pub(crate) folder: tempfile::TempDir,
    elapsed_millis: Arc<AtomicU64>,
}

/// A tenant as the layers would hand it on.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) uid: TenantUid,
    pub(crate) weight: u32,
    pub(crate) quota: EffectiveQuota,
    pub(crate) access: Access,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

pub(crate) fn tenant(number: u128) -> Tenant {
    Tenant {
        uid: TenantUid::from_u128(number),
        weight: 1,
        quota: TierDefinition::defaults()[2].quota,
        access: Access::Full,
    }
}

impl Tenant {
    /// A request as the layers would hand it on.
    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).body(full(body)).unwrap();
        request.extensions_mut().insert(TenantContext {
            uid: self.uid,
            name: TenantName::new("acme").unwrap(),
            epoch: Epoch(1),
            weight: self.weight,
            quota: self.quota,
            access: self.access,
        });
        request
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, &HranaConfig::default())
    }

    pub(crate) fn with(change: impl FnOnce(&mut DatabasesConfig), hrana: &HranaConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let elapsed_millis = Arc::new(AtomicU64::new(0));
        let mut config = DatabasesConfig::new(folder.path());
        let (start, elapsed) = (Instant::now(), Arc::clone(&elapsed_millis));
        config.clock = Clock::new(move || start + Duration::from_millis(elapsed.load(Ordering::SeqCst)));
        change(&mut config);
        let databases = Databases::open(config).unwrap();
        Self {
            service: HranaService::new(databases.clone(), hrana),
            databases,
            folder,
            elapsed_millis,
        }
    }

    /// The same node, started again with what it keeps of batons.
    pub(crate) fn restarted(&self, hrana: &HranaConfig) -> HranaService {
        HranaService::new(self.databases.clone(), hrana)
    }

    /// Moves the clock and lets the maintenance do its work.
    pub(crate) fn advance(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.elapsed_millis.fetch_add(millis, Ordering::SeqCst);
        self.service.end_expired();
    }

    pub(crate) async fn send(
        &self,
        tenant: &Tenant,
        method: Method,
        path: &str,
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let response = self.open(tenant, method, path, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap(),
        }
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn open(
        &self,
        tenant: &Tenant,
        method: Method,
        path: &str,
        body: impl Into<bytes::Bytes>,
    ) -> Response<Body> {
        let request = tenant.request(method, path, body);
        self.service.clone().oneshot(request).await.unwrap()
    }

    /// Begins a cursor over these steps.
    pub(crate) async fn cursor(&self, tenant: &Tenant, baton: Value, steps: Value) -> Response<Body> {
        let body = json!({"baton": baton, "batch": {"steps": steps}}).to_string();
        self.open(tenant, Method::POST, "/v3/cursor", body).await
    }

    pub(crate) async fn pipeline(&self, tenant: &Tenant, baton: Value, requests: Value) -> Answer {
        let body = json!({"baton": baton, "requests": requests}).to_string();
        self.send(tenant, Method::POST, "/v3/pipeline", body).await
    }

    /// Runs one statement on a stream of its own. The whole answer.
    pub(crate) async fn try_sql(&self, tenant: &Tenant, sql: &str) -> Answer {
        self.pipeline(tenant, Value::Null, json!([execute(sql), {"type": "close"}]))
            .await
    }

    /// Runs one statement that has to succeed. Its rows as plain values.
    pub(crate) async fn sql(&self, tenant: &Tenant, sql: &str) -> Vec<Vec<Value>> {
        let answer = self.try_sql(tenant, sql).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
        assert_eq!(answer.body["results"][0]["type"], "ok", "{sql}: {}", answer.body);
        rows(&answer.body["results"][0]["response"]["result"])
    }
}

pub(crate) fn execute(sql: &str) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql}})
}

/// The rows of a `StmtResult`: the bare values, integers as they are written.
pub(crate) fn rows(result: &Value) -> Vec<Vec<Value>> {
    let value = |cell: &Value| match cell["type"].as_str().unwrap() {
        "null" => Value::Null,
        "blob" => cell["base64"].clone(),
        _ => cell["value"].clone(),
    };
    let row = |row: &Value| row.as_array().unwrap().iter().map(value).collect();
    result["rows"].as_array().unwrap().iter().map(row).collect()
}

impl Answer {
    pub(crate) fn error(&self, index: usize) -> (&str, &str) {
        let error = &self.body["results"][index]["error"];
        (
            error["code"].as_str().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default(),
        )
    }

    pub(crate) fn rows(&self, index: usize) -> Vec<Vec<Value>> {
        assert_eq!(self.body["results"][index]["type"], "ok", "{}", self.body);
        rows(&self.body["results"][index]["response"]["result"])
    }
}
