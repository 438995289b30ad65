//! npm `@libsql/client` over HTTP, as it runs in Node.js and as it runs elsewhere (`/web`).
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests: what fails here fails the test")]

use std::process::Command;
use std::time::Duration;

use client_tests::{Report, Site, Tenant, node_modules, run_bounded};
use process_tests::skip;

const PATIENCE: Duration = Duration::from_secs(240);

const CHECKS: &[&str] = &[
    "create_insert_select",
    "positional_arguments",
    "named_arguments",
    "nulls_and_numbers",
    "integers_of_64_bits",
    "unicode",
    "blobs",
    "affected_rows_and_last_insert_id",
    "column_names_and_declared_types",
    "errors",
    "a_batch_is_one_transaction",
    "a_batch_of_a_thousand_different_statements",
    "migrations_run_without_foreign_keys",
    "transaction_commits_and_rolls_back",
    "two_writers_wait_for_each_other",
    "script",
    "hundred_thousand_rows",
    "ten_mebibytes",
    "thousand_clients",
    "refused_at_the_daily_limit",
    "refused_when_the_database_is_full",
    "refused_with_words_whatever_the_size",
    "a_read_only_token_reads",
    "refused_with_a_revoked_token",
    "refused_with_anothers_token",
    "a_forgotten_transaction_is_rolled_back",
];

/// What differs between the flavours is how a client is made: the first checks show that.
const CHECKS_FOR_BROWSERS: usize = 16;

/// Requests go to the nodes that forward them: any node will do.
#[test]
fn every_check_of_the_javascript_sdk_is_well() {
    let installed = match node_modules() {
        Ok(installed) => installed,
        Err(reason) => return skip("every_check_of_the_javascript_sdk_is_well", &reason),
    };
    let site = Site::start();
    let flavours = [("http", CHECKS), ("web", &CHECKS[..CHECKS_FOR_BROWSERS])];
    let reports = flavours.map(|(flavour, checks)| {
        let mut client = Command::new(&installed.interpreter);
        client
            .arg(installed.programs.join("javascript_checks.mjs"))
            .arg(flavour);
        for tenant in [Tenant::Roomy, Tenant::Forgotten, Tenant::Frugal, Tenant::Small] {
            client.arg(site.other_node(tenant).to_string());
        }
        site.hand_tokens_to(&mut client);
        let output = run_bounded(client.args(checks), PATIENCE).unwrap_or_else(|reason| panic!("{flavour}: {reason}"));
        println!("{flavour}:\n{output}");
        (Report::read(&output), checks)
    });
    for (report, checks) in reports {
        report.assert_all_ok(checks);
    }
}
