//! Three real members are killed, frozen, restarted and deprived of disk space while a client writes without pause. What was
//! acknowledged must be there afterwards, and be found by every read meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use process_tests::{Cluster, MEMBERS, Operator, Writer, skip, until, value_of};

const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    Cluster::start_members_in(tempfile::tempdir().unwrap())
}

fn restart(cluster: &mut Cluster, member: usize) {
    cluster.members[member].start();
    cluster.members[member].wait_until_ready();
}

#[test]
fn nothing_acknowledged_is_lost_while_one_member_after_the_other_is_killed() {
    let mut cluster = cluster();
    let writer = Writer::start(cluster.operator(), "killed");
    for round in 0..6 {
        writer.wait_for_more(5);
        // Every other time the leader.
        let victim = if round % 2 == 0 {
            cluster.leader(None)
        } else {
            round % MEMBERS
        };
        cluster.members[victim].kill();
        writer.wait_for_more(3);
        restart(&mut cluster, victim);
    }
    let promises = writer.finish();
    cluster.wait_until_members_agree();
    assert!(promises.created.len() >= 48, "{promises:?}");
}

#[test]
fn a_leader_that_was_frozen_reads_nothing_stale_when_it_is_woken() {
    let cluster = cluster();
    let writer = Writer::start(cluster.operator(), "frozen");
    for round in 0..3 {
        writer.wait_for_more(3);
        let frozen = cluster.leader(None);
        cluster.members[frozen].freeze();
        let others: Vec<Operator> = (0..MEMBERS)
            .filter(|member| *member != frozen)
            .map(|member| cluster.operator_at(member))
            .collect();
        let name = format!("meanwhile-{round}");
        value_of("a write without the frozen leader", PATIENCE, || {
            let asked = others.iter().map(|other| other.try_ctl(&["tenant", "create", &name]));
            let mut failures = Vec::new();
            for outcome in asked {
                match outcome {
                    Ok(_) => return Ok(()),
                    Err(error) if error.contains("exists") => return Ok(()),
                    Err(error) => failures.push(error),
                }
            }
            Err(failures.join("; "))
        });
        cluster.members[frozen].thaw();
        // At once: it may still think that it leads. It may say that it cannot answer, but not that there is no such tenant.
        let woken = cluster.operator_at(frozen);
        value_of("an answer of the woken member", PATIENCE, || {
            let answer = woken.try_ctl(&["tenant", "get", &name]);
            if let Err(error) = &answer {
                let stale = error.contains("NOT_FOUND") || error.contains("not found");
                assert!(!stale, "the woken member told the past: {error}");
            }
            answer
        });
    }
    let _ = writer.finish();
    cluster.wait_until_members_agree();
}

#[test]
fn storms_of_restarts_lose_nothing() {
    let mut cluster = cluster();
    let writer = Writer::start(cluster.operator(), "storm");
    for round in 0..3 {
        writer.wait_for_more(4);
        cluster.members.iter_mut().for_each(|member| member.kill());
        // The second time they die again before they can be ready.
        if round == 1 {
            cluster.members.iter_mut().for_each(|member| member.start());
            cluster.members.iter_mut().for_each(|member| member.kill());
        }
        cluster.members.iter_mut().for_each(|member| member.start());
        for member in &mut cluster.members {
            member.wait_until_ready();
        }
    }
    writer.wait_for_more(4);
    let _ = writer.finish();
    cluster.wait_until_members_agree();
}

#[test]
fn a_rolling_restart_fails_no_write() {
    let mut cluster = cluster();
    let writer = Writer::start(cluster.operator(), "rolling");
    for member in 0..MEMBERS {
        writer.wait_for_more(3);
        cluster.members[member].ask_to_stop();
        let status = cluster.members[member].wait_until_ended(PATIENCE);
        assert!(status.success(), "{status}");
        writer.wait_for_more(3);
        restart(&mut cluster, member);
    }
    let promises = writer.finish();
    assert_eq!(promises.failures, Vec::<String>::new());
    cluster.wait_until_members_agree();
}

/// A file system of its own for one folder, small enough to be filled. Unmounted with the value.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self { at: at.to_owned() })
    }

    fn fill(&self) {
        let mut chunk = 8 << 20;
        let mut file = std::fs::File::create(self.at.join("ballast")).unwrap();
        while chunk > 0 {
            if std::io::Write::write_all(&mut file, &vec![0; chunk]).is_err() {
                chunk /= 2;
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.at.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

#[test]
fn a_full_disk_stops_one_member_and_once_freed_it_catches_up_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disks: Vec<SmallDisk> = (1..=MEMBERS)
        .map_while(|id| SmallDisk::mount(&folder.path().join(format!("control-plane-{id}")), 128))
        .collect();
    if disks.len() < MEMBERS {
        skip("full disk of a member", "this user may not mount a small file system");
        return;
    }
    let cluster = Cluster::start_members_in(folder);
    let writer = Writer::start(cluster.operator(), "full");
    writer.wait_for_more(3);
    let storage_error = |member: usize| -> Result<String, String> {
        let status = cluster.try_ctl(&["cluster", "status"])?;
        let error = status["members"][member]["storage_error"].as_str().unwrap_or_default();
        Ok(error.to_owned())
    };
    // First a follower, then the leader.
    let leader = cluster.leader(None);
    for victim in [(leader + 1) % MEMBERS, leader] {
        disks[victim].fill();
        value_of("the full disk to be noticed", PATIENCE, || {
            let error = storage_error(victim)?;
            if error.is_empty() {
                Err("no error".to_owned())
            } else {
                Ok(error)
            }
        });
        writer.wait_for_more(5);
        disks[victim].free();
        until("the member to take part again", PATIENCE, || {
            storage_error(victim).is_ok_and(|error| error.is_empty())
        });
        writer.wait_for_more(3);
    }
    let _ = writer.finish();
    cluster.wait_until_members_agree();
    drop(cluster);
}
