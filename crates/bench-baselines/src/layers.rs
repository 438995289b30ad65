//! The node's own connections and layers around a handler that does nothing: what a request costs before its database.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mutual_tls::Security;
use tenant_node::database::{Databases, DatabasesConfig};
use tenant_node::hrana::{HranaConfig, HranaService};
use tenant_node::http::StopNotice;
use tenant_node::http::body::{Body, full};
use tenant_node::http::lanes::Lanes;
use tenant_node::http::router::{RateLimitFields, Stack, StackParts, layers};
use tenant_node::http::server::{ServerOptions, serve};
use tenant_node::layers::{Authentication, Ingress};
use tenant_node::metrics::SampledTenants;
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenant_node::usage::UsageReader;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::QuotaRegistry;
use tenantry_types::{
    Durability, EffectiveQuota, Epoch, NodeId, Placement, QuotaOverrides, Revision, TenantName, TenantRoute, TenantUid,
    TierDefinition, TokenGeneration, TokenKey,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use crate::bare_hyper::ANSWER;

const NODE: &str = "bench";
const KEY: &str = "bench";
/// 3000-01-01.
const EXPIRY: u64 = 32_503_680_000;
const GROWTH_INTERVAL: Duration = Duration::from_secs(300);
const GROWTH_POINTS: u32 = 24;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Where quota ledgers are kept.
    #[arg(long)]
    folder: std::path::PathBuf,
    /// How many tenants there are, `t-0` and so on.
    #[arg(long, default_value_t = 1)]
    tenants: u32,
    /// What stands around the empty handler.
    #[arg(long)]
    around: Around,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Around {
    /// The connections' code alone.
    Connections,
    /// All layers; nobody is asked for a token.
    Layers,
    /// All layers, with tokens. The one of `t-0` is printed.
    LayersWithTokens,
}

/// Serves until it is killed.
#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let empty = service_fn(answer);
    let stack: Stack = match arguments.around {
        Around::Connections => empty.boxed_clone(),
        Around::Layers => layers(parts(arguments, Authentication::Open)?, empty),
        Around::LayersWithTokens => {
            writeln!(std::io::stdout(), "{}", token(uid(0))?).context("cannot print the token")?;
            layers(parts(arguments, Authentication::Required)?, empty)
        }
    };
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let (lanes, _busy_workers) = Lanes::start().context("cannot start workers")?;
    let options = ServerOptions {
        lanes,
        security: Security::Plain,
        ingress: Ingress::Public,
        max_connections: 4_096,
        drain: Duration::ZERO,
        notice: StopNotice::default(),
    };
    serve(listener, stack, options, CancellationToken::new()).await;
    Ok(())
}

async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    // As bare hyper does it: a client that leaves midway has no use for the answer either.
    let _body = request.into_body().collect().await;
    let mut response = Response::new(full(ANSWER));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// As the node builds them, without a control plane.
fn parts(arguments: &Arguments, authentication: Authentication) -> Result<StackParts> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let databases = Databases::open(DatabasesConfig::new(&arguments.folder))?;
    // Nobody hears of crossed quotas; they are dropped, as when the outbox is full.
    let (crossings, _) = mpsc::channel(1);
    Ok(StackParts {
        security: Security::Plain,
        node: NodeId::new(NODE)?,
        host_suffix: "localhost".to_owned(),
        authentication,
        reader: UsageReader {
            meters: MeterRegistry::new(Arc::clone(&clock)),
            sampled: Arc::new(SampledTenants::new(GROWTH_INTERVAL, GROWTH_POINTS)),
            quotas: QuotaRegistry::new(&arguments.folder, Arc::clone(&clock)),
            databases: databases.clone(),
            table: SharedRoutingTable::new(table(arguments.tenants)?),
            clock,
        },
        rate_limit_fields: RateLimitFields::Draft,
        crossings,
        hrana: HranaService::new(databases, &HranaConfig::default()),
    })
}

fn table(tenants: u32) -> Result<RoutingTable> {
    let mut table = RoutingTable::default();
    table.revision = Revision(1);
    let definitions = TierDefinition::defaults();
    let largest = definitions.last().context("there are tiers")?;
    for number in 0..tenants {
        table.put_tenant(TenantRoute {
            uid: uid(number),
            name: TenantName::new(&format!("t-{number}"))?,
            domains: Vec::new(),
            placement: Some(Placement {
                node: NodeId::new(NODE)?,
                epoch: Epoch(1),
            }),
            tier: largest.tier,
            quota: unlimited(largest.quota),
            durability: Durability::Local,
            token_generation: TokenGeneration::default(),
        });
    }
    table.set_tiers(definitions.to_vec());
    table.set_token_keys(vec![TokenKey {
        id: KEY.to_owned(),
        public_key: key().verifying_key().to_bytes(),
    }]);
    Ok(table)
}

fn unlimited(quota: EffectiveQuota) -> EffectiveQuota {
    quota.overlaid(&QuotaOverrides {
        requests_per_day: Some(1_000_000_000_000),
        concurrent_requests: Some(10_000),
        ..QuotaOverrides::default()
    })
}

const fn uid(number: u32) -> TenantUid {
    TenantUid::from_u128(number as u128 + 1)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn token(subject: TenantUid) -> Result<String> {
    let header = Header {
        kid: Some(KEY.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = serde_json::json!({ "sub": subject.to_string(), "scope": "full", "exp": EXPIRY });
    let private_key = key().to_pkcs8_der().context("an Ed25519 key has a DER form")?;
    Ok(encode(
        &header,
        &claims,
        &EncodingKey::from_ed_der(private_key.as_bytes()),
    )?)
}
