//! `WebhookService`: operators' webhooks. Delivery itself is in `webhooks/`.

use std::sync::Arc;

use tenantry_proto::convert::webhook::{WebhookBacklog, webhook_to_proto};
use tenantry_proto::convert::{self, Within as _, names, parse_etag};
use tenantry_proto::v1;
use tenantry_proto::v1::webhook_service_server::WebhookService;
use tenantry_state::{Answer, Command, Delivery, State};
use tenantry_types::{EventFilter, EventSequence, Webhook, WebhookName, WebhookSecret, WebhookSpec, WebhookState};
use tonic::{Request, Response, Status};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::status;
use crate::webhooks::{self, Deliverer};

/// The service.
#[derive(Clone)]
pub struct Webhooks {
    control_plane: Arc<ControlPlane>,
    deliverer: Arc<Deliverer>,
}

impl Webhooks {
    /// Works on the given control plane; tests are sent by `deliverer`.
    #[must_use]
    pub const fn new(control_plane: Arc<ControlPlane>, deliverer: Arc<Deliverer>) -> Self {
        Self {
            control_plane,
            deliverer,
        }
    }

    /// Replicates a command about a webhook; answers with its name.
    async fn change<M: prost::Message>(
        &self,
        deadline: Deadline,
        (method, request_id, message): (&str, &str, &M),
        command: Command,
    ) -> Result<WebhookName, Status> {
        let request = ControlPlane::request(method, request_id, message)?;
        match self.control_plane.propose_by(deadline.at(), request, command).await? {
            Answer::Webhook(name) => Ok(name),
            other => Err(status::internal(format!("a webhook was expected, not {other:?}"))),
        }
    }

    fn stored(&self, name: &WebhookName) -> Result<Arc<Webhook>, Status> {
        known(&self.control_plane.published.current().state, name)
    }

    fn shown(&self, name: &WebhookName) -> Result<v1::Webhook, Status> {
        let published = self.control_plane.published.current();
        let webhook = known(&published.state, name)?;
        Ok(show(&published.state, &webhook))
    }
}

fn known(state: &State, name: &WebhookName) -> Result<Arc<Webhook>, Status> {
    let webhook = state.webhook(name).cloned();
    webhook.ok_or_else(|| status::not_found("tenantry.dev/Webhook", &names::webhook(name)))
}

fn show(state: &State, webhook: &Webhook) -> v1::Webhook {
    let dead_letters = state.dead_letters(&webhook.name).count();
    let backlog = WebhookBacklog {
        waiting: state.last_event().get().saturating_sub(webhook.done.get()),
        dead_letters: dead_letters as u64,
    };
    webhook_to_proto(webhook, backlog)
}

fn parse_name(name: &str) -> Result<WebhookName, Status> {
    names::parse_webhook("name", name).map_err(status::invalid)
}

fn parse_filter(filter: Option<v1::EventFilter>) -> Result<EventFilter, Status> {
    let parsed = convert::event_filter_from_wire(filter.unwrap_or_default());
    parsed.within("webhook.filter").map_err(status::invalid)
}

fn parse_url(url: String) -> Result<String, Status> {
    webhooks::check_url(&url).map_err(|reason| status::invalid_field("webhook.url", reason))?;
    Ok(url)
}

