//! Typed calls of each service. All go through the client's one retry policy.

use tenantry_proto::v1;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tenantry_proto::v1::cluster_service_client::ClusterServiceClient;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tenantry_proto::v1::placement_service_client::PlacementServiceClient;
use tenantry_proto::v1::webhook_service_client::WebhookServiceClient;
use tonic::Streaming;

use crate::request_id::CarriesRequestId as _;
use crate::{CallError, ControlClient};

/// Lists the calls of a service. `repeatable` marks calls that may be repeated as they are; a `mutation` is given a
/// request id first, and does not compile without the field.
macro_rules! calls {
    ($(#[$doc:meta])* $calls:ident over $client:ident {
        $($kind:ident $method:ident($request:ident) -> $response:ident;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $calls<'a>(pub(crate) &'a ControlClient);

        impl $calls<'_> {
            $(
                #[doc = concat!("Calls `", stringify!($method), "`; see [`v1::", stringify!($request), "`].")]
                ///
                /// # Errors
                /// When refused, or unavailable until the client's timeout; then the outcome of a mutation may be
                /// unknown.
                pub async fn $method(&self, request: v1::$request) -> Result<v1::$response, CallError> {
                    let (request_id, request) = calls!(@$kind request);
                    let call = |channel, request| async move { $client::new(channel).$method(request).await };
                    self.0.unary(request_id, request, call).await
                }
            )*
        }
    };
    (@repeatable $request:ident) => { (None, $request) };
    (@mutation $request:ident) => {{
        let mut request = $request;
        request.ensure_request_id();
        (Some(request.request_id.clone()), request)
    }};
}

calls! {
    /// Tenants, tiers, tokens and usage.
    AdminCalls over AdminServiceClient {
        mutation create_tenant(CreateTenantRequest) -> CreateTenantResponse;
        repeatable get_tenant(GetTenantRequest) -> GetTenantResponse;
        repeatable list_tenants(ListTenantsRequest) -> ListTenantsResponse;
        mutation update_tenant(UpdateTenantRequest) -> UpdateTenantResponse;
        mutation delete_tenant(DeleteTenantRequest) -> DeleteTenantResponse;
        mutation undelete_tenant(UndeleteTenantRequest) -> UndeleteTenantResponse;
        repeatable get_tenant_usage(GetTenantUsageRequest) -> GetTenantUsageResponse;
        repeatable list_tenant_usage(ListTenantUsageRequest) -> ListTenantUsageResponse;
        repeatable explain_tenant_quota(ExplainTenantQuotaRequest) -> ExplainTenantQuotaResponse;
        repeatable create_tenant_token(CreateTenantTokenRequest) -> CreateTenantTokenResponse;
        mutation revoke_tenant_tokens(RevokeTenantTokensRequest) -> RevokeTenantTokensResponse;
        repeatable list_token_keys(ListTokenKeysRequest) -> ListTokenKeysResponse;
        mutation rotate_token_key(RotateTokenKeyRequest) -> RotateTokenKeyResponse;
        mutation retire_token_key(RetireTokenKeyRequest) -> RetireTokenKeyResponse;
        repeatable list_tiers(ListTiersRequest) -> ListTiersResponse;
        mutation update_tier(UpdateTierRequest) -> UpdateTierResponse;
    }
}

calls! {
    /// Nodes and placements.
    PlacementCalls over PlacementServiceClient {
        repeatable register_node(RegisterNodeRequest) -> RegisterNodeResponse;
        repeatable heartbeat(HeartbeatRequest) -> HeartbeatResponse;
        repeatable resolve_tenant(ResolveTenantRequest) -> ResolveTenantResponse;
        repeatable explain_placement(ExplainPlacementRequest) -> ExplainPlacementResponse;
        repeatable list_nodes(ListNodesRequest) -> ListNodesResponse;
        repeatable get_node(GetNodeRequest) -> GetNodeResponse;
        mutation cordon_node(CordonNodeRequest) -> CordonNodeResponse;
        mutation uncordon_node(UncordonNodeRequest) -> UncordonNodeResponse;
    }
}

calls! {
    /// The event log and what follows from it. Watching it is [`EventWatch`](crate::EventWatch)'s.
    NotificationCalls over NotificationServiceClient {
        repeatable list_events(ListEventsRequest) -> ListEventsResponse;
        repeatable list_conditions(ListConditionsRequest) -> ListConditionsResponse;
        repeatable get_reactions(GetReactionsRequest) -> GetReactionsResponse;
        mutation update_reactions(UpdateReactionsRequest) -> UpdateReactionsResponse;
    }
}

calls! {
    /// Webhooks.
    WebhookCalls over WebhookServiceClient {
        mutation create_webhook(CreateWebhookRequest) -> CreateWebhookResponse;
        repeatable get_webhook(GetWebhookRequest) -> GetWebhookResponse;
        repeatable list_webhooks(ListWebhooksRequest) -> ListWebhooksResponse;
        mutation update_webhook(UpdateWebhookRequest) -> UpdateWebhookResponse;
        mutation delete_webhook(DeleteWebhookRequest) -> DeleteWebhookResponse;
        repeatable list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersResponse;
        mutation redeliver_events(RedeliverEventsRequest) -> RedeliverEventsResponse;
        repeatable test_webhook(TestWebhookRequest) -> TestWebhookResponse;
    }
}

calls! {
    /// The control plane's own members.
    ClusterCalls over ClusterServiceClient {
        repeatable get_cluster_status(GetClusterStatusRequest) -> GetClusterStatusResponse;
        repeatable take_snapshot(TakeSnapshotRequest) -> TakeSnapshotResponse;
        repeatable transfer_leadership(TransferLeadershipRequest) -> TransferLeadershipResponse;
        repeatable list_members(ListMembersRequest) -> ListMembersResponse;
        repeatable add_member(AddMemberRequest) -> AddMemberResponse;
        repeatable promote_member(PromoteMemberRequest) -> PromoteMemberResponse;
        repeatable remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
        repeatable replace_member(ReplaceMemberRequest) -> ReplaceMemberResponse;
    }
}

impl ClusterCalls<'_> {
    /// Calls `save_snapshot`; see [`v1::SaveSnapshotRequest`]. What is retried is the beginning: a stream that breaks later
    /// is the caller's to begin anew.
    ///
    /// # Errors
    /// When refused, or unavailable until the client's timeout.
    pub async fn save_snapshot(
        &self,
        request: v1::SaveSnapshotRequest,
    ) -> Result<Streaming<v1::SaveSnapshotResponse>, CallError> {
        let call = |channel, request| async move { ClusterServiceClient::new(channel).save_snapshot(request).await };
        // The member answers once the snapshot is written, which takes as long as there are tenants.
        let patient = self.0.with_attempt_timeout(self.0.options().timeout);
        patient.unary(None, request, call).await
    }
}
