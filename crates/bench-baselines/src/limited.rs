//! The server that gives the same answer to all, behind limits for each tenant: this project's layers, or governor's keyed
//! limiter as a service would use it. Apart from the limits it is bare hyper.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::QuotaRegistry;
use tenantry_layers::{AdmitLayer, IdentifyLayer, ObserveLayer, ResolveLayer, Tenant, TenantHint, TenantName};
use tower::{ServiceBuilder, service_fn};

use crate::bare_hyper::{answer, serve};
use crate::tenants::{Limit, directory};

/// Tenants live below it.
const HOST_SUFFIX: &str = "localhost";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Where quota ledgers are kept.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    limiter: Limiter,
    #[arg(long)]
    limit: Limit,
    /// How many tenants there are, `t-0` and so on.
    #[arg(long, default_value_t = 1)]
    tenants: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Limiter {
    /// Who is it, is there such a tenant, what does it use, may it?
    Layers,
    /// Who is it, may it?
    Governor,
}

/// Serves until it is killed.
#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    match arguments.limiter {
        Limiter::Layers => layers(arguments).await,
        Limiter::Governor => governor(arguments).await,
    }
}

async fn layers(arguments: &Arguments) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let quotas = QuotaRegistry::new(&arguments.folder, Arc::clone(&clock));
    let directory = directory(arguments.tenants, arguments.limit.ours())?;
    let service = ServiceBuilder::new()
        .layer(IdentifyLayer::new(HOST_SUFFIX))
        .layer(ResolveLayer::new(directory))
        .layer(ObserveLayer::<Tenant>::new(MeterRegistry::new(Arc::clone(&clock))))
        .layer(AdmitLayer::<Tenant>::new(quotas, clock))
        .service(service_fn(answer));
    serve(arguments.listen, TowerToHyperService::new(service)).await
}

async fn governor(arguments: &Arguments) -> Result<()> {
    let limiter: Arc<DefaultKeyedRateLimiter<TenantName>> = Arc::new(RateLimiter::keyed(arguments.limit.governors()?));
    let service = ServiceBuilder::new()
        .layer(IdentifyLayer::new(HOST_SUFFIX))
        .service(service_fn(move |request: Request<Incoming>| {
            let refusal = refusal(&limiter, &request);
            async move {
                match refusal {
                    Some(refusal) => Ok(refusal),
                    None => answer(request).await,
                }
            }
        }));
    serve(arguments.listen, TowerToHyperService::new(service)).await
}

/// What a request beyond its tenant's limit is answered, with as much as most middleware around governor says.
fn refusal(
    limiter: &DefaultKeyedRateLimiter<TenantName>,
    request: &Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let Some(TenantHint::Name(name)) = request.extensions().get() else {
        return Some(refused(StatusCode::NOT_FOUND, "no such tenant".to_owned()));
    };
    let early = limiter.check_key(name).err()?;
    let seconds = early.wait_time_from(limiter.clock().now()).as_secs();
    let mut response = refused(
        StatusCode::TOO_MANY_REQUESTS,
        format!("Too many requests, wait for {seconds} s"),
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    Some(response)
}

fn refused(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
