//! `tenantctl placement`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::Tier;

use crate::failure::Failure;
use crate::output::protocol_names::tier_message;
use crate::output::{Printer, json, table};

#[derive(Debug, Subcommand)]
pub(crate) enum PlacementCommand {
    /// Say where a new tenant would go, and why not elsewhere; changes nothing
    Explain {
        /// A tenant of this tier
        #[arg(long)]
        tier: Option<Tier>,
    },
}

pub(crate) async fn run(command: PlacementCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let PlacementCommand::Explain { tier } = command;
    let tier = tier_message(tier).into();
    let answer = client
        .placement()
        .explain_placement(v1::ExplainPlacementRequest { tier })
        .await?;
    printer.print(&json::Explanation::from(&answer), || table::explanation(&answer))
}
