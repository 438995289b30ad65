//! `tenantctl webhook`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::WebhookName;

use super::confirm::confirm;
use super::events::FilterArguments;
use crate::failure::Failure;
use crate::output::{Printer, webhooks};
use crate::resource_name;

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Have events sent to a URL from now on
    Create {
        name: WebhookName,
        /// https://…, or http://… to addresses that the control plane allows
        #[arg(long)]
        url: String,
        /// What messages are signed with, `whsec_` and base64; drawn and shown once unless given
        #[arg(long, env = "TENANTRY_WEBHOOK_SECRET", hide_env_values = true)]
        secret: Option<String>,
        #[command(flatten)]
        filter: FilterArguments,
    },
    /// List the webhooks and how delivery stands
    List,
    /// Change what is given; any flag of the filter replaces the whole filter
    Update {
        name: WebhookName,
        /// Where messages go from now on
        #[arg(long)]
        url: Option<String>,
        /// Sign with this one as well as with the one before it, which the next new secret ends
        #[arg(long)]
        secret: Option<String>,
        #[command(flatten)]
        filter: FilterArguments,
    },
    /// Deliver again, from where it stopped
    Enable { name: WebhookName },
    /// Deliver nothing until it is enabled
    Disable { name: WebhookName },
    /// Delete a webhook and its dead letters
    Delete {
        name: WebhookName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Send one message now and say what came of it
    Test { name: WebhookName },
    /// List what was given up
    DeadLetters { name: WebhookName },
    /// Deliver again all events after a sequence, and forget the dead letters from there on
    Redeliver {
        name: WebhookName,
        #[arg(long, value_name = "SEQUENCE")]
        after: u64,
    },
}

pub(crate) async fn run(command: WebhookCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let calls = client.webhook();
    match command {
        WebhookCommand::Create {
            name,
            url,
            secret,
            filter,
        } => {
            let request = v1::CreateWebhookRequest {
                webhook_id: name.to_string(),
                webhook: Some(v1::Webhook {
                    url,
                    filter: Some(filter.message()),
                    ..v1::Webhook::default()
                }),
                secret: secret.unwrap_or_default(),
                request_id: String::new(),
            };
            let answer = calls.create_webhook(request).await?;
            let created = webhooks::Created {
                webhook: webhooks::Webhook::from(&given(answer.webhook)?),
                secret: answer.secret,
            };
            printer.print(&created, || created.to_table())
        }
        WebhookCommand::List => {
            let answer = calls.list_webhooks(v1::ListWebhooksRequest {}).await?;
            let rows: Vec<_> = answer.webhooks.iter().map(webhooks::Webhook::from).collect();
            printer.print(&rows, || webhooks::webhooks(&rows))
        }
        WebhookCommand::Update {
            name,
            url,
            secret,
            filter,
        } => {
            let mut paths = Vec::new();
            paths.extend(url.is_some().then(|| "url".to_owned()));
            paths.extend((!filter.is_empty()).then(|| "filter".to_owned()));
            if paths.is_empty() && secret.is_none() {
                return Err(Failure::usage("nothing to change"));
            }
            let webhook = v1::Webhook {
                url: url.unwrap_or_default(),
                filter: Some(filter.message()),
                ..v1::Webhook::default()
            };
            update(client, printer, &name, webhook, paths, secret).await
        }
        WebhookCommand::Enable { name } => switch(client, printer, &name, false).await,
        WebhookCommand::Disable { name } => switch(client, printer, &name, true).await,
        WebhookCommand::Delete { name, yes } => {
            if !yes {
                let question = format!("Delete the webhook {name} and its dead letters? Type its name to confirm: ");
                confirm(&question, name.as_str())?;
            }
            let request = v1::DeleteWebhookRequest {
                name: resource_name::webhook(&name),
                request_id: String::new(),
            };
            let v1::DeleteWebhookResponse {} = calls.delete_webhook(request).await?;
            printer.print(&serde_json::json!({ "deleted": name.as_str() }), || {
                format!("deleted {name}")
            })
        }
        WebhookCommand::Test { name } => {
            let request = v1::TestWebhookRequest {
                name: resource_name::webhook(&name),
            };
            let answer = calls.test_webhook(request).await?;
            if !answer.delivered {
                return Err(Failure::Failed(format!(
                    "the message did not arrive: {}",
                    answer.outcome
                )));
            }
            printer.print(&serde_json::json!({ "outcome": answer.outcome }), || {
                answer.outcome.clone()
            })
        }
        WebhookCommand::DeadLetters { name } => {
            let request = v1::ListDeadLettersRequest {
                name: resource_name::webhook(&name),
            };
            let letters = calls.list_dead_letters(request).await?.dead_letters;
            let rows: Vec<_> = letters.iter().map(webhooks::DeadLetter::from).collect();
            printer.print(&rows, || webhooks::dead_letters(&letters))
        }
        WebhookCommand::Redeliver { name, after } => {
            let request = v1::RedeliverEventsRequest {
                name: resource_name::webhook(&name),
                after_sequence: after,
                request_id: String::new(),
            };
            show(printer, &given(calls.redeliver_events(request).await?.webhook)?)
        }
    }
}

async fn switch(client: &ControlClient, printer: &Printer, name: &WebhookName, disabled: bool) -> Result<(), Failure> {
    let webhook = v1::Webhook {
        disabled,
        ..v1::Webhook::default()
    };
    update(client, printer, name, webhook, vec!["disabled".to_owned()], None).await
}

async fn update(
    client: &ControlClient,
    printer: &Printer,
    name: &WebhookName,
    webhook: v1::Webhook,
    paths: Vec<String>,
    secret: Option<String>,
) -> Result<(), Failure> {
    let request = v1::UpdateWebhookRequest {
        webhook: Some(v1::Webhook {
            name: resource_name::webhook(name),
            ..webhook
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
        new_secret: secret.unwrap_or_default(),
        ..v1::UpdateWebhookRequest::default()
    };
    show(
        printer,
        &given(client.webhook().update_webhook(request).await?.webhook)?,
    )
}

fn given(webhook: Option<v1::Webhook>) -> Result<v1::Webhook, Failure> {
    webhook.ok_or(Failure::Answer("without a webhook"))
}

fn show(printer: &Printer, webhook: &v1::Webhook) -> Result<(), Failure> {
    let shown = webhooks::Webhook::from(webhook);
    printer.print(&shown, || webhooks::webhooks(std::slice::from_ref(&shown)))
}
