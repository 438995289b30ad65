//! The Rust crate `libsql`, remote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

mod clients;
mod limits;
mod rolling_restart;
mod tokens;
mod transactions;
mod values;

use std::time::{Duration, Instant};

use client_tests::{Site, Tenant, Token};

use clients::Clients;

/// The node ends an open transaction when it hears nothing for 10 s.
const PAUSE: Duration = Duration::from_secs(11);

macro_rules! failures {
    ($($module:ident::$check:ident($($argument:expr),*);)*) => {{
        let mut failures: Vec<String> = Vec::new();
        $(if let Err(error) = $module::$check($($argument),*).await {
            failures.push(format!("{}: {error:#}", stringify!($check)));
        })*
        failures
    }};
}

#[test]
fn every_check_of_the_rust_sdk_is_well() {
    let site = Site::start();
    let failures = site.runtime().block_on(async {
        let with = |tenant, token| Clients::new(site.owner(tenant), tenant, site.token(token).to_owned());
        let at = |tenant| with(tenant, Token::Full(tenant));
        let roomy = &at(Tenant::Roomy);
        let (frugal, small) = (&at(Tenant::Frugal), &at(Tenant::Small));
        let forgotten = &at(Tenant::Forgotten);
        values::create_the_tables(roomy).await.unwrap();
        let began = Instant::now();
        let idle = values::connection_that_has_read(roomy).await.unwrap();
        let left = transactions::leave_one_open(forgotten).await.unwrap();
        let mut failures = failures! {
            values::create_insert_select(roomy);
            values::positional_and_named_arguments(roomy);
            values::all_values_come_back(roomy);
            values::affected_rows_and_last_insert_id(roomy);
            values::column_names_and_declared_types(roomy);
            values::a_prepared_statement_is_used_again(roomy);
            values::errors_tell_what_is_wrong(roomy);
            values::a_hundred_thousand_rows(roomy);
            values::ten_mebibytes(roomy);
            transactions::commit_and_rollback(roomy);
            transactions::a_dropped_transaction_is_rolled_back(roomy);
            transactions::two_writers_wait_for_each_other(roomy);
            transactions::a_script_stops_at_its_first_error(roomy);
            transactions::a_transactional_batch_is_all_or_nothing(roomy);
            limits::a_thousand_clients_at_once(roomy);
            limits::the_daily_limit_is_told(frugal);
            limits::a_full_database_is_told(small);
            tokens::a_read_only_token_reads(&with(Tenant::Roomy, Token::ReadOnly));
            tokens::refused_with_a_revoked_token(&with(Tenant::Roomy, Token::Revoked));
            tokens::refused_with_anothers_token(&with(Tenant::Roomy, Token::Full(Tenant::Small)));
        };
        tokio::time::sleep_until((began + PAUSE).into()).await;
        failures.extend(failures! {
            values::a_connection_goes_on_after_a_pause(&idle);
            transactions::one_left_open_was_rolled_back(forgotten, left);
        });
        failures
    });
    assert!(
        failures.is_empty(),
        "{} checks failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
