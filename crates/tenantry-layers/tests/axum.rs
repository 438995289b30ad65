//! The layers around an axum app, over real connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::{AnswerClass, MeterRegistry};
use tenantry_layers::quota::{QuotaRegistry, RequestLimits};
use tenantry_layers::{AdmitLayer, IdentifyLayer, ObserveLayer, ResolveLayer, Tenant, TenantHint, TenantUid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceBuilder;

const LIMIT: u64 = 40;

fn acme(hint: &TenantHint) -> Option<Tenant> {
    match hint {
        TenantHint::Name(name) if name.as_str() == "acme" => Some(Tenant {
            uid: TenantUid::from_u128(1),
            name: name.clone(),
            limits: RequestLimits {
                requests_per_day: LIMIT,
                burst: None,
                concurrent_requests: 1_000,
            },
        }),
        _ => None,
    }
}

/// The status of an answer; 0 where there is none.
async fn status(address: std::net::SocketAddr, host: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(status.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_clients_of_an_axum_app_get_exactly_the_quota_and_are_measured() {
    let data = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let meters = MeterRegistry::new(Arc::clone(&clock));
    let quotas = QuotaRegistry::new(data.path(), Arc::clone(&clock));
    let layers = ServiceBuilder::new()
        .layer(IdentifyLayer::new("example.com"))
        .layer(ResolveLayer::new(acme))
        .layer(ObserveLayer::<Tenant>::new(Arc::clone(&meters)))
        .layer(AdmitLayer::<Tenant>::new(Arc::clone(&quotas), Arc::clone(&clock)));
    let app = Router::new().route("/", get(async || "hello")).layer(layers);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let clients = (0..100).map(|_| tokio::spawn(status(address, "acme.example.com")));
    let mut statuses = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        statuses.push(client.await.unwrap().unwrap());
    }
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count() as u64;
    assert_eq!((count(200), count(429)), (LIMIT, 100 - LIMIT));
    assert_eq!(status(address, "other.example.com").await.unwrap(), 404);
    assert_eq!(status(address, "example.com").await.unwrap(), 400);
    assert_eq!(meters.answers().get(AnswerClass::Success), LIMIT);
    assert_eq!(meters.answers().get(AnswerClass::Throttled), 100 - LIMIT);

    server.abort();
    assert!(server.await.is_err());
    // A new process goes on counting where this one ended.
    assert_eq!(quotas.close_all().await, 0);
    let next = QuotaRegistry::new(data.path(), clock);
    let tenant = acme(&TenantHint::Name("acme".parse().unwrap())).unwrap();
    let standing = next.standing(tenant.uid, &tenant.limits).await.unwrap();
    assert_eq!(standing.daily_used, LIMIT);
    next.forget_idle(Duration::ZERO).await;
}
