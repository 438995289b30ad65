//! One file a subject: its flags, the requests that they make, and what is printed.

pub(crate) mod cluster;
mod confirm;
pub(crate) mod events;
mod member;
pub(crate) mod node;
pub(crate) mod placement;
pub(crate) mod quota_arguments;
pub(crate) mod snapshot;
pub(crate) mod tenant;
pub(crate) mod tenant_spec;
pub(crate) mod tier;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod webhook;

use control_client::{ClientOptions, ControlClient};

use crate::arguments::{Arguments, Command, Global};
use crate::failure::Failure;
use crate::output::Printer;

/// Does what the command line asks for.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Global {
        endpoints,
        timeout,
        output,
    } = arguments.global;
    let options = ClientOptions {
        timeout,
        ..ClientOptions::default()
    };
    let client = ControlClient::new(endpoints, options).map_err(|error| Failure::usage(error.to_string()))?;
    let printer = Printer::new(output);
    match arguments.command {
        Command::Tenant(command) => tenant::run(command, &client, &printer).await,
        Command::Token(command) => token::run(command, &client, &printer).await,
        Command::Tier(command) => tier::run(command, &client, &printer).await,
        Command::Node(command) => node::run(command, &client, &printer).await,
        Command::Cluster(command) => cluster::run(command, &client, &printer).await,
        Command::Events(command) => events::run(command, client, timeout, &printer).await,
        Command::Webhook(command) => webhook::run(command, &client, &printer).await,
        Command::Top(arguments) => top::run(&arguments, &client, &printer).await,
        Command::Placement(command) => placement::run(command, &client, &printer).await,
    }
}

/// The next page token of a list, checked so that a faulty answer cannot keep us asking for ever.
pub(crate) fn advance_page(token: &mut String, next: String) -> Result<bool, Failure> {
    if next.is_empty() {
        return Ok(false);
    }
    if *token == next {
        return Err(Failure::Answer("the same page twice"));
    }
    *token = next;
    Ok(true)
}
