//! `tenantctl cluster`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::MemberId;

use super::member::{self, MemberCommand};
use super::snapshot::{self, SnapshotCommand};
use crate::failure::Failure;
use crate::output::{Printer, json, table};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the members, the leader and how far each is
    Status,
    /// Snapshots of the control plane: take, save to a file, inspect a file
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Ask the leader to hand over to another member
    TransferLeadership { id: MemberId },
    /// Who the members are, and changes of that
    #[command(subcommand)]
    Member(MemberCommand),
}

pub(crate) async fn run(command: ClusterCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let cluster = client.cluster();
    match command {
        ClusterCommand::Member(command) => member::run(command, client, printer).await,
        ClusterCommand::Status => {
            let request = v1::GetClusterStatusRequest { local_only: false };
            let status = cluster.get_cluster_status(request).await?;
            printer.print(&json::ClusterStatus::from(&status), || table::cluster(&status))
        }
        ClusterCommand::Snapshot(command) => snapshot::run(command, client, printer).await,
        ClusterCommand::TransferLeadership { id } => {
            let request = v1::TransferLeadershipRequest { member_id: id.get() };
            let v1::TransferLeadershipResponse { leader_id } = cluster.transfer_leadership(request).await?;
            printer.print(&json::Leadership { leader_id }, || format!("member {leader_id} leads"))
        }
    }
}
