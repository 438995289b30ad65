//! `tenantctl tier`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::Tier;

use super::quota_arguments::QuotaArguments;
use crate::failure::Failure;
use crate::output::protocol_names::tier_message;
use crate::output::{Printer, json, table};

#[derive(Debug, Subcommand)]
pub(crate) enum TierCommand {
    /// List the tiers, smallest first
    List,
    /// Change what is given; the tier's tenants follow at once
    Update {
        tier: Tier,
        #[command(flatten)]
        quota: QuotaArguments,
        /// Share of a node's cache and of planned load, relative to micro
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        weight: Option<u32>,
    },
}

pub(crate) async fn run(command: TierCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    if let TierCommand::Update {
        quota, weight: None, ..
    } = &command
        && *quota == QuotaArguments::default()
    {
        return Err(Failure::usage("nothing to change").with_hint("`tenantctl tier update --help` lists what can be"));
    }
    let tiers = client.admin().list_tiers(v1::ListTiersRequest::default()).await?.tiers;
    let shown = match command {
        TierCommand::List => tiers,
        TierCommand::Update { tier, quota, weight } => {
            let definition = tiers
                .into_iter()
                .find(|definition| definition.tier() == tier_message(Some(tier)))
                .ok_or(Failure::Answer("without that tier"))?;
            let request = v1::UpdateTierRequest {
                definition: Some(changed(definition, &quota, weight)),
                request_id: String::new(),
            };
            let answer = client.admin().update_tier(request).await?;
            vec![answer.definition.ok_or(Failure::Answer("without a tier"))?]
        }
    };
    let rows: Vec<_> = shown.iter().map(json::Tier::from).collect();
    printer.print(&rows, || table::tiers(&shown))
}

fn changed(mut definition: v1::TierDefinition, quota: &QuotaArguments, weight: Option<u32>) -> v1::TierDefinition {
    quota.apply_to(definition.quota.get_or_insert_default());
    definition.weight = weight.unwrap_or(definition.weight);
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_what_is_not_given() {
        let definition = v1::TierDefinition {
            quota: Some(v1::Quota {
                requests_per_day: 10,
                database_bytes: 20,
                ..v1::Quota::default()
            }),
            weight: 3,
            ..v1::TierDefinition::default()
        };
        let quota = QuotaArguments {
            requests_per_day: Some(11),
            ..QuotaArguments::default()
        };
        let after = changed(definition, &quota, None);
        let limits = after.quota.unwrap();
        assert_eq!(
            (limits.requests_per_day, limits.database_bytes, after.weight),
            (11, 20, 3)
        );
    }
}
