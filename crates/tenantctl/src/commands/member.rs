//! `tenantctl cluster member`.

use std::time::Duration;

use clap::Subcommand;
use control_client::{CallError, ClusterCalls, ControlClient, Endpoint};
use tenantry_proto::v1;
use tenantry_types::MemberId;
use tokio::time::Instant;

use crate::arguments::duration;
use crate::failure::Failure;
use crate::output::{Printer, json, table};

/// Between two looks at a member that still lacks too much.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show who takes part, and what a new member is to be started with
    List,
    /// Let a running new member follow, without a vote; or tell the others where a member has moved
    Add {
        /// An id that no member ever had
        id: MemberId,
        /// Where the other members reach it, host:port
        address: Endpoint,
        /// Only say whether it would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Give a member a vote, once it has caught up
    Promote {
        id: MemberId,
        /// How long to wait until it has caught up
        #[arg(long, default_value = "1m", value_parser = duration)]
        wait: Duration,
        /// Only say whether it would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a member out, for ever: its id is not used again
    Remove {
        id: MemberId,
        /// Also when too few of the other voters are alive to go on
        #[arg(long)]
        force: bool,
        /// Only say whether it would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a running new member into a voter's place: add it, wait until it has caught up, exchange the two. Safe to repeat
    Replace {
        /// The voter that leaves, dead or alive
        old: MemberId,
        /// An id that no member ever had
        new: MemberId,
        /// Where the other members reach the new one, host:port
        address: Endpoint,
        /// How long to wait until it has caught up
        #[arg(long, default_value = "10m", value_parser = duration)]
        wait: Duration,
        /// Also when too few of the other voters are alive to go on
        #[arg(long)]
        force: bool,
    },
}

pub(crate) async fn run(command: MemberCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let cluster = client.cluster();
    match command {
        MemberCommand::List => {}
        MemberCommand::Add { id, address, dry_run } => add(cluster, id, &address, dry_run).await?,
        MemberCommand::Promote { id, wait, dry_run } => {
            let request = v1::PromoteMemberRequest {
                member_id: id.get(),
                validate_only: dry_run,
            };
            caught_up(wait, || cluster.promote_member(request)).await?;
        }
        MemberCommand::Remove { id, force, dry_run } => {
            let request = v1::RemoveMemberRequest {
                member_id: id.get(),
                force,
                validate_only: dry_run,
            };
            cluster.remove_member(request).await?;
        }
        MemberCommand::Replace {
            old,
            new,
            address,
            wait,
            force,
        } => {
            let request = v1::ReplaceMemberRequest {
                old_member_id: old.get(),
                new_member_id: new.get(),
                force,
                validate_only: false,
            };
            add(cluster, new, &address, false).await?;
            caught_up(wait, || cluster.replace_member(request)).await?;
        }
    }
    let list = cluster.list_members(v1::ListMembersRequest {}).await?;
    printer.print(&json::MemberList::from(&list), || table::members(&list))
}

async fn add(cluster: ClusterCalls<'_>, id: MemberId, address: &Endpoint, dry_run: bool) -> Result<(), Failure> {
    let request = v1::AddMemberRequest {
        member_id: id.get(),
        address: address.as_str().to_owned(),
        validate_only: dry_run,
    };
    cluster.add_member(request).await?;
    Ok(())
}

/// Makes a call again until the member it is about lacks little enough of the log.
async fn caught_up<A, F>(patience: Duration, call: impl Fn() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<A, CallError>>,
{
    let give_up = Instant::now() + patience;
    loop {
        match call().await {
            Ok(_) => return Ok(()),
            Err(CallError::Refused(refusal)) if may_pass(&refusal.reason) && Instant::now() + PAUSE < give_up => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn may_pass(reason: &str) -> bool {
    matches!(reason, "NOT_CAUGHT_UP" | "MEMBER_SILENT" | "CHANGE_IN_PROGRESS")
}
