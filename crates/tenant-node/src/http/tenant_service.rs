//! What lies below all layers: the database protocol, and the tenant's own figures at `GET /v1/usage`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tenantry_types::{GrowthRate, TenantUsage};
use tower::Service;

use super::body::{Body, full};
use super::problem::{IntoAnswer as _, Problem};
use crate::hrana::HranaService;
use crate::layers::TenantContext;
use crate::usage::UsageReader;

/// Where a tenant reads its own limits and use. Not charged.
const USAGE_PATH: &str = "/v1/usage";

/// Answers for the tenant in the request's [`TenantContext`].
#[derive(Clone)]
pub struct TenantService {
    hrana: HranaService,
    reader: UsageReader,
}

impl TenantService {
    /// Databases from `hrana`, figures from `reader`.
    #[must_use]
    pub const fn new(hrana: HranaService, reader: UsageReader) -> Self {
        Self { hrana, reader }
    }
}

impl Service<Request<Body>> for TenantService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != USAGE_PATH {
            return self.hrana.call(request);
        }
        let reader = self.reader.clone();
        let (parts, _unread) = request.into_parts();
        Box::pin(async move { Ok(usage(&reader, &parts).await) })
    }
}

async fn usage(reader: &UsageReader, request: &Parts) -> Response<Body> {
    if request.method != Method::GET {
        return Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "usage can only be read",
        )
        .with_header(ALLOW, HeaderValue::from_static("GET"))
        .into_answer();
    }
    let table = reader.table.current();
    let route = request
        .extensions
        .get::<TenantContext>()
        .and_then(|context| table.tenant(context.uid));
    let Some(route) = route else {
        return Problem::new(StatusCode::NOT_FOUND, "tenant-unknown", "there is no such tenant").into_answer();
    };
    match reader.usage(route).await {
        Ok(usage) => {
            let mut response = Response::new(full(json(route.name.as_str(), &usage).to_string()));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::warn!(tenant = %route.name, %error, "the use of a tenant could not be read");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "quota-unavailable",
                "the quota ledger cannot be read right now",
            )
            .retry_after(1)
            .into_answer()
        }
    }
}

/// Sizes in bytes, times in seconds, shares from 0 to 1; `null` where there is not enough data.
fn json(tenant: &str, usage: &TenantUsage) -> Value {
    let quota = &usage.quota;
    json!({
        "tenant": tenant,
        "measured_at_unix_ms": usage.measured_at.0,
        "requests_last_day": { "used": usage.requests_last_day, "limit": quota.requests_per_day },
        "concurrent_requests": { "used": usage.concurrent_requests, "limit": quota.concurrent_requests },
        "database_bytes": { "used": usage.database_bytes, "limit": quota.database_bytes, "free": usage.free_bytes },
        "memory_bytes": { "used": usage.memory_bytes, "limit": quota.memory_bytes },
        "cpu_millicores": { "used": usage.cpu_millicores, "limit": quota.cpu_millicores },
        "wal_bytes": usage.wal_bytes,
        "growth_bytes_per_hour": match usage.growth {
            GrowthRate::NotEnoughData => Value::Null,
            GrowthRate::BytesPerHour(rate) => json!(rate),
        },
        "requests_last_minute": usage.requests_last_minute,
        "errors_last_minute": usage.errors_last_minute,
        "peak_requests_per_minute": usage.peak_requests_per_minute,
        "average_response_seconds": usage.average_response_micros.map(seconds),
        "error_ratio": usage.error_ratio,
        "rows_read": usage.rows_read,
        "rows_written": usage.rows_written,
        "observed_class": usage.observed_class.as_str(),
        "hotspot_score": usage.hotspot.get(),
        "query_time_limit_seconds": quota.query_time().as_secs_f64(),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "response times stay far below 2^53 microseconds"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
