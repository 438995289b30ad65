//! The real program against a fake control plane: what it sends, prints and exits with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::BufRead as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tenantry_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use tenantry_proto::v1::notification_service_server::{NotificationService, NotificationServiceServer};
use tenantry_proto::v1::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A control plane that knows the tenants `a`, `b` and `c`, two a page, and refuses to create `taken` and `wrong`.
#[derive(Debug, Default)]
struct Fake {
    updates: Mutex<Vec<UpdateTenantRequest>>,
    deletes: Mutex<Vec<DeleteTenantRequest>>,
    revocations: Mutex<Vec<RevokeTenantTokensRequest>>,
    /// Answers that are not the leader's before the first create is answered.
    refusals_left: Mutex<u32>,
}

struct Serving(Arc<Fake>);

fn tenant(name: &str) -> Tenant {
    Tenant {
        name: format!("tenants/{name}"),
        ..Tenant::default()
    }
}

macro_rules! service {
    ($service:ident { $($unused:ident($request:ty) -> $response:ty;)* } $($used:item)*) => {
        #[tonic::async_trait]
        impl $service for Serving {
            $(async fn $unused(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented(stringify!($unused)))
            })*
            $($used)*
        }
    };
}

service! { AdminService {
        undelete_tenant(UndeleteTenantRequest) -> UndeleteTenantResponse;
        get_tenant_usage(GetTenantUsageRequest) -> GetTenantUsageResponse;
        explain_tenant_quota(ExplainTenantQuotaRequest) -> ExplainTenantQuotaResponse;
        list_tiers(ListTiersRequest) -> ListTiersResponse;
        update_tier(UpdateTierRequest) -> UpdateTierResponse;
        list_token_keys(ListTokenKeysRequest) -> ListTokenKeysResponse;
    }
    async fn create_tenant(&self, request: Request<CreateTenantRequest>) -> Result<Response<CreateTenantResponse>, Status> {
        let request = request.into_inner();
        {
            let mut left = self.0.refusals_left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err(Status::unavailable("no leader"));
            }
        }
        match request.tenant_id.as_str() {
            "lost" => Err(Status::unavailable("the connection broke")),
            "taken" => Err(Status::already_exists("tenants/taken exists")),
            "wrong" => {
                let details = ErrorDetails::with_bad_request_violation("spec.quota.database_bytes", "must be at least 64 KiB");
                Err(Status::with_error_details(Code::InvalidArgument, "invalid", details))
            }
            name => Ok(Response::new(CreateTenantResponse {
                tenant: Some(Tenant { spec: request.spec, ..tenant(name) }),
            })),
        }
    }

    /// A tenant whose figures are what was asked for.
    async fn list_tenant_usage(&self, request: Request<ListTenantUsageRequest>) -> Result<Response<ListTenantUsageResponse>, Status> {
        let request = request.into_inner();
        let usage = TenantUsage {
            requests_last_minute: u64::try_from(request.order).unwrap(),
            database_bytes: u64::try_from(request.page_size).unwrap(),
            ..TenantUsage::default()
        };
        let ranked = RankedTenant { name: "tenants/acme".into(), node: "nodes/node-1".into(), usage: Some(usage) };
        Ok(Response::new(ListTenantUsageResponse { tenants: vec![ranked], measured_tenants: 7 }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        Err(Status::not_found(format!("{} does not exist", request.into_inner().name)))
    }

    async fn list_tenants(&self, request: Request<ListTenantsRequest>) -> Result<Response<ListTenantsResponse>, Status> {
        let (names, next): (&[&str], _) = match request.into_inner().page_token.as_str() {
            "" => (&["a", "b"], "2"),
            "2" => (&["c"], ""),
            other => return Err(Status::invalid_argument(other)),
        };
        Ok(Response::new(ListTenantsResponse {
            tenants: names.iter().map(|name| tenant(name)).collect(),
            next_page_token: next.into(),
            revision: 1,
        }))
    }

    async fn update_tenant(&self, request: Request<UpdateTenantRequest>) -> Result<Response<UpdateTenantResponse>, Status> {
        let request = request.into_inner();
        let tenant = request.tenant.clone();
        self.0.updates.lock().unwrap().push(request);
        Ok(Response::new(UpdateTenantResponse { tenant }))
    }

    async fn delete_tenant(&self, request: Request<DeleteTenantRequest>) -> Result<Response<DeleteTenantResponse>, Status> {
        self.0.deletes.lock().unwrap().push(request.into_inner());
        Ok(Response::new(DeleteTenantResponse { tenant: Some(tenant("acme")) }))
    }

    async fn create_tenant_token(&self, request: Request<CreateTenantTokenRequest>) -> Result<Response<CreateTenantTokenResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(CreateTenantTokenResponse {
            token: format!("{}/{:?}/{}", request.name, request.scope(), request.ttl_seconds),
            expire_time: None,
        }))
    }

    async fn revoke_tenant_tokens(&self, request: Request<RevokeTenantTokensRequest>) -> Result<Response<RevokeTenantTokensResponse>, Status> {
        let request = request.into_inner();
        let status = TenantStatus { token_generation: 3, ..TenantStatus::default() };
        let tenant = Tenant { name: request.name.clone(), status: Some(status), ..Tenant::default() };
        self.0.revocations.lock().unwrap().push(request);
        Ok(Response::new(RevokeTenantTokensResponse { tenant: Some(tenant) }))
    }

    async fn rotate_token_key(&self, request: Request<RotateTokenKeyRequest>) -> Result<Response<RotateTokenKeyResponse>, Status> {
        let key_id = format!("after-{}", request.into_inner().activation_delay_seconds);
        let key = TokenKeyInfo { key_id, phase: TokenKeyPhase::Waiting.into(), ..TokenKeyInfo::default() };
        Ok(Response::new(RotateTokenKeyResponse { key: Some(key) }))
    }

    async fn retire_token_key(&self, request: Request<RetireTokenKeyRequest>) -> Result<Response<RetireTokenKeyResponse>, Status> {
        Ok(Response::new(RetireTokenKeyResponse { key_id: request.into_inner().key_id }))
    }
}

