//! An axum app whose tenants have limits and figures.
//!
//! `cargo run -p tenantry-layers --example ten_lines_of_axum`, then `curl -i -H 'X-Tenant-ID: acme' 127.0.0.1:8080/`: after five
//! requests acme is refused, while globex has five of its own. `curl 127.0.0.1:8080/figures` says what each has used.
#![expect(clippy::print_stdout, reason = "an example talks on its standard output")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::{QuotaRegistry, RequestLimits};
use tenantry_layers::{AdmitLayer, IdentifyLayer, ObserveLayer, ResolveLayer, Tenant, TenantHint, TenantUid};
use tower::ServiceBuilder;

/// This service's tenants: whoever has a short name, with a uid that never changes.
fn directory(hint: &TenantHint) -> Option<Tenant> {
    let TenantHint::Name(name) = hint else { return None };
    let mut bytes = [0; 16];
    bytes
        .get_mut(..name.as_str().len())?
        .copy_from_slice(name.as_str().as_bytes());
    Some(Tenant {
        uid: TenantUid::from_u128(u128::from_be_bytes(bytes)),
        name: name.clone(),
        limits: RequestLimits {
            requests_per_day: 5,
            burst: None,
            concurrent_requests: 2,
        },
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let meters = MeterRegistry::new(Arc::clone(&clock));
    let quotas = QuotaRegistry::new(&std::env::temp_dir().join("ten-lines-of-axum"), Arc::clone(&clock));
    let layers = ServiceBuilder::new()
        .layer(IdentifyLayer::new("localhost"))
        .layer(ResolveLayer::new(directory))
        .layer(ObserveLayer::<Tenant>::new(Arc::clone(&meters)))
        .layer(AdmitLayer::<Tenant>::new(Arc::clone(&quotas), Arc::clone(&clock)));
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(layers)
        .route("/figures", get(async move || figures(&meters, clock.as_ref())));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await?;
    // What is not closed counts as used up to its reservation.
    quotas.forget_idle(Duration::ZERO).await;
    quotas.close_all().await;
    Ok(())
}

fn figures(meters: &MeterRegistry, clock: &dyn Clock) -> String {
    let line = |meter: Arc<tenantry_layers::meter::TenantMeter>| {
        let figures = meter.figures(clock.now());
        let (answers, peak) = (figures.answers.total(), figures.peak_requests_per_minute);
        format!("{}: {answers} answers, at most {peak} a minute\n", meter.name())
    };
    meters.metered().into_iter().map(line).collect()
}
