//! Which roles may make which calls: the outermost layer of every gRPC server of a member.
//!
//! Knows calls by their paths and callers by their certificates. A member that forwards an operator's or a node's call to the leader
//! has asked here before, so that members may make every call. Must not look into a request.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use mutual_tls::{Caller, Role};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::services::denied;

const MEMBERS: &[Role] = &[Role::ControlPlane];
const NODES: &[Role] = &[Role::ControlPlane, Role::TenantNode];
const OPERATORS: &[Role] = &[Role::ControlPlane, Role::Operator];

/// Who may call `path`, such as `/tenantry.v1.AdminService/GetTenant`. What is not named here is for operators.
fn allowed(path: &str) -> &'static [Role] {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    match (service, method) {
        ("tenantry.internal.v1.RaftTransportService", _) => MEMBERS,
        ("tenantry.v1.PlacementService", "RegisterNode" | "Heartbeat")
        | ("tenantry.v1.NotificationService", "Report") => NODES,
        ("tenantry.v1.PlacementService", "Watch" | "ResolveTenant") => &Role::ALL,
        ("grpc.health.v1.Health", _)
        | ("grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection", _) => &Role::ALL,
        _ => OPERATORS,
    }
}

/// Adds [`Access`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessLayer;

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}

/// Passes on the calls that their callers may make, and refuses the others.
#[derive(Debug, Clone)]
pub(crate) struct Access<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let roles = allowed(path);
        // Every listener of ours says who calls. A request without a caller came by another way.
        let known = request.extensions().get::<Caller>();
        if known.is_some_and(|caller| caller.is_one_of(roles)) {
            return Box::pin(self.inner.call(request));
        }
        tracing::warn!(
            path,
            ?known,
            "a call was refused: its caller's certificate is not for it"
        );
        let refusal = denied(roles);
        Box::pin(async move { Ok(refusal.into_http()) })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use prost::Message as _;
    use tonic::Code;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn every_call_of_the_protocol_is_for_somebody_and_writes_are_not_for_nodes() {
        let set = prost_types::FileDescriptorSet::decode(tenantry_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut for_nodes = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let roles = allowed(&path);
                    assert!(roles.contains(&Role::ControlPlane), "{path}");
                    assert_eq!(
                        roles.contains(&Role::Operator),
                        !path.contains(".internal.") && roles != NODES,
                        "{path}"
                    );
                    if roles.contains(&Role::TenantNode) {
                        for_nodes.push(path);
                    }
                }
            }
        }
        for_nodes.sort();
        assert_eq!(
            for_nodes,
            [
                "/tenantry.v1.NotificationService/Report",
                "/tenantry.v1.PlacementService/Heartbeat",
                "/tenantry.v1.PlacementService/RegisterNode",
                "/tenantry.v1.PlacementService/ResolveTenant",
                "/tenantry.v1.PlacementService/Watch",
            ]
        );
    }

    #[tokio::test]
    async fn a_request_without_a_caller_is_refused() {
        let open = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::empty())));
        let answer = async |caller: Option<Caller>| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = "/tenantry.v1.AdminService/ListTenants".parse().unwrap();
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = AccessLayer.layer(open).oneshot(request).await.unwrap();
            tonic::Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
        };
        assert_eq!(answer(None).await, Code::PermissionDenied);
        assert_eq!(answer(Some(Caller::Unasked)).await, Code::Ok);
    }
}
