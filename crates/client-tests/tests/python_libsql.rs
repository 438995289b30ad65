//! PyPI `libsql` in remote mode.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests: what fails here fails the test")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use client_tests::{Door, Report, Site, Tenant, python_packages, run_bounded};
use process_tests::skip;

const PATIENCE: Duration = Duration::from_secs(240);

const CHECKS: &[&str] = &[
    "create_insert_select",
    "arguments",
    "nulls_and_numbers",
    "integers_of_64_bits",
    "unicode",
    "blobs",
    "affected_rows_and_last_insert_id",
    "column_names",
    "errors",
    "transaction_commits_and_rolls_back",
    "a_failed_statement_keeps_the_transaction",
    "two_writers_wait_for_each_other",
    "executemany_is_one_transaction",
    "script",
    "hundred_thousand_rows",
    "ten_mebibytes",
    "thousand_clients",
    "refused_at_the_daily_limit",
    "refused_when_the_database_is_full",
    "a_read_only_token_reads",
    "refused_with_a_revoked_token",
    "refused_with_anothers_token",
    "an_idle_connection_goes_on",
    "a_forgotten_transaction_is_rolled_back",
];

#[test]
fn every_check_of_the_python_sdk_is_well() {
    let installed = match python_packages("libsql") {
        Ok(installed) => installed,
        Err(reason) => return skip("every_check_of_the_python_sdk_is_well", &reason),
    };
    let site = Site::start();
    // This SDK can neither set a header nor take another resolver.
    let doors = [Tenant::Roomy, Tenant::Forgotten, Tenant::Frugal, Tenant::Small]
        .map(|tenant| site.door(tenant, site.owner(tenant)));
    let mut client = Command::new(&installed.interpreter);
    client.arg("-B").arg(installed.programs.join("libsql_checks.py"));
    client.args(doors.iter().map(Door::url));
    site.hand_tokens_to(&mut client);
    let output = run_bounded(&mut client, PATIENCE).unwrap_or_else(|reason| panic!("{reason}"));
    Report::read(&output).assert_all_ok(CHECKS);
    let called: BTreeSet<String> = doors.iter().flat_map(Door::calls).collect();
    assert_eq!(
        called,
        BTreeSet::from(["POST /v3/pipeline", "POST /v3/cursor"].map(str::to_owned))
    );
}
