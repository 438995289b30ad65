//! `tenantctl node`.

use clap::Subcommand;
use control_client::ControlClient;
use tenantry_proto::v1;
use tenantry_types::NodeId;

use super::advance_page;
use crate::failure::Failure;
use crate::output::{Printer, json, table};
use crate::resource_name;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes by id
    List,
    /// Show one node
    Get { id: NodeId },
    /// Place no new tenants on a node; what is there stays
    Cordon { id: NodeId },
    /// Place new tenants on a node again
    Uncordon { id: NodeId },
}

pub(crate) async fn run(command: NodeCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let placement = client.placement();
    let request_id = String::new();
    let node = match command {
        NodeCommand::List => {
            let nodes = list(client).await?;
            let rows: Vec<_> = nodes.iter().map(json::Node::from).collect();
            return printer.print(&rows, || table::nodes(&nodes));
        }
        NodeCommand::Get { id } => {
            let name = resource_name::node(&id);
            placement.get_node(v1::GetNodeRequest { name }).await?.node
        }
        NodeCommand::Cordon { id } => {
            let name = resource_name::node(&id);
            placement
                .cordon_node(v1::CordonNodeRequest { name, request_id })
                .await?
                .node
        }
        NodeCommand::Uncordon { id } => {
            let name = resource_name::node(&id);
            let request = v1::UncordonNodeRequest { name, request_id };
            placement.uncordon_node(request).await?.node
        }
    };
    let node = node.ok_or(Failure::Answer("without a node"))?;
    printer.print(&json::Node::from(&node), || table::node(&node))
}

async fn list(client: &ControlClient) -> Result<Vec<v1::Node>, Failure> {
    let mut request = v1::ListNodesRequest {
        page_size: 500,
        page_token: String::new(),
    };
    let mut nodes = Vec::new();
    loop {
        let page = client.placement().list_nodes(request.clone()).await?;
        nodes.extend(page.nodes);
        if !advance_page(&mut request.page_token, page.next_page_token)? {
            return Ok(nodes);
        }
    }
}
