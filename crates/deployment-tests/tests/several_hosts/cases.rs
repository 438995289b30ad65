//! The faults, one after the other on one site, and what each may do to whom.

use std::time::Duration;

use process_tests::skip;

use crate::faults::{Fate, Rule, between, can_be_made, deaf, others};
use crate::hosts::{ALL, Host, Hosts, MEMBERS};
use crate::rounds::run;
use crate::rows::tenants;
use crate::site::Site;
use crate::table::HEAD;

/// A fault, and what is to be seen of it.
pub(crate) struct Case {
    /// For the table.
    pub(crate) name: &'static str,
    /// What breaks.
    pub(crate) fault: Fault,
    /// Until when.
    pub(crate) hold: Hold,
    /// What becomes of requests that a node has to forward. Those to the tenant's own node never fail.
    pub(crate) forwarding: Forwarding,
}

/// What breaks.
pub(crate) enum Fault {
    /// Packets between hosts; told who leads.
    Network(fn(Host) -> Vec<Rule>),
    /// Every packet is late by so much.
    Delay(Duration),
    /// kill -9 of all members.
    MembersGone,
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hold {
    /// Until several changes that began after the fault were acknowledged.
    ChangesGoOn,
    /// Until another member leads, and then as above.
    AnotherLeads,
    /// Until a follower that was killed and started again in the midst of it is ready, and changes go on.
    FollowerReturns,
    /// No change may be acknowledged all the time.
    NothingChanges,
    /// Until the control plane takes this node for dead.
    NodeIsDown(u8),
    /// Until either node has refused to forward, with a reason.
    ForwardingIsRefused,
}

/// What becomes of requests that have to be forwarded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Forwarding {
    /// None fails.
    Goes,
    /// They may fail, for these reasons alone.
    MayFailFor(&'static [&'static str]),
}

fn cases() -> Vec<Case> {
    let network = |name, hold, rules| Case {
        name,
        fault: Fault::Network(rules),
        hold,
        forwarding: Forwarding::Goes,
    };
    vec![
        network("a follower cut off", Hold::ChangesGoOn, |leader| {
            let follower = follower_of(leader);
            between(&[follower], &others(follower), Fate::Lost)
        }),
        network("the leader cut off", Hold::AnotherLeads, |leader| {
            between(&[leader], &others(leader), Fate::Lost)
        }),
        network("the leader sends, and receives nothing", Hold::AnotherLeads, |leader| {
            deaf(&[leader], &others(leader), Fate::Lost)
        }),
        network("the leader receives, and is not heard", Hold::AnotherLeads, |leader| {
            deaf(&others(leader), &[leader], Fate::Lost)
        }),
        network("node 1 cut off from all members", Hold::NodeIsDown(1), |_| {
            between(&[Host::Node(1)], &MEMBERS, Fate::Lost)
        }),
        Case {
            forwarding: Forwarding::MayFailFor(&["503 owner-unreachable", "504 owner-silent"]),
            ..network("the nodes cut off from each other", Hold::ForwardingIsRefused, |_| {
                between(&[Host::Node(1)], &[Host::Node(2)], Fate::Lost)
            })
        },
        network("members reset each other's connections", Hold::NothingChanges, |_| {
            between(&MEMBERS, &MEMBERS, Fate::Reset)
        }),
        Case {
            // A connection that is opened meanwhile may take too long.
            forwarding: Forwarding::MayFailFor(&["503 owner-unreachable"]),
            ..network("5 % of all packets lost", Hold::ChangesGoOn, |_| {
                deaf(&ALL, &ALL, Fate::LostInPart(5))
            })
        },
        Case {
            fault: Fault::Delay(Duration::from_millis(100)),
            ..network(
                "every packet 100 ms late, and a follower killed and started again",
                Hold::FollowerReturns,
                |_| Vec::new(),
            )
        },
        Case {
            fault: Fault::MembersGone,
            ..network("all members killed", Hold::NothingChanges, |_| Vec::new())
        },
    ]
}

fn follower_of(leader: Host) -> Host {
    let other = MEMBERS.iter().find(|member| **member != leader);
    *other.expect("there are three")
}

#[test]
fn whatever_breaks_between_hosts_tenants_are_served_and_nothing_acknowledged_is_lost() {
    let made = Hosts::create().and_then(|hosts| can_be_made(&hosts).map(|()| hosts));
    let hosts = match made {
        Ok(hosts) => hosts,
        Err(reason) => return skip("several_hosts", &reason),
    };
    let mut site = Site::start(hosts);
    let tenants = tenants(&site);
    eprintln!("{HEAD}");
    let broken: Vec<String> = (0..)
        .zip(cases())
        .filter_map(|(number, case)| run(number, &case, &mut site, &tenants).err())
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
