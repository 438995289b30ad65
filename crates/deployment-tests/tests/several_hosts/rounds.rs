//! One fault: traffic before, during and after it, what was seen of it, and whether everything is as it was promised.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use process_tests::until;

use crate::cases::{Case, Fault, Forwarding, Hold};
use crate::changes::Changes;
use crate::delay::Delay;
use crate::faults;
use crate::hosts::{Host, MEMBERS};
use crate::leader_watch::LeaderWatch;
use crate::rows::{Outcome, Request, Rows, Tenant};
use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(60);
/// Every fault lasts for at least so long.
const SHORTEST: Duration = Duration::from_secs(6);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Packets that a delay has to have met, or it proves nothing.
const HELD_PACKETS: u64 = 500;

/// The table's head.
pub(crate) const HEAD: &str = "\
| fault | s | direct: requests, failed, longest gap | forwarded: requests, failed, longest gap | without a leader \
| next change after its begin / after healing | lost rows / changes |\n|---|---|---|---|---|---|---|";

/// Runs one case and prints its line of the table. The error is that line, when it tells of something that must not be.
pub(crate) fn run(number: usize, case: &Case, site: &mut Site, tenants: &[Tenant; 2]) -> Result<(), String> {
    let leader = site.leader();
    let mut rows = Rows::start(number, tenants);
    let mut changes = Changes::start(number, site.operator.clone());
    let watch = LeaderWatch::start();
    let start = Instant::now();
    rows.wait_until_all_write(start, 5);
    changes.wait_for(start, 3);

    let began = Instant::now();
    let mut delay = None;
    match &case.fault {
        Fault::Network(rules) => faults::impose(&site.hosts, &rules(leader)),
        Fault::Delay(time) => match Delay::impose(&site.hosts, *time) {
            Ok(imposed) => delay = Some(imposed),
            Err(reason) => {
                process_tests::skip("several_hosts", &format!("{}: {reason}", case.name));
                return Ok(());
            }
        },
        Fault::MembersGone => site.members.iter_mut().for_each(|member| member.kill()),
    }
    let imposed = Instant::now();
    hold(case.hold, site, &rows, &changes, imposed, leader);
    if let Some(delay) = &delay {
        until("the delay to be felt", PATIENCE, || delay.held() >= HELD_PACKETS);
    }

    let healed = Instant::now();
    match case.fault {
        Fault::Network(_) => faults::heal(&site.hosts),
        Fault::Delay(_) => drop(delay),
        Fault::MembersGone => (0..MEMBERS.len()).for_each(|index| site.start_member(index)),
    }
    rows.wait_until_all_write(healed, 5);
    changes.wait_for(healed, 3);
    let (wrong, lost) = (rows.judge(), changes.judge(site));
    site.members.iter_mut().for_each(|member| member.wait_until_ready());
    site.wait_until_nodes_are_up();
    site.wait_until_members_agree();
    site.wait_until_tables_agree();

    let span = (began, healed);
    let (direct, forwarded) = rows
        .requests()
        .into_iter()
        .partition(|request| !Rows::forwarded(request.client));
    let (direct, forwarded) = (Service::of(direct, span), Service::of(forwarded, span));
    let led = gap(&watch.moments(), span);
    let next = |since| {
        let all = changes.all();
        let next = all
            .iter()
            .find(|change| change.began >= since && change.refusal.is_none());
        next.map_or_else(|| "-".to_owned(), |change| seconds(change.ended - since))
    };
    let line = format!(
        "| {} | {} | {} | {} | {} | {} / {} | {wrong} / {lost} |",
        case.name,
        seconds(healed - began),
        direct.told(),
        forwarded.told(),
        seconds(led),
        next(began),
        next(healed),
    );
    eprintln!("{line}");
    let forwarding_holds = match case.forwarding {
        Forwarding::Goes => forwarded.failures.is_empty(),
        Forwarding::MayFailFor(reasons) => {
            let mut failures = forwarded.failures.keys();
            failures.all(|failure| reasons.contains(&failure.as_str()))
        }
    };
    let served = direct.requests > 0 && forwarded.requests > 0 && direct.failures.is_empty() && forwarding_holds;
    if served && (wrong, lost) == (0, 0) {
        return Ok(());
    }
    let refusals = changes.all().into_iter().filter_map(|change| change.refusal);
    refusals.for_each(|refusal| eprintln!("    a change was not acknowledged: {}", refusal.trim()));
    Err(line)
}

/// Waits until what the fault is to show was seen, and for the shortest time.
fn hold(what: Hold, site: &mut Site, rows: &Rows, changes: &Changes, imposed: Instant, leader: Host) {
    match what {
        Hold::ChangesGoOn => {
            changes.wait_for(imposed, 5);
        }
        Hold::FollowerReturns => {
            let follower = MEMBERS
                .iter()
                .position(|member| *member != leader)
                .expect("there are three");
            site.members[follower].kill();
            site.start_member(follower);
            site.members[follower].wait_until_ready();
            changes.wait_for(Instant::now(), 3);
        }
        Hold::NodeIsDown(id) => until("the node to be down", PATIENCE, || {
            site.availability(id).is_ok_and(|availability| availability == "down")
        }),
        Hold::ForwardingIsRefused => until("forwarding to be refused in both directions", PATIENCE, || {
            let requests = rows.requests();
            let refused = |client: usize| {
                let reason = Outcome::Refused("503 owner-unreachable".to_owned());
                requests
                    .iter()
                    .any(|request| request.client == client && request.outcome == reason)
            };
            (0..4).filter(|client| Rows::forwarded(*client)).all(refused)
        }),
        Hold::NothingChanges => {}
    }
    while imposed.elapsed() < SHORTEST {
        thread::sleep(POLL_INTERVAL);
    }
    if matches!(what, Hold::NothingChanges) {
        assert_eq!(
            changes.acknowledged(imposed),
            0,
            "no majority, and a change was acknowledged"
        );
    }
}

/// What clients saw of a fault.
struct Service {
    requests: usize,
    /// By reason.
    failures: BTreeMap<String, usize>,
    longest_gap: Duration,
}

impl Service {
    fn of(requests: Vec<Request>, span: (Instant, Instant)) -> Self {
        let during = requests
            .iter()
            .filter(|request| request.ended >= span.0 && request.began < span.1);
        let mut failures = BTreeMap::new();
        for request in during.clone() {
            if let Outcome::Refused(reason) | Outcome::Unknown(reason) = &request.outcome {
                *failures.entry(reason.clone()).or_default() += 1;
            }
        }
        let gaps = (0..4).map(|client| {
            let of = requests.iter().filter(|request| request.client == client);
            let acknowledged = of.filter(|request| request.outcome == Outcome::Acknowledged);
            gap(&acknowledged.map(|request| request.ended).collect::<Vec<_>>(), span)
        });
        Self {
            requests: during.count(),
            failures,
            longest_gap: gaps.max().unwrap_or_default(),
        }
    }

    fn told(&self) -> String {
        let failed: usize = self.failures.values().sum();
        let reasons: Vec<String> = self
            .failures
            .iter()
            .map(|(reason, count)| format!("{count} × {reason}"))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        };
        format!("{}, {failed}{reasons}, {}", self.requests, seconds(self.longest_gap))
    }
}

/// The longest time between two of these moments that has a part in the span.
fn gap(moments: &[Instant], (began, healed): (Instant, Instant)) -> Duration {
    let pairs = moments.windows(2).map(|pair| (pair[0], pair[1]));
    let touching = pairs.filter(|(from, to)| *to > began && *from < healed);
    touching.map(|(from, to)| to - from).max().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
