//! One file a subject: its flags, the requests that they make, and what is printed.

pub(crate) mod certificates;
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

use std::sync::Arc;

use control_client::{ClientOptions, ControlClient, Endpoint};
use mutual_tls::{Credentials, Role, Security, TlsFiles};

use crate::arguments::{Arguments, Command, Global};
use crate::failure::Failure;
use crate::output::Printer;

/// Does what the command line asks for.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Global {
        endpoints,
        timeout,
        output,
        tls_ca,
        tls_cert,
        tls_key,
    } = arguments.global;
    let printer = Printer::new(output);
    // Asks nobody, and makes what the others need.
    if let Command::Certificates(command) = &arguments.command {
        return certificates::run(command, &printer);
    }
    let files = TlsFiles::from_options(tls_ca, tls_cert, tls_key)
        .map_err(|missing| Failure::usage(format!("--{} {missing}", missing.option)))?;
    let options = ClientOptions {
        timeout,
        ..ClientOptions::default()
    };
    let security = security(files, &endpoints)?;
    let client = ControlClient::new(endpoints, security, options).map_err(|error| Failure::usage(error.to_string()))?;
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
        Command::Certificates(command) => certificates::run(&command, &printer),
    }
}

fn security(files: Option<TlsFiles>, endpoints: &[Endpoint]) -> Result<Security, Failure> {
    let Some(files) = files else {
        // A member that speaks in clear listens on loopback. Whoever answers elsewhere is somebody else, and would be told secrets.
        return match endpoints.iter().find(|endpoint| !endpoint.is_on_loopback()) {
            None => Ok(Security::Plain),
            Some(endpoint) => Err(Failure::usage(format!(
                "{endpoint} is not on this machine: --tls-ca, --tls-cert and --tls-key are needed"
            ))),
        };
    };
    match Credentials::load(files, &[Role::Operator, Role::ControlPlane]) {
        Ok(credentials) => Ok(Security::MutualTls(Arc::new(credentials))),
        Err(error) => Err(Failure::usage(error.to_string())),
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
