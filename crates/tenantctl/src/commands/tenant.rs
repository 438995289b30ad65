//! `tenantctl tenant`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::{NodeId, TenantName, TenantUid, Tier};

use super::advance_page;
use super::confirm::confirm;
use super::tenant_spec::{SpecArguments, UpdateArguments};
use crate::failure::Failure;
use crate::output::explained_quota::ExplainedQuota;
use crate::output::protocol_names::tier_message;
use crate::output::{Printer, json, table};
use crate::resource_name;

/// How many tenants to ask for at once.
const PAGE: i32 = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant and place it on a node
    Create {
        /// A DNS label: a-z, 0-9 and -
        name: TenantName,
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// Show one tenant
    Get {
        name: TenantName,
        #[command(flatten)]
        freshness: Freshness,
    },
    /// List tenants by name
    List(ListArguments),
    /// Change what is given, leave the rest
    Update(UpdateArguments),
    /// Stop serving a tenant; its data is kept until the purge time
    Delete {
        name: TenantName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Only if the tenant still has this etag
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Serve a deleted tenant again
    Undelete {
        /// Its uid, as `tenant list --show-deleted` shows it
        uid: TenantUid,
    },
    /// Show what a tenant was measured to use
    Usage { name: TenantName },
    /// Say for each limit what is in force, and whether that is the tier's or the tenant's own
    ExplainQuota { name: TenantName },
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ListArguments {
    /// Only names that start with this
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only tenants on this node
    #[arg(long)]
    node: Option<NodeId>,
    /// Only tenants of this tier
    #[arg(long)]
    tier: Option<Tier>,
    /// Deleted ones, too
    #[arg(long)]
    show_deleted: bool,
    #[command(flatten)]
    freshness: Freshness,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Freshness {
    /// Take what one member has, which may be behind; works without a leader, too
    #[arg(long)]
    stale: bool,
}

impl Freshness {
    fn options(self) -> v1::ReadOptions {
        v1::ReadOptions {
            stale_ok: self.stale,
            min_revision: 0,
        }
    }
}

pub(crate) async fn run(command: TenantCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let admin = client.admin();
    match command {
        TenantCommand::Create { name, spec } => {
            let request = create_request(&name, &spec)?;
            print(printer, admin.create_tenant(request).await?.tenant)
        }
        TenantCommand::Get { name, freshness } => {
            let request = v1::GetTenantRequest {
                name: resource_name::tenant(&name),
                read: Some(freshness.options()),
            };
            print(printer, admin.get_tenant(request).await?.tenant)
        }
        TenantCommand::List(arguments) => {
            let tenants = list(&arguments, client).await?;
            let rows: Vec<_> = tenants.iter().map(json::Tenant::from).collect();
            printer.print(&rows, || table::tenants(&tenants, arguments.show_deleted))
        }
        TenantCommand::Update(arguments) => print(printer, admin.update_tenant(arguments.request()?).await?.tenant),
        TenantCommand::Delete { name, yes, etag } => {
            if !yes {
                confirm(
                    &format!("Stop serving tenant {name}? Type its name to confirm: "),
                    name.as_str(),
                )?;
            }
            let request = v1::DeleteTenantRequest {
                name: resource_name::tenant(&name),
                etag,
                ..v1::DeleteTenantRequest::default()
            };
            print(printer, admin.delete_tenant(request).await?.tenant)
        }
        TenantCommand::Undelete { uid } => {
            let request = v1::UndeleteTenantRequest {
                name: resource_name::tenant_by_uid(uid),
                ..v1::UndeleteTenantRequest::default()
            };
            print(printer, admin.undelete_tenant(request).await?.tenant)
        }
        TenantCommand::Usage { name } => {
            let name = resource_name::tenant(&name);
            let answer = admin.get_tenant_usage(v1::GetTenantUsageRequest { name }).await?;
            printer.print(&json::Usage::from(&answer), || table::usage(&answer))
        }
        TenantCommand::ExplainQuota { name } => {
            let name = resource_name::tenant(&name);
            let answer = admin
                .explain_tenant_quota(v1::ExplainTenantQuotaRequest { name })
                .await?;
            let explained = ExplainedQuota::new(&answer).ok_or(Failure::Answer("without an explanation"))?;
            printer.print(&explained, || explained.to_string())
        }
    }
}

fn print(printer: &Printer, tenant: Option<v1::Tenant>) -> Result<(), Failure> {
    let tenant = tenant.ok_or(Failure::Answer("without a tenant"))?;
    printer.print(&json::Tenant::from(&tenant), || table::tenant(&tenant))
}

fn create_request(name: &TenantName, spec: &SpecArguments) -> Result<v1::CreateTenantRequest, Failure> {
    if spec.max_tier.is_some() && !spec.auto {
        return Err(Failure::usage("--max-tier needs --auto"));
    }
    Ok(v1::CreateTenantRequest {
        tenant_id: name.to_string(),
        spec: Some(spec.message()?),
        ..v1::CreateTenantRequest::default()
    })
}

async fn list(arguments: &ListArguments, client: &ControlClient) -> Result<Vec<v1::Tenant>, Failure> {
    let mut request = v1::ListTenantsRequest {
        page_size: PAGE,
        page_token: String::new(),
        name_prefix: arguments.prefix.clone(),
        node: arguments.node.as_ref().map_or_else(String::new, resource_name::node),
        tier: tier_message(arguments.tier).into(),
        show_deleted: arguments.show_deleted,
        read: Some(arguments.freshness.options()),
    };
    let mut tenants = Vec::new();
    loop {
        let page = client.admin().list_tenants(request.clone()).await?;
        tenants.extend(page.tenants);
        if !advance_page(&mut request.page_token, page.next_page_token)? {
            return Ok(tenants);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_tenant_leaves_to_the_server_what_is_not_given() {
        let name = TenantName::new("acme").unwrap();
        let request = create_request(&name, &SpecArguments::default()).unwrap();
        let spec = v1::TenantSpec {
            quota: Some(v1::QuotaOverrides::default()),
            ..v1::TenantSpec::default()
        };
        assert_eq!((request.tenant_id.as_str(), request.spec), ("acme", Some(spec)));
    }

    #[test]
    fn a_largest_tier_needs_auto() {
        let name = TenantName::new("acme").unwrap();
        let mut spec = SpecArguments {
            max_tier: Some(Tier::Large),
            ..SpecArguments::default()
        };
        assert!(create_request(&name, &spec).is_err());
        spec.auto = true;
        let message = create_request(&name, &spec).unwrap().spec.unwrap();
        assert_eq!(
            (message.tier_mode(), message.max_tier()),
            (v1::TierMode::Auto, v1::Tier::Large)
        );
    }
}