service! { NotificationService {
        list_events(ListEventsRequest) -> ListEventsResponse;
        list_conditions(ListConditionsRequest) -> ListConditionsResponse;
        get_reactions(GetReactionsRequest) -> GetReactionsResponse;
        update_reactions(UpdateReactionsRequest) -> UpdateReactionsResponse;
    }
    type WatchStream = tokio_stream::Iter<std::vec::IntoIter<Result<NotificationServiceWatchResponse, Status>>>;
    type ReportStream = tokio_stream::Empty<Result<ReportResponse, Status>>;

    /// A new event on every connection, which then ends: the watch has to come back for the next.
    async fn watch(&self, request: Request<NotificationServiceWatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let event = Event {
            sequence: request.into_inner().after_sequence + 1,
            kind: "events-dropped".into(),
            ..Event::default()
        };
        let part = Some(notification_service_watch_response::Part::Event(event));
        Ok(Response::new(tokio_stream::iter(vec![Ok(NotificationServiceWatchResponse { part })])))
    }

    async fn report(&self, _: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        Err(Status::unimplemented("report"))
    }
}

/// A fake and the address that it listens at.
async fn fake() -> (Arc<Fake>, String) {
    let fake = Arc::new(Fake::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder()
        .add_service(AdminServiceServer::new(Serving(Arc::clone(&fake))))
        .add_service(NotificationServiceServer::new(Serving(Arc::clone(&fake))));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (fake, address)
}

/// Runs the program with `words`, against `address`, in an environment of its own.
async fn run(address: &str, words: &str, environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantctl"));
    command
        .args(words.split_whitespace())
        .env_clear()
        .env("TENANTRY_ENDPOINT", address)
        .env("TENANTRY_CTL_TIMEOUT", "20s")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_created_tenant_is_printed_once_a_leader_answers() {
    let (fake, address) = fake().await;
    *fake.refusals_left.lock().unwrap() = 3;
    let words = "tenant create acme --tier large --storage 1MiB --requests-per-day 20 -o json";
    let (code, stdout, stderr) = run(&address, words, &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let tenant: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(tenant["name"], "acme");
    assert_eq!(tenant["tier"], "large");
    assert_eq!(tenant["quota_overrides"]["database_bytes"], 1 << 20);
    assert_eq!(tenant["quota_overrides"]["requests_per_day"], 20);
    assert_eq!(
        tenant["quota_overrides"]["concurrent_requests"],
        serde_json::Value::Null
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_exit_code_and_names_its_cause() {
    let (_fake, address) = fake().await;
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let cases = [
        (&address, "tenant create taken", 1, "error: tenants/taken exists\n"),
        (
            &address,
            "tenant create wrong",
            1,
            "error: spec.quota.database_bytes: must be at least 64 KiB\n",
        ),
        (
            &address,
            "tenant create lost --timeout 300ms",
            4,
            "hint: the change may or may not have happened",
        ),
        (&address, "tenant get nobody", 1, "hint: `tenantctl tenant list`"),
        (&address, "tenant usage acme", 1, "hint: the control plane is older"),
        (&address, "tenant create Acme", 2, "may hold only a-z"),
        (&address, "tenant create acme --frobnicate", 2, "--frobnicate"),
        (&address, "tenant update acme", 2, "error: nothing to change"),
        (
            &address,
            "tenant list --endpoint nowhere",
            2,
            "`nowhere` is not an address",
        ),
        (
            &free,
            "tenant list --timeout 300ms",
            3,
            "error: the control plane is unavailable",
        ),
        (
            &free,
            "events watch --timeout 300ms",
            3,
            "hint: --endpoint or TENANTRY_ENDPOINT",
        ),
    ];
    for (address, words, expected, message) in cases {
        let (code, stdout, stderr) = run(address, words, &[]).await;
        assert_eq!((code, stdout.as_str()), (expected, ""), "{words}: {stderr}");
        assert!(stderr.contains(message), "{words}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_environment_key_is_refused_and_the_daemons_keys_are_not() {
    let (_fake, address) = fake().await;
    let (code, _, stderr) = run(&address, "tenant list", &[("TENANTRY_ENDPOINTS", "x:1")]).await;
    assert_eq!(code, 2);
    assert!(
        stderr.contains("unknown environment key `TENANTRY_ENDPOINTS`"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&address, "tenant list", &[("TENANTRY_DATA_DIR", "/x")]).await;
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_shows_all_pages() {
    let (_fake, address) = fake().await;
    let (code, stdout, _) = run(&address, "tenant list", &[]).await;
    let names: Vec<_> = stdout
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!((code, names), (0, vec!["NAME", "a", "b", "c"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_sends_its_mask_and_a_request_id() {
    let (fake, address) = fake().await;
    let (code, _, stderr) = run(
        &address,
        "tenant update acme --tier medium --unset storage --etag 7",
        &[],
    )
    .await;
    assert_eq!(code, 0, "{stderr}");
    let updates = fake.updates.lock().unwrap();
    assert_eq!(
        updates[0].update_mask.as_ref().unwrap().paths,
        ["spec.tier", "spec.quota.database_bytes"]
    );
    assert_eq!(updates[0].tenant.as_ref().unwrap().etag, "7");
    assert!(!updates[0].request_id.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_deletes_without_being_asked() {
    let (fake, address) = fake().await;
    let (code, _, stderr) = run(&address, "tenant delete acme", &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(fake.deletes.lock().unwrap()[0].name, "tenants/acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_printed_bare() {
    let (_fake, address) = fake().await;
    let (_, stdout, _) = run(&address, "token create acme --scope ro --ttl 7d", &[]).await;
    assert_eq!(stdout, "tenants/acme/ReadOnly/604800\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_revokes_rotates_and_retires_without_being_asked() {
    let (fake, address) = fake().await;
    let (code, stdout, stderr) = run(&address, "token revoke-all acme", &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "all tokens of acme before generation 3 are revoked\n");
    let revocation = fake.revocations.lock().unwrap()[0].clone();
    assert_eq!(revocation.name, "tenants/acme");
    assert!(!revocation.request_id.is_empty());
    let (_, stdout, _) = run(&address, "token key rotate --after 3s -o json", &[]).await;
    let keys: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&keys[0]["key_id"], &keys[0]["phase"]),
        (&"after-3".into(), &"waiting".into())
    );
    let (_, stdout, _) = run(&address, "token key retire k1", &[]).await;
    assert_eq!(stdout, "retired k1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_events_are_an_object_a_line_across_reconnections() {
    let (_fake, address) = fake().await;
    let (code, stdout, stderr) = run(&address, "events watch --since 4 --limit 3 -o json", &[]).await;
    assert_eq!(code, 0, "{stderr}");
    let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let sequences: Vec<_> = stdout
        .lines()
        .map(|text| line(text)["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_busiest_tenants_are_asked_for_as_the_flags_say_and_printed_round_after_round() {
    let (_fake, address) = fake().await;
    let (code, stdout, _) = run(&address, "top --by errors --limit 33 --once -o json", &[]).await;
    let round: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stdout.lines().count()), (0, 1));
    assert_eq!(
        (&round["by"], &round["measured_tenants"]),
        (&"errors".into(), &7.into())
    );
    let asked = &round["tenants"][0];
    let order: i32 = TenantUsageOrder::Errors.into();
    assert_eq!(
        (&asked["requests_last_minute"], &asked["database_bytes"]),
        (&order.into(), &33.into())
    );

    // Through a pipe: one table after the other, without a word to a terminal, until nobody reads any more.
    let words = ["top", "--interval", "1", "--endpoint", &address];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantctl"));
    command
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let read_two_tables = move || {
        let mut lines = std::io::BufReader::new(stdout).lines().map(Result::unwrap);
        for _ in 0..2 {
            let table: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("acme ")).collect();
            assert!(table.iter().any(|line| line.starts_with("TENANT")), "{table:?}");
            assert!(!table.concat().contains('\x1b'), "{table:?}");
        }
    };
    tokio::task::spawn_blocking(read_two_tables).await.unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
}
