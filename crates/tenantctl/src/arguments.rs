//! The command line as types. Doc comments are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use control_client::Endpoint;
use jiff::{Span, SpanRelativeTo};

use crate::commands::{certificates, cluster, events, node, placement, tenant, tier, token, top, webhook};

/// Operates Tenantry: tenants, nodes, the control plane and its events.
#[derive(Debug, Parser)]
#[command(name = "tenantctl", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the control plane is unavailable, 4 the outcome is unknown."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Members of the control plane, host:port, separated by commas
    #[arg(
        long = "endpoint",
        global = true,
        env = "TENANTRY_ENDPOINT",
        value_name = "ADDRESSES",
        value_delimiter = ',',
        default_value = "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
    )]
    pub(crate) endpoints: Vec<Endpoint>,
    /// How long to try, such as 10s or 1m
    #[arg(long, global = true, env = "TENANTRY_CTL_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How to print
    #[arg(short, long, global = true, env = "TENANTRY_CTL_OUTPUT", value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// PEM file of the authorities that members are believed by. Without the three files the connection is plain
    #[arg(long, global = true, env = "TENANTRY_TLS_CA", value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// PEM file of this operator's certificate
    #[arg(long, global = true, env = "TENANTRY_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, global = true, env = "TENANTRY_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Customers' databases
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Tenants' bearer tokens, and the keys that sign them
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Resource classes and their limits
    #[command(subcommand)]
    Tier(tier::TierCommand),
    /// Tenant-nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// The control plane's own members
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// What happened
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Where events are sent
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// The busiest tenants of all nodes, again and again
    Top(top::TopArguments),
    /// Certificates that members, nodes and operators prove themselves with
    #[command(subcommand)]
    Certificates(certificates::CertificatesCommand),
    /// Who serves whom, and why
    #[command(subcommand)]
    Placement(placement::PlacementCommand),
}

/// Reads `90s`, `24h` or `7d`; a day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with its unit, such as 90s, 24h or 7d".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    match Duration::try_from(length) {
        Ok(length) if length.is_zero() => Err("must be more than nothing".to_owned()),
        Ok(length) if length > Duration::from_secs(366 * 86_400) => Err("must be at most 366 days".to_owned()),
        Ok(length) => Ok(length),
        Err(_) => Err("must not be negative".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit() {
        let cases = [
            ("10s", Some(10)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("1m 30s", Some(90)),
        ];
        let bad = ["", "10", "-1s", "0s", "1 month", "400d", "99999999h", "x"];
        for (text, seconds) in cases.into_iter().chain(bad.map(|text| (text, None))) {
            assert_eq!(duration(text).ok().map(|length| length.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn an_unknown_flag_is_refused_by_name() {
        let error = Arguments::try_parse_from(["tenantctl", "tenant", "list", "--tire", "small"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--tire"));
    }
}
