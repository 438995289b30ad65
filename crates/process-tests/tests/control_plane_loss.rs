//! Members are killed while tenants work: nothing is lost, and no tenant waits for the control plane.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::path::{Path, PathBuf};

use process_tests::{Cluster, MEMBERS, NODES, first_error, pipeline, skip};
use serde_json::json;

const TRACKS: usize = 3_503;
/// Pieces are a few statements each, so that the load takes long enough to kill somebody meanwhile.
const PIECE_BYTES: usize = 8 << 10;

/// The sample database, from a `shared` folder beside the workspace or above it.
fn chinook() -> Option<String> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let paths = folders.map(|folder| folder.join("shared/data/chinook.sql"));
    let path: PathBuf = paths.into_iter().find(|path| path.is_file())?;
    Some(std::fs::read_to_string(path).unwrap())
}

fn generated() -> String {
    let mut sql = "create table Track (TrackId integer primary key, Name text not null);\n".to_owned();
    for id in 1..=TRACKS {
        sql.push_str(&format!(
            "insert into Track (TrackId, Name) values ({id}, 'It''s track {id}');\n"
        ));
    }
    sql
}

/// Whole statements, about `PIECE_BYTES` at a time.
fn pieces(sql: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for statement in sql.split_inclusive(";\n") {
        if pieces.last().unwrap().len() + statement.len() > PIECE_BYTES {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push_str(statement);
    }
    pieces
}

#[test]
fn a_database_is_loaded_whole_while_the_leader_is_killed_and_the_member_catches_up() {
    let sql = chinook().unwrap_or_else(|| {
        skip(
            "chinook",
            "no shared/data/chinook.sql above the workspace; generated rows are loaded instead",
        );
        generated()
    });
    let sql = sql.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let mut cluster = Cluster::start();
    cluster.create_tenant("acme", &["--tier", "medium"]);
    let pieces = pieces(&sql);
    let mut killed = None;
    for (index, piece) in pieces.iter().enumerate() {
        if index == pieces.len() / 2 {
            let leader = cluster.leader(None);
            cluster.members[leader].kill();
            killed = Some(leader);
        }
        let body = pipeline(&[json!({"type": "sequence", "sql": piece})]);
        let answer = cluster.pipeline(0, "acme", &body).unwrap();
        assert_eq!(
            (answer.status, first_error(&answer)),
            (200, None),
            "piece {index}: {piece}"
        );
    }
    for node in 0..NODES {
        assert_eq!(
            cluster.query(node, "acme", "select count(*) from Track"),
            TRACKS.to_string()
        );
    }
    assert!(killed.is_some());
    let _ = cluster.leader(killed);
    // Something for the member to catch up with.
    cluster.create_tenant("later", &[]);
    let member = &mut cluster.members[killed.unwrap()];
    member.start();
    member.wait_until_ready();
    cluster.wait_until_members_agree();
}

#[test]
fn tenants_are_served_without_any_control_plane_and_nothing_is_lost_when_it_returns() {
    let mut cluster = Cluster::start();
    // Enough of them that each node owns one.
    let tenants = ["first", "second", "third", "fourth", "fifth", "sixth"];
    let owners = tenants.map(|tenant| cluster.create_tenant(tenant, &[]));
    assert!(
        (0..NODES).all(|node| owners.contains(&node)),
        "all tenants went to one node: {owners:?}"
    );
    for tenant in tenants {
        cluster.run(0, tenant, &["create table t (x)", "insert into t values (1)"]);
    }
    cluster.wait_until_members_agree();
    // At once: what a node has served, it must serve again after a crash, with nobody to ask.
    cluster.members.iter_mut().for_each(|member| member.kill());

    for tenant in tenants {
        for node in 0..NODES {
            cluster.run(node, tenant, &["insert into t values (2)"]);
        }
    }
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_ready();
    for tenant in tenants {
        for node in 0..NODES {
            cluster.run(node, tenant, &["insert into t values (3)"]);
            assert!(
                cluster
                    .query(node, tenant, "select count(*) from t")
                    .parse::<u32>()
                    .unwrap()
                    >= 4
            );
        }
    }

    for member in &mut cluster.members {
        member.start();
    }
    for member in &mut cluster.members {
        member.wait_until_ready();
    }
    cluster.wait_until_members_agree();
    let listed = cluster.ctl(&["tenant", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), tenants.len(), "{listed}");
    for (tenant, owner) in tenants.iter().zip(owners) {
        let found = cluster.ctl(&["tenant", "get", tenant]);
        assert_eq!(found["node"], format!("node-{}", owner + 1), "{found}");
        for node in 0..NODES {
            assert_eq!(cluster.query(node, tenant, "select count(*) from t"), "5");
        }
    }
    let status = cluster.ctl(&["cluster", "status"]);
    assert_eq!(status["members"].as_array().unwrap().len(), MEMBERS);
}
