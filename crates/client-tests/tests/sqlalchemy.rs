//! SQLAlchemy with the dialect `sqlite+libsql`.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests: what fails here fails the test")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use client_tests::{Door, Report, Site, Tenant, python_packages, run_bounded};
use process_tests::skip;

const PATIENCE: Duration = Duration::from_secs(240);

const CHECKS: &[&str] = &[
    "create_all",
    "reflection",
    "insert_and_select_objects",
    "update_and_delete",
    "rollback",
    "errors",
    "core_and_columns",
    "many_rows",
    "a_connection_of_the_pool_goes_on_after_a_pause",
    "refused_at_the_daily_limit",
    "refused_when_the_database_is_full",
    "a_read_only_token_reads",
    "refused_with_a_revoked_token",
    "refused_with_anothers_token",
];

#[test]
fn every_check_of_sqlalchemy_is_well() {
    let installed = match python_packages("sqlalchemy") {
        Ok(installed) => installed,
        Err(reason) => return skip("every_check_of_sqlalchemy_is_well", &reason),
    };
    let site = Site::start();
    // This SDK can neither set a header nor take another resolver.
    let doors = [Tenant::Roomy, Tenant::Frugal, Tenant::Small].map(|tenant| site.door(tenant, site.owner(tenant)));
    let mut client = Command::new(&installed.interpreter);
    client.arg("-B").arg(installed.programs.join("sqlalchemy_checks.py"));
    client.args(
        doors
            .iter()
            .map(|door| door.url().trim_start_matches("http://").to_owned()),
    );
    site.hand_tokens_to(&mut client);
    let output = run_bounded(&mut client, PATIENCE).unwrap_or_else(|reason| panic!("{reason}"));
    Report::read(&output).assert_all_ok(CHECKS);
    let called: BTreeSet<String> = doors.iter().flat_map(Door::calls).collect();
    assert_eq!(
        called,
        BTreeSet::from(["POST /v3/pipeline", "POST /v3/cursor"].map(str::to_owned))
    );
}
