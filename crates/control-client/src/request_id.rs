//! Mutations carry an id of the caller's choice, so that the control plane answers a retry like the first attempt.

use tenantry_proto::v1;

/// A mutation.
pub(crate) trait CarriesRequestId {
    /// The id's field.
    fn request_id(&mut self) -> &mut String;

    /// Draws an id unless the caller chose one.
    fn ensure_request_id(&mut self) {
        let id = self.request_id();
        if id.is_empty() {
            *id = uuid::Uuid::new_v4().to_string();
        }
    }
}

macro_rules! carries_request_id {
    ($($request:ident),* $(,)?) => {
        $(impl CarriesRequestId for v1::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
        })*
    };
}

carries_request_id!(
    CreateTenantRequest,
    UpdateTenantRequest,
    DeleteTenantRequest,
    UndeleteTenantRequest,
    RevokeTenantTokensRequest,
    RotateTokenKeyRequest,
    RetireTokenKeyRequest,
    UpdateTierRequest,
    CordonNodeRequest,
    UncordonNodeRequest,
    UpdateReactionsRequest,
    CreateWebhookRequest,
    UpdateWebhookRequest,
    DeleteWebhookRequest,
    RedeliverEventsRequest,
);
