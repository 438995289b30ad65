//! Debug output of messages that hold secrets.

use std::fmt;

use crate::internal::v1::{SigningKey, WebhookSpec};
use crate::v1::{CreateWebhookRequest, CreateWebhookResponse, UpdateWebhookRequest};

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Receivers put secrets into paths and queries.
        f.debug_struct("WebhookSpec")
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateWebhookRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateWebhookRequest")
            .field("webhook_id", &self.webhook_id)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateWebhookResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.webhook.as_ref().map(|webhook| &webhook.name);
        f.debug_struct("CreateWebhookResponse")
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UpdateWebhookRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.webhook.as_ref().map(|webhook| &webhook.name);
        f.debug_struct("UpdateWebhookRequest")
            .field("name", &name)
            .field("update_mask", &self.update_mask)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
