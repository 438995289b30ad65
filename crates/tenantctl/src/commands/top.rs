//! `tenantctl top`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::ValueEnum;
use control_client::ControlClient;
use jiff::Timestamp;
use tenantry_proto::v1;

use crate::failure::Failure;
use crate::output::top::Round;
use crate::output::{Place, Printer};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TopArguments {
    /// What busy means
    #[arg(long, value_enum, default_value_t = By::Requests)]
    by: By,
    /// At most this many tenants
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Seconds from one round to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// One round, then end
    #[arg(long)]
    once: bool,
}

/// What tenants are ordered by, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Requests of the last minute
    Requests,
    /// CPU time on database threads
    Cpu,
    /// Size of the database
    Bytes,
    /// Errors of the last minute
    Errors,
}

impl By {
    const fn order(self) -> v1::TenantUsageOrder {
        match self {
            Self::Requests => v1::TenantUsageOrder::Requests,
            Self::Cpu => v1::TenantUsageOrder::Cpu,
            Self::Bytes => v1::TenantUsageOrder::DatabaseBytes,
            Self::Errors => v1::TenantUsageOrder::Errors,
        }
    }
}

/// Prints a round, waits, and begins again, until interrupted or the control plane has not answered for the timeout.
pub(crate) async fn run(arguments: &TopArguments, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let request = v1::ListTenantUsageRequest {
        order: arguments.by.order().into(),
        page_size: arguments.limit,
    };
    // One table after the other where nobody can redraw: in a file, or through a pipe.
    let place = match !arguments.once && io::stdout().is_terminal() {
        true => Place::Same,
        false => Place::Next,
    };
    let mut rounds = tokio::time::interval(Duration::from_secs(arguments.interval));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let answer = client.admin().list_tenant_usage(request).await?;
        let round = Round::new(Timestamp::now(), arguments.by.order(), &answer);
        printer.print_round(&round, || round.to_string(), place)?;
        if arguments.once {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Top {
        #[command(flatten)]
        top: TopArguments,
    }

    fn parse(flags: &str) -> Option<TopArguments> {
        let words = ["top"].into_iter().chain(flags.split_whitespace());
        Top::try_parse_from(words).ok().map(|parsed| parsed.top)
    }

    #[test]
    fn what_is_not_given_is_the_twenty_with_most_requests_every_two_seconds() {
        let top = parse("").unwrap();
        assert_eq!(
            (top.by, top.limit, top.interval, top.once),
            (By::Requests, 20, 2, false)
        );
        let orders = [
            ("requests", v1::TenantUsageOrder::Requests),
            ("cpu", v1::TenantUsageOrder::Cpu),
            ("bytes", v1::TenantUsageOrder::DatabaseBytes),
            ("errors", v1::TenantUsageOrder::Errors),
        ];
        for (word, order) in orders {
            assert_eq!(parse(&format!("--by {word}")).unwrap().by.order(), order);
        }
    }

    #[test]
    fn bounds_are_kept_before_anything_is_sent() {
        for bad in ["--limit 0", "--limit 1001", "--interval 0", "--by memory", "--limit -1"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
