//! One fault: traffic before, during and after it, what was seen of it, and whether everything is as it was promised.

use std::thread;
use std::time::{Duration, Instant};

use process_tests::until;

use crate::cases::{Case, Fault, Forwarding, Hold};
use crate::changes::Changes;
use crate::delay::Delay;
use crate::faults;
use crate::hosts::{Host, MEMBERS};
use crate::leader_watch::LeaderWatch;
use crate::rows::{Outcome, Rows, Tenant};
use crate::site::Site;
use crate::table::{Service, gap, seconds};

const PATIENCE: Duration = Duration::from_secs(60);
/// Every fault lasts for at least so long.
const SHORTEST: Duration = Duration::from_secs(6);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Packets that a fault of the network has to have met, or it proves nothing.
const FEWEST_PACKETS: u64 = 20;

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
    let met = || {
        let of_the_network = || faults::packets(&site.hosts);
        delay.as_ref().map_or_else(of_the_network, Delay::packets)
    };
    if !matches!(case.fault, Fault::MembersGone) {
        // Who gets no answer tries again ever later, so how many there are in the shortest time is left to chance.
        until("packets to have met the fault", PATIENCE, || met() >= FEWEST_PACKETS);
    }
    let packets = met();

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

    until("a leader to be seen", PATIENCE, || {
        watch.moments().last().is_some_and(|last| *last > healed)
    });

    let span = (began, healed);
    let (direct, forwarded): (Vec<_>, Vec<_>) = rows
        .requests()
        .into_iter()
        .partition(|request| !Rows::forwarded(request.client));
    let (direct, forwarded) = (Service::of(&direct, span), Service::of(&forwarded, span));
    let led = gap(&watch.moments(), span);
    let next = |since| {
        let all = changes.all();
        let next = all
            .iter()
            .find(|change| change.began >= since && change.refusal.is_none());
        next.map_or_else(|| "-".to_owned(), |change| seconds(change.ended - since))
    };
    let line = format!(
        "| {} | {} | {packets} | {} | {} | {} | {} / {} | {wrong} / {lost} |",
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
        Hold::ChangesGoOn => changes.wait_for(imposed, 5),
        Hold::AnotherLeads => {
            until("another member to lead", PATIENCE, || site.leader() != leader);
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
