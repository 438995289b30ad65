//! Database files that are not what they should be: whoever can write into a tenant's folder, or a disk that failed.

use std::path::PathBuf;

use super::{assert_neighbour_is_served, hostile, script};
use crate::harness::{Harness, Tenant, tenant};

fn folder(harness: &Harness, tenant: &Tenant) -> PathBuf {
    let folder = harness.folder.path().join("tenants").join(tenant.uid.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A sound database of 40 pages with a secret in it.
fn sound() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "create table t (x); create index i on t (x); \
             with recursive c(n) as (select 1 union all select n + 1 from c limit 5000) insert into t select n || 'secret' from c",
        )
        .unwrap();
    drop(connection);
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn files_with_a_wrong_byte_at_every_place_of_their_header_harm_nobody() {
    let harness = Harness::new();
    let sound = sound();
    for place in 0..108 {
        let tenant = tenant(1_000 + place as u128);
        let mut damaged = sound.clone();
        damaged[place] ^= 0xff;
        std::fs::write(folder(&harness, &tenant).join("db.sqlite"), damaged).unwrap();
        let answer = harness.try_sql(&tenant, "select count(*), max(x) from t").await;
        assert!(
            [200, 500, 503].contains(&answer.status.as_u16()),
            "byte {place}: {}",
            answer.body
        );
        assert!(
            answer.body["type"] != "https://tenantry.dev/problems/internal",
            "byte {place}: {}",
            answer.body
        );
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn files_cut_off_at_any_page_and_pages_of_rubbish_are_told_as_damage() {
    let harness = Harness::new();
    let sound = sound();
    for (number, length) in [512, 4_095, 4_096, 8_192, 20_000, sound.len() - 4_096]
        .into_iter()
        .enumerate()
    {
        let tenant = tenant(2_000 + number as u128);
        std::fs::write(folder(&harness, &tenant).join("db.sqlite"), &sound[..length]).unwrap();
        let answer = script(
            &harness,
            &tenant,
            &["select sum(length(x)) from t", "pragma integrity_check"],
        )
        .await;
        assert_eq!(
            answer.body["code"], "DATABASE_DAMAGED",
            "{length} bytes: {}",
            answer.body
        );
    }
    let rubbish = tenant(3_000);
    let mut pages = sound.clone();
    for (place, byte) in pages.iter_mut().enumerate().skip(4_096) {
        *byte = (place.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0];
    }
    std::fs::write(folder(&harness, &rubbish).join("db.sqlite"), pages).unwrap();
    for sql in [
        "select count(*) from t",
        "select * from t where x = 'a'",
        "insert into t values (1)",
        "delete from t",
    ] {
        let answer = harness.try_sql(&rubbish, sql).await;
        assert_eq!(answer.status, 500, "{sql}: {}", answer.body);
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn logs_of_rubbish_beside_a_sound_file_are_passed_over() {
    let harness = Harness::new();
    let tenant = hostile();
    let folder = folder(&harness, &tenant);
    std::fs::write(folder.join("db.sqlite"), sound()).unwrap();
    std::fs::write(folder.join("db.sqlite-wal"), vec![0x37; 100_000]).unwrap();
    std::fs::write(folder.join("db.sqlite-journal"), vec![0xd9; 10_000]).unwrap();
    let answer = harness.try_sql(&tenant, "select count(*) from t").await;
    assert!([200, 500].contains(&answer.status.as_u16()), "{}", answer.body);
    assert_neighbour_is_served(&harness).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_that_is_a_folder_or_leads_nowhere_is_told_and_harms_nobody() {
    let harness = Harness::new();
    let (is_folder, is_loop) = (tenant(4_000), tenant(4_001));
    std::fs::create_dir(folder(&harness, &is_folder).join("db.sqlite")).unwrap();
    let path = folder(&harness, &is_loop).join("db.sqlite");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    for tenant in [is_folder, is_loop] {
        let answer = harness.try_sql(&tenant, "select 1").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.body["type"], "https://tenantry.dev/problems/storage-unavailable");
    }
    assert_neighbour_is_served(&harness).await;
}
