//! What else a function is expected to do: stop, keep to its memory, serve schemas.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::*;
use crate::database::connection::TenantConnection;
use crate::database::descriptors::{ConnectionSlot, Stock};
use crate::database::durability::TenantDurability;
use crate::database::memory::{MemoryAccount, give, take};
use crate::database::raw_sqlite::count_memory;
use crate::database::{Cancellation, statement};
use tenantry_types::TenantUid;

#[test]
fn all_of_them_stop_inside_of_one_call() {
    let looks = Arc::new(AtomicUsize::new(0));
    let stops = Arc::new(AtomicBool::new(false));
    let should_stop: ShouldStop = {
        let (looks, stops) = (Arc::clone(&looks), Arc::clone(&stops));
        Arc::new(move || {
            looks.fetch_add(1, Relaxed);
            stops.load(Relaxed)
        })
    };
    let connection = Connection::open_in_memory().unwrap();
    install(&connection, &should_stop).unwrap();
    let zeros = "hex(zeroblob(1000000))";
    for sql in [
        format!("instr({zeros}, hex(zeroblob(50000)) || 'x')"),
        format!("replace({zeros}, '0', '12')"),
        format!("trim({zeros}, '0')"),
        format!("ltrim({zeros}, '0€')"),
        format!("rtrim({zeros}, cast(x'c3808080808080808080' as text) || '0')"),
        format!("unhex({zeros} || ' ', ' ')"),
        format!("unhex(' ', {zeros})"),
        format!("{zeros} like '%00000000000000001'"),
        format!("{zeros} like '%____________00000!%1' escape '!'"),
        format!("{zeros} like '%é%'"),
        format!("{zeros} like '%x%'"),
        format!("{zeros} glob '*[0-9]1'"),
        // One character of 20,001 bytes, which is no UTF-8, behind 400 places where the pattern begins to fit.
        "printf('%.400c', 'a') || cast(x'c3' as text) || replace(hex(zeroblob(20000)), '00', cast(x'80' as text)) \
         like '%a' || printf('%.360c', '_') || 'b'"
            .to_owned(),
    ] {
        let mut statement = connection.prepare(&format!("select length({sql})")).unwrap();
        looks.store(0, Relaxed);
        stops.store(false, Relaxed);
        statement.query_row([], |_| Ok(())).unwrap();
        assert!(looks.load(Relaxed) >= 10, "{sql}: {looks:?}");
        looks.store(0, Relaxed);
        stops.store(true, Relaxed);
        let error = statement.query_row([], |_| Ok(())).unwrap_err();
        assert_eq!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::OperationInterrupted),
            "{sql}"
        );
        assert_eq!(looks.load(Relaxed), 1, "{sql}");
    }
}

#[test]
fn where_memory_is_refused_to_a_call_its_statement_fails_and_what_it_made_is_given_back() {
    if !count_memory() {
        // Only where tests share a process and another one was faster.
        return;
    }
    let account = Arc::new(MemoryAccount::default());
    let limit = 16 << 20;
    account.set_limit(limit);
    let _entered = account.enter();
    let connection = Connection::open_in_memory().unwrap();
    install(&connection, &(Arc::new(|| false) as ShouldStop)).unwrap();
    connection
        .execute_batch("create table t (a, b); insert into t values (hex(zeroblob(200000)), zeroblob(400000))")
        .unwrap();
    let mut refused = 0;
    // From nothing left to enough for all, so that each allocation is refused once.
    for left in (0..6_u64 << 20).step_by(150_000) {
        let held = account.held_bytes();
        let taken = i64::try_from((limit - held).saturating_sub(left)).unwrap();
        if !take(taken) {
            continue;
        }
        for sql in [
            "instr(a, 'x')",
            "instr(a, b)",
            "instr(b, x'01')",
            "instr(zeroblob(600000), x'01')",
            "replace(a, '0', '11')",
            "replace(b, 'x', '1')",
            "trim(a, '0')",
            "trim('x', replace(a, '0', 'é'))",
            "unhex(a, ' ')",
            "unhex('x', a)",
            "a like '%1'",
            "b glob '*1'",
        ] {
            let outcome = connection.query_row(&format!("select length({sql}) from t"), [], |_| Ok(()));
            if let Err(error) = outcome {
                assert_eq!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::OutOfMemory),
                    "{sql}"
                );
                refused += 1;
            }
        }
        connection.release_memory().unwrap();
        give(taken);
        assert!(account.held_bytes() < held + (4 << 20), "{left}: {account:?}");
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_connection_that_lost_its_like_for_lack_of_memory_runs_nothing_until_it_has_it_back() {
    if !count_memory() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let account = Arc::new(MemoryAccount::default());
    account.set_limit(16 << 20);
    let _entered = account.enter();
    let slot = ConnectionSlot::take(&Arc::default(), &Stock::new(1)).unwrap();
    let path = folder.path().join("db.sqlite");
    let keeper = TenantDurability::new(TenantUid::from_u128(1), None, Arc::default());
    let connection = TenantConnection::open(&path, Arc::default(), Arc::default(), Arc::new(keeper), slot).unwrap();
    let begin = || connection.begin_statement(Duration::from_millis(100), &Cancellation::default());
    begin();
    statement::compile(&connection, "pragma case_sensitive_like = on")
        .unwrap()
        .discard();
    let mut taken = 0;
    for bytes in [1 << 20, 1 << 15, 1 << 10, 1 << 5, 1] {
        while take(bytes) {
            taken += bytes;
        }
    }
    connection.end_statement();
    begin();
    let refused = statement::compile(&connection, "select 1").map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("out of memory"), "{refused:?}");
    connection.end_statement();
    give(taken);
    begin();
    let run = |sql: &str| -> rusqlite::Result<i64> {
        let mut compiled = statement::compile(&connection, sql).unwrap();
        compiled.query_row([], |row| row.get(0))
    };
    assert_eq!(run("select ('a' like 'A') * 10 + ('a' like 'a')"), Ok(1));
    let long = format!("select hex(zeroblob(2000000)) like '%{}1'", "0".repeat(900));
    let error = run(&long).unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::OperationInterrupted)
    );
    connection.end_statement();
}

#[test]
fn schemas_may_use_them_as_those_of_sqlite() {
    let connection = ours();
    connection
        .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .unwrap();
    connection
        .execute_batch(
            "create table t (a check (instr(a, 'x') = 0 and a not like 'zz%'), b as (replace(a, 'a', 'b')), c as (trim(a, 'ab')) stored);
             create index i on t (instr(a, 'b'));
             create index j on t (b);
             create index k on t (a) where unhex(a, ' ') is not null;
             create view v as select ltrim(a, 'a'), rtrim(a, 'b') from t;
             create trigger g after insert on t begin update t set a = replace(a, 'q', 'r') where rowid = new.rowid; end;
             insert into t values ('aqb'), ('ab');",
        )
        .unwrap();
    let row = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(row("select group_concat(b || c, ' ' order by a) from t"), "bb brbr");
    assert_eq!(row("select a from t where instr(a, 'b') = 2"), "ab");
    assert!(row("select group_concat(detail) from (select 'x' as detail from v)").contains('x'));
    assert_eq!(row("pragma integrity_check"), "ok");
    assert!(connection.execute_batch("insert into t values ('x')").is_err());
}