fn parse_secret(field: &str, text: &str) -> Result<WebhookSecret, Status> {
    webhooks::parse_secret(text).map_err(|reason| status::invalid_field(field, reason))
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_webhook(
        &self,
        request: Request<v1::CreateWebhookRequest>,
    ) -> Result<Response<v1::CreateWebhookResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = WebhookName::new(&request.webhook_id)
            .map_err(|error| status::invalid_field("webhook_id", error.to_string()))?;
        let asked = request.webhook.clone().unwrap_or_default();
        let secret = match request.secret.as_str() {
            "" => webhooks::new_secret().map_err(|error| status::internal(error.to_string()))?,
            text => parse_secret("secret", text)?,
        };
        let spec = WebhookSpec {
            url: parse_url(asked.url)?,
            filter: parse_filter(asked.filter)?,
            secrets: vec![secret],
        };
        let asked_without_id = v1::CreateWebhookRequest {
            request_id: String::new(),
            ..request.clone()
        };
        let call = ("CreateWebhook", request.request_id.as_str(), &asked_without_id);
        let name = self
            .change(deadline, call, Command::CreateWebhook { name, spec })
            .await?;
        // The stored secret: a repeated call is told that of the first one.
        let stored = self.stored(&name)?;
        let secret = stored.spec.secrets.first().map(webhooks::show_secret);
        Ok(Response::new(v1::CreateWebhookResponse {
            webhook: Some(self.shown(&name)?),
            secret: secret.unwrap_or_default(),
        }))
    }

    async fn get_webhook(
        &self,
        request: Request<v1::GetWebhookRequest>,
    ) -> Result<Response<v1::GetWebhookResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = parse_name(&request.into_inner().name)?;
        self.control_plane.read(deadline).await?;
        Ok(Response::new(v1::GetWebhookResponse {
            webhook: Some(self.shown(&name)?),
        }))
    }

    async fn list_webhooks(
        &self,
        request: Request<v1::ListWebhooksRequest>,
    ) -> Result<Response<v1::ListWebhooksResponse>, Status> {
        let deadline = Deadline::of(&request);
        let v1::ListWebhooksRequest {} = request.into_inner();
        let published = self.control_plane.read(deadline).await?;
        let webhooks = published.state.webhooks();
        Ok(Response::new(v1::ListWebhooksResponse {
            webhooks: webhooks.map(|webhook| show(&published.state, webhook)).collect(),
        }))
    }

    async fn update_webhook(
        &self,
        request: Request<v1::UpdateWebhookRequest>,
    ) -> Result<Response<v1::UpdateWebhookResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let asked = request
            .webhook
            .clone()
            .ok_or_else(|| status::invalid_field("webhook", "must be given"))?;
        let name = names::parse_webhook("webhook.name", &asked.name).map_err(status::invalid)?;
        self.control_plane.read(deadline).await?;
        let stored = self.stored(&name)?;
        let fields = Fields::of(request.update_mask.as_ref())?;
        let mut spec = stored.spec.clone();
        if fields.url {
            spec.url = parse_url(asked.url)?;
        }
        if fields.filter {
            spec.filter = parse_filter(asked.filter)?;
        }
        if !request.new_secret.is_empty() {
            let secret = parse_secret("new_secret", &request.new_secret)?;
            // The same one again is no rotation, and must not push the one before it out.
            if spec.secrets.first() != Some(&secret) {
                spec.secrets.insert(0, secret);
                spec.secrets.truncate(2);
            }
        }
        let disabled = match fields.disabled {
            true => asked.disabled,
            false => matches!(stored.state, WebhookState::Disabled { .. }),
        };
        // What was not named is taken from what was read, so that must still be true when the command is applied.
        let expected = match request.etag.as_str() {
            "" => stored.revision,
            etag => parse_etag("etag", etag).map_err(status::invalid)?,
        };
        let command = Command::UpdateWebhook {
            name,
            expected: Some(expected),
            spec,
            delivery: if disabled {
                Delivery::Disabled
            } else {
                Delivery::Enabled
            },
        };
        let asked_without_id = v1::UpdateWebhookRequest {
            request_id: String::new(),
            ..request.clone()
        };
        let call = ("UpdateWebhook", request.request_id.as_str(), &asked_without_id);
        let name = self.change(deadline, call, command).await?;
        Ok(Response::new(v1::UpdateWebhookResponse {
            webhook: Some(self.shown(&name)?),
        }))
    }

    async fn delete_webhook(
        &self,
        request: Request<v1::DeleteWebhookRequest>,
    ) -> Result<Response<v1::DeleteWebhookResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse_name(&request.name)?;
        let asked_without_id = v1::DeleteWebhookRequest {
            request_id: String::new(),
            ..request.clone()
        };
        let call = ("DeleteWebhook", request.request_id.as_str(), &asked_without_id);
        self.change(deadline, call, Command::DeleteWebhook { name }).await?;
        Ok(Response::new(v1::DeleteWebhookResponse {}))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = parse_name(&request.into_inner().name)?;
        let published = self.control_plane.read(deadline).await?;
        known(&published.state, &name)?;
        let letters = published.state.dead_letters(&name).map(|letter| {
            let before = EventSequence(letter.first.get().saturating_sub(1));
            let event = published.state.events_after(before).next();
            let event = event.filter(|event| event.sequence == letter.first);
            v1::DeadLetter {
                first_sequence: letter.first.get(),
                last_sequence: letter.last.get(),
                give_up_time: Some(convert::timestamp(letter.at)),
                attempts: letter.attempts,
                failure: letter.failure.clone(),
                event: event.map(|event| v1::Event::from(&**event)),
            }
        });
        Ok(Response::new(v1::ListDeadLettersResponse {
            dead_letters: letters.collect(),
        }))
    }

    async fn redeliver_events(
        &self,
        request: Request<v1::RedeliverEventsRequest>,
    ) -> Result<Response<v1::RedeliverEventsResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse_name(&request.name)?;
        let after = EventSequence(request.after_sequence);
        let asked_without_id = v1::RedeliverEventsRequest {
            request_id: String::new(),
            ..request.clone()
        };
        let call = ("RedeliverEvents", request.request_id.as_str(), &asked_without_id);
        let name = self
            .change(deadline, call, Command::RewindWebhook { name, after })
            .await?;
        Ok(Response::new(v1::RedeliverEventsResponse {
            webhook: Some(self.shown(&name)?),
        }))
    }

    async fn test_webhook(
        &self,
        request: Request<v1::TestWebhookRequest>,
    ) -> Result<Response<v1::TestWebhookResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = parse_name(&request.into_inner().name)?;
        self.control_plane.read(deadline).await?;
        let stored = self.stored(&name)?;
        let tested = self.deliverer.test(&stored).await;
        Ok(Response::new(v1::TestWebhookResponse {
            delivered: tested.is_ok(),
            outcome: match tested {
                Ok(taken) => taken,
                Err(failure) => failure,
            },
        }))
    }
}

/// Which fields an update is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    url: bool,
    filter: bool,
    disabled: bool,
}

impl Fields {
    fn of(mask: Option<&prost_types::FieldMask>) -> Result<Self, Status> {
        let Some(mask) = mask else {
            return Ok(Self {
                url: true,
                filter: true,
                disabled: true,
            });
        };
        let names = |name: &str| mask.paths.iter().any(|path| path == name);
        let known = ["url", "filter", "disabled"];
        if let Some(path) = mask.paths.iter().find(|path| !known.contains(&path.as_str())) {
            let message = format!("`{path}` cannot be updated: only {} can", known.join(", "));
            return Err(status::invalid_field("update_mask", message));
        }
        Ok(Self {
            url: names("url"),
            filter: names("filter"),
            disabled: names("disabled"),
        })
    }
}
