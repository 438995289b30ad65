//! `tenantctl token`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::TenantName;

use super::confirm::confirm;
use crate::arguments::duration;
use crate::failure::Failure;
use crate::output::{Printer, json, table};
use crate::resource_name;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Sign a bearer token for a tenant's HTTP endpoint
    Create {
        tenant: TenantName,
        /// Read only, or everything that a tenant may do
        #[arg(long, value_enum)]
        scope: Scope,
        /// How long it is good for, such as 24h or 30d
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Revoke all tokens that a tenant has so far; new ones can be created at once
    RevokeAll {
        tenant: TenantName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// The keys that sign tokens
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys in the order in which they sign
    List,
    /// Make a new key; tokens of the keys before it stay good
    Rotate {
        /// How long nodes have to get to know it before it signs
        #[arg(long, value_name = "DELAY", default_value = "60s", value_parser = duration)]
        after: Duration,
    },
    /// Forget a key that does not sign; every token that it signed is refused from then on
    Retire {
        /// As `token key list` shows it
        id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// What a token allows.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scope {
    Ro,
    Full,
}

pub(crate) async fn run(command: TokenCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let admin = client.admin();
    match command {
        TokenCommand::Create { tenant, scope, ttl } => {
            let scope = match scope {
                Scope::Ro => v1::TokenScope::ReadOnly,
                Scope::Full => v1::TokenScope::Full,
            };
            let request = v1::CreateTenantTokenRequest {
                name: resource_name::tenant(&tenant),
                scope: scope.into(),
                ttl_seconds: whole_seconds(ttl),
            };
            let answer = admin.create_tenant_token(request).await?;
            // The bare token, so that a shell can take it: TOKEN=$(tenantctl token create …).
            printer.print(&json::Token::from(&answer), || answer.token.clone())
        }
        TokenCommand::RevokeAll { tenant, yes } => {
            if !yes {
                let question = format!("Revoke all tokens of tenant {tenant}? Type its name to confirm: ");
                confirm(&question, tenant.as_str())?;
            }
            let request = v1::RevokeTenantTokensRequest {
                name: resource_name::tenant(&tenant),
                request_id: String::new(),
            };
            let revoked = admin.revoke_tenant_tokens(request).await?.tenant;
            let revoked = revoked.ok_or(Failure::Answer("without a tenant"))?;
            printer.print(&json::Tenant::from(&revoked), || table::revoked(&revoked))
        }
        TokenCommand::Key(command) => run_key(command, client, printer).await,
    }
}

async fn run_key(command: KeyCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let admin = client.admin();
    let request_id = String::new();
    let keys = match command {
        KeyCommand::List => admin.list_token_keys(v1::ListTokenKeysRequest {}).await?.keys,
        KeyCommand::Rotate { after } => {
            let request = v1::RotateTokenKeyRequest {
                activation_delay_seconds: whole_seconds(after),
                request_id,
            };
            let key = admin.rotate_token_key(request).await?.key;
            vec![key.ok_or(Failure::Answer("without a key"))?]
        }
        KeyCommand::Retire { id, yes } => {
            if !yes {
                let question = "Refuse every token that the key signed? Type `yes` to confirm: ";
                confirm(question, "yes")?;
            }
            let request = v1::RetireTokenKeyRequest { key_id: id, request_id };
            let key_id = admin.retire_token_key(request).await?.key_id;
            return printer.print(&json::RetiredKey { key_id: key_id.clone() }, || {
                format!("retired {key_id}")
            });
        }
    };
    let rows: Vec<_> = keys.iter().map(json::TokenKey::from).collect();
    printer.print(&rows, || table::token_keys(&keys))
}

/// At least one: zero stands for the server's default.
fn whole_seconds(length: Duration) -> u64 {
    length.as_secs().max(1)
}
