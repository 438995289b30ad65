use super::*;
use crate::database::storage_limit::PAGE_BYTES;

const SMALL_PAGES: u64 = 50;
/// A storage quota, in bytes.
const SMALL: u64 = SMALL_PAGES * PAGE_BYTES;

fn tenant(folder: &tempfile::TempDir) -> TenantDatabase {
    let account = Account {
        tenant: TenantUid::from_u128(1),
        weight: 1,
    };
    let path = folder.path().join("t").join("db.sqlite");
    let tenant = TenantDatabase::new(account, path, Arc::default(), 4, Stock::new(4), None, Instant::now());
    tenant.load().unwrap();
    tenant
}

fn pages(connection: &TenantConnection) -> u64 {
    let pages: i64 = connection
        .sqlite()
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    u64::try_from(pages).unwrap()
}

/// Rows of a page each.
fn grow(connection: &TenantConnection, rows: u64) -> rusqlite::Result<()> {
    let rows = format!(
        "INSERT INTO t SELECT randomblob(4000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) \
         SELECT i FROM n)"
    );
    connection.sqlite().execute_batch(&rows)
}

/// A connection to the tenant's database after it has grown to some four times the small quota.
fn grown(tenant: &TenantDatabase) -> Box<TenantConnection> {
    let connection = tenant.check_out().unwrap();
    tenant.prepare_write(&connection, 100 * SMALL).unwrap();
    connection.sqlite().execute_batch("CREATE TABLE t (x)").unwrap();
    grow(&connection, 200).unwrap();
    connection
}

fn empty(connection: &TenantConnection) {
    connection.sqlite().execute_batch("DELETE FROM t").unwrap();
    // A page each step.
    let mut vacuum = connection.sqlite().prepare("PRAGMA incremental_vacuum").unwrap();
    let mut rows = vacuum.query([]).unwrap();
    while rows.next().unwrap().is_some() {}
}

#[test]
fn a_limit_holds_for_a_connection_that_saw_the_database_larger_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(&folder);
    let (idle, busy) = (tenant.check_out().unwrap(), tenant.check_out().unwrap());
    tenant.prepare_write(&idle, SMALL).unwrap();
    idle.sqlite().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(grow(&idle, 100).is_err());
    // A larger quota for a while, of which the other connection only sees what became of it.
    tenant.prepare_write(&busy, 100 * SMALL).unwrap();
    grow(&busy, 200).unwrap();
    assert!(pages(&idle) > 4 * SMALL_PAGES);
    tenant.prepare_write(&busy, SMALL).unwrap();
    empty(&busy);
    assert!(pages(&busy) < SMALL_PAGES / 2);

    tenant.prepare_write(&idle, SMALL).unwrap();
    grow(&idle, 10).unwrap();
    let error = grow(&idle, 100).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    assert!(pages(&idle) <= SMALL_PAGES);
}

#[test]
fn a_limit_below_the_present_size_holds_when_the_database_has_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(&folder);
    let connection = grown(&tenant);
    tenant.prepare_write(&connection, SMALL).unwrap();
    empty(&connection);
    tenant.prepare_write(&connection, SMALL).unwrap();
    assert!(grow(&connection, 100).is_err());
    assert!(pages(&connection) <= SMALL_PAGES);
}

#[test]
fn what_a_transaction_that_is_undone_did_to_the_size_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(&folder);
    let connection = grown(&tenant);
    // Inside the transaction the database is small enough for the new limit; after it, it is not.
    connection.sqlite().execute_batch("BEGIN").unwrap();
    empty(&connection);
    tenant.prepare_write(&connection, SMALL).unwrap();
    grow(&connection, 1).unwrap();
    connection.sqlite().execute_batch("ROLLBACK").unwrap();
    assert!(pages(&connection) > 3 * SMALL_PAGES);
    tenant.prepare_write(&connection, SMALL).unwrap();
    empty(&connection);
    tenant.prepare_write(&connection, SMALL).unwrap();
    assert!(grow(&connection, 100).is_err());
    assert!(pages(&connection) <= SMALL_PAGES);
}
