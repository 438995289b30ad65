//! `tenantctl events`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueEnum};
use control_client::{ControlClient, EventFilter, EventStart, EventUpdate, EventWatch};
use tenantry_proto::v1::EventSeverity;
use tenantry_types::{EventSequence, TenantName};

use crate::failure::Failure;
use crate::output::{Printer, json, table};
use crate::resource_name;

/// The kinds that there are, as [`tenantry_types::EventDetail::kind`] names them.
const KINDS: [&str; 10] = [
    "hotspot-raised",
    "hotspot-cleared",
    "class-changed",
    "tier-changed",
    "quota-crossed",
    "node-registered",
    "events-dropped",
    "tokens-revoked",
    "token-key-added",
    "token-key-retired",
];

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print events as they happen, until interrupted
    Watch(WatchArguments),
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WatchArguments {
    /// Only this kind; may be repeated
    #[arg(long = "kind", value_parser = PossibleValuesParser::new(KINDS))]
    kinds: Vec<String>,
    /// Only about this tenant; may be repeated
    #[arg(long = "tenant", value_name = "NAME")]
    tenants: Vec<TenantName>,
    /// Begin after this sequence
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "all")]
    since: Option<u64>,
    /// Begin with the oldest event that is kept
    #[arg(long)]
    all: bool,
    /// Only this severity and above
    #[arg(long, value_enum)]
    min_severity: Option<Severity>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    Info,
    Warning,
}

impl WatchArguments {
    fn filter(&self) -> EventFilter {
        EventFilter {
            kinds: self.kinds.clone(),
            tenants: self.tenants.iter().map(resource_name::tenant).collect(),
            min_severity: match self.min_severity {
                None => EventSeverity::Unspecified,
                Some(Severity::Info) => EventSeverity::Info,
                Some(Severity::Warning) => EventSeverity::Warning,
            },
        }
    }

    fn start(&self) -> EventStart {
        match self.since {
            Some(sequence) => EventStart::After(EventSequence(sequence)),
            None if self.all => EventStart::After(EventSequence::ZERO),
            None => EventStart::OnlyNew,
        }
    }
}

/// Connects within `timeout`; afterwards waits for as long as it takes.
pub(crate) async fn run(
    command: EventsCommand,
    client: ControlClient,
    timeout: Duration,
    printer: &Printer,
) -> Result<(), Failure> {
    let EventsCommand::Watch(arguments) = command;
    let mut watch = EventWatch::new(client, arguments.filter(), arguments.start());
    watch.connect(timeout).await?;
    let mut printed = 0_u64;
    while arguments.limit.is_none_or(|limit| printed < limit) {
        match watch.next().await? {
            EventUpdate::Event(event) => {
                printer.print_line(&json::EventLine::event(&event), || table::event_line(&event))?;
                printed = printed.saturating_add(1);
            }
            EventUpdate::Gap { oldest } => {
                printer.print_line(&json::EventLine::gap(oldest.get()), || {
                    format!("(events before {oldest} are no longer kept)")
                })?;
            }
            EventUpdate::Bookmark(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Watch {
        #[command(flatten)]
        watch: WatchArguments,
    }

    #[test]
    fn flags_become_the_start_and_the_filter() {
        let new = EventStart::OnlyNew;
        let after = |sequence| EventStart::After(EventSequence(sequence));
        let cases = [
            ("", new, 0, 0, EventSeverity::Unspecified),
            ("--all", after(0), 0, 0, EventSeverity::Unspecified),
            (
                "--since 7 --kind hotspot-raised --kind tier-changed",
                after(7),
                2,
                0,
                EventSeverity::Unspecified,
            ),
            (
                "--tenant acme --min-severity warning",
                new,
                0,
                1,
                EventSeverity::Warning,
            ),
        ];
        for (flags, start, kinds, tenants, min_severity) in cases {
            let words = ["watch"].into_iter().chain(flags.split_whitespace());
            let arguments = Watch::try_parse_from(words).unwrap().watch;
            let filter = arguments.filter();
            assert_eq!(arguments.start(), start, "{flags}");
            assert_eq!((filter.kinds.len(), filter.tenants.len()), (kinds, tenants), "{flags}");
            assert_eq!(filter.min_severity, min_severity, "{flags}");
        }
        for bad in [
            "--kind hotspots",
            "--since 1 --all",
            "--tenant A",
            "--min-severity fatal",
            "--limit 0",
        ] {
            let words = ["watch"].into_iter().chain(bad.split_whitespace());
            assert!(Watch::try_parse_from(words).is_err(), "{bad}");
        }
    }
}
