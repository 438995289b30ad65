//! `tenantctl events`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueEnum};
use control_client::{ControlClient, EventFilter, EventStart, EventUpdate, EventWatch};
use tenantry_proto::v1::{self, EventSeverity};
use tenantry_types::{EventDetail, EventSequence, TenantName};

use super::advance_page;
use super::tenant_spec::label;
use crate::failure::Failure;
use crate::output::{Printer, events};
use crate::resource_name;

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print events as they happen, until interrupted
    Watch(WatchArguments),
    /// Print the events that are kept, the oldest first
    List(ListArguments),
    /// Print what is raised at this moment, and who should move because of it
    Conditions,
    /// What the control plane does about events by itself
    #[command(subcommand)]
    Reactions(ReactionsCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReactionsCommand {
    /// Print the switches
    Show,
    /// Switch what is given; the rest stays
    Set(ReactionArguments),
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ReactionArguments {
    /// Give AUTO tenants another tier
    #[arg(long, value_enum)]
    tier_changes: Option<OnOff>,
    /// Propose moves of hot tenants or of their neighbours
    #[arg(long, value_enum)]
    move_proposals: Option<OnOff>,
    /// Ask for a node when an enterprise tenant comes to share one
    #[arg(long, value_enum)]
    dedicated_nodes: Option<OnOff>,
    /// Record when tenants pass a share of a limit
    #[arg(long, value_enum)]
    quota_warnings: Option<OnOff>,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOff {
    On,
    Off,
}

/// Which events.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FilterArguments {
    /// Only this kind; may be repeated
    #[arg(long = "kind", value_parser = PossibleValuesParser::new(EventDetail::KINDS))]
    kinds: Vec<String>,
    /// Only about this tenant; may be repeated
    #[arg(long = "tenant", value_name = "NAME")]
    tenants: Vec<TenantName>,
    /// Only about tenants with this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only this severity and above
    #[arg(long, value_enum)]
    min_severity: Option<Severity>,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Begin after this sequence
    #[arg(long, alias = "after", value_name = "SEQUENCE", conflicts_with = "all")]
    since: Option<u64>,
    /// Begin with the oldest event that is kept
    #[arg(long)]
    all: bool,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// Print this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

impl FilterArguments {
    pub(crate) const fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.tenants.is_empty() && self.labels.is_empty() && self.min_severity.is_none()
    }

    fn severity(&self) -> EventSeverity {
        match self.min_severity {
            None => EventSeverity::Unspecified,
            Some(Severity::Info) => EventSeverity::Info,
            Some(Severity::Warning) => EventSeverity::Warning,
            Some(Severity::Critical) => EventSeverity::Critical,
        }
    }

    fn watched(&self) -> EventFilter {
        EventFilter {
            kinds: self.kinds.clone(),
            tenants: self.tenants.iter().map(resource_name::tenant).collect(),
            labels: self.labels.iter().cloned().collect(),
            min_severity: self.severity(),
        }
    }

    pub(crate) fn message(&self) -> v1::EventFilter {
        v1::EventFilter {
            kinds: self.kinds.clone(),
            tenants: self.tenants.iter().map(resource_name::tenant).collect(),
            labels: self.labels.iter().cloned().collect(),
            min_severity: self.severity().into(),
        }
    }
}

impl WatchArguments {
    fn start(&self) -> EventStart {
        match self.since {
            Some(sequence) => EventStart::After(EventSequence(sequence)),
            None if self.all => EventStart::After(EventSequence::ZERO),
            None => EventStart::OnlyNew,
        }
    }
}

/// A watch connects within `timeout`; afterwards it waits for as long as it takes.
pub(crate) async fn run(
    command: EventsCommand,
    client: ControlClient,
    timeout: Duration,
    printer: &Printer,
) -> Result<(), Failure> {
    match command {
        EventsCommand::Watch(arguments) => watch(&arguments, client, timeout, printer).await,
        EventsCommand::List(arguments) => list(&arguments, &client, printer).await,
        EventsCommand::Conditions => {
            let answer = client
                .notification()
                .list_conditions(v1::ListConditionsRequest {})
                .await?;
            let shown = events::Conditions::from(&answer);
            printer.print(&shown, || shown.to_table())
        }
        EventsCommand::Reactions(command) => reactions(command, &client, printer).await,
    }
}

async fn watch(
    arguments: &WatchArguments,
    client: ControlClient,
    timeout: Duration,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut watch = EventWatch::new(client, arguments.filter.watched(), arguments.start());
    watch.connect(timeout).await?;
    let mut printed = 0_u64;
    while arguments.limit.is_none_or(|limit| printed < limit) {
        match watch.next().await? {
            EventUpdate::Event(event) => {
                print(printer, &event)?;
                printed = printed.saturating_add(1);
            }
            EventUpdate::Gap { oldest } => {
                printer.print_line(&events::EventLine::gap(oldest.get()), || {
                    format!("(events before {oldest} are no longer kept)")
                })?;
            }
            EventUpdate::Bookmark(_) => {}
        }
    }
    Ok(())
}

async fn list(arguments: &ListArguments, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let mut request = v1::ListEventsRequest {
        filter: Some(arguments.filter.message()),
        page_size: 500,
        page_token: String::new(),
        newest_first: arguments.newest,
    };
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    loop {
        let answer = client.notification().list_events(request.clone()).await?;
        for event in &answer.events {
            if left == 0 {
                return Ok(());
            }
            print(printer, event)?;
            left -= 1;
        }
        if !advance_page(&mut request.page_token, answer.next_page_token)? {
            return Ok(());
        }
    }
}

fn print(printer: &Printer, event: &v1::Event) -> Result<(), Failure> {
    printer.print_line(&events::EventLine::event(event), || events::event_line(event))
}

async fn reactions(command: ReactionsCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    let calls = client.notification();
    let current = calls.get_reactions(v1::GetReactionsRequest {}).await?.reactions;
    let current = current.ok_or(Failure::Answer("without switches"))?;
    let reactions = match command {
        ReactionsCommand::Show => current,
        ReactionsCommand::Set(arguments) => {
            let request = v1::UpdateReactionsRequest {
                reactions: Some(arguments.applied_to(current)?),
                request_id: String::new(),
            };
            let answer = calls.update_reactions(request).await?.reactions;
            answer.ok_or(Failure::Answer("without switches"))?
        }
    };
    let shown = events::Reactions::from(&reactions);
    printer.print(&shown, || shown.to_table())
}

impl ReactionArguments {
    fn applied_to(&self, mut reactions: v1::Reactions) -> Result<v1::Reactions, Failure> {
        let switches = [
            (self.tier_changes, &mut reactions.tier_changes_off),
            (self.move_proposals, &mut reactions.move_proposals_off),
            (self.dedicated_nodes, &mut reactions.dedicated_nodes_off),
            (self.quota_warnings, &mut reactions.quota_warnings_off),
        ];
        if switches.iter().all(|(asked, _)| asked.is_none()) {
            return Err(Failure::usage("nothing to switch").with_hint("such as --move-proposals off"));
        }
        for (asked, off) in switches {
            if let Some(asked) = asked {
                *off = asked == OnOff::Off;
            }
        }
        Ok(reactions)
    }
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
            let filter = arguments.filter.watched();
            assert_eq!(arguments.start(), start, "{flags}");
            assert_eq!((filter.kinds.len(), filter.tenants.len()), (kinds, tenants), "{flags}");
            assert_eq!(filter.min_severity, min_severity, "{flags}");
            assert_eq!(arguments.filter.is_empty(), kinds + tenants == 0, "{flags}");
        }
        let labelled = Watch::try_parse_from(["watch", "--label", "plan=gold"]).unwrap().watch;
        assert_eq!(labelled.filter.message().labels["plan"], "gold");
        for bad in [
            "--kind hotspots",
            "--since 1 --all",
            "--tenant A",
            "--label plan",
            "--min-severity fatal",
            "--limit 0",
        ] {
            let words = ["watch"].into_iter().chain(bad.split_whitespace());
            assert!(Watch::try_parse_from(words).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_given_switches_are_switched() {
        let before = v1::Reactions {
            tier_changes_off: true,
            ..v1::Reactions::default()
        };
        let arguments = ReactionArguments {
            tier_changes: Some(OnOff::On),
            quota_warnings: Some(OnOff::Off),
            ..ReactionArguments::default()
        };
        let after = arguments.applied_to(before).unwrap();
        let expected = v1::Reactions {
            quota_warnings_off: true,
            ..v1::Reactions::default()
        };
        assert_eq!(after, expected);
        assert!(ReactionArguments::default().applied_to(before).is_err());
    }
}
