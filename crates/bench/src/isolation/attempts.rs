//! What hostile tenants try. Each text says all of what is special about it; limits are those of [`super::tenants::hostile`].

use super::attack::{Attack, Manner, cursor, open_stream, post, statements};

/// As many connections as a medium tenant may have requests at once.
const ALL: usize = 50;
/// Many more than it may.
const CROWD: usize = 500;

const ENDLESS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
const ENDLESS_ROWS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c) select x, printf('%.*c', 500, 'x') from c";

/// All attacks, on tenants of which `host` tells where they are, after two in brackets that leave the node alone: what the machine makes of a neighbour's
/// latencies by itself, and with no core to spare.
pub(super) fn all(host: impl Fn(&str) -> String) -> Vec<Attack> {
    let mut attacks = Vec::new();
    attacks.push(Attack::new("(nobody)", 0, Vec::new()));
    attacks.push(Attack::new("(all cores busy beside the node)", 0, Vec::new()).in_manner(Manner::KeepCoresBusy));
    let mut add = |name: &'static str, connections, manner, requests: &dyn Fn(&str) -> Vec<Vec<u8>>| {
        let requests = requests(&host(&Attack::tenant(name)));
        attacks.push(Attack::new(name, connections, requests).in_manner(manner));
    };
    processor(&mut add);
    memory(&mut add);
    disk(&mut add);
    connections(&mut add);
    parsing(&mut add);
    attacks
}

/// Takes an attack: its name, connections, manner, and its requests to a host.
type Add<'a> = dyn FnMut(&'static str, usize, Manner, &dyn Fn(&str) -> Vec<Vec<u8>>) + 'a;

fn processor(add: &mut Add<'_>) {
    use Manner::Ask;
    add("recursive CTE without end", ALL, Ask, &|host| one(host, ENDLESS));
    add("cross join of 10,000 × 10,000 × 10,000 rows", ALL, Ask, &|host| {
        one(host, "select count(*) from items a, items b, items c")
    });
    add("select of one row, 50 connections", ALL, Ask, &|host| {
        one(host, "select name from items where id = 7")
    });
    add("select of one row, 500 connections", CROWD, Ask, &|host| {
        one(host, "select name from items where id = 7")
    });
    add("queries of 1 ms, 500 connections", CROWD, Ask, &|host| {
        one(host, "select sum(length(name)) from items where id < 9000")
    });
    // One call of a function compares 200 bytes at each of 16 million places: SQLite asks nobody in between.
    add("one long function call", ALL, Ask, &|host| {
        one(host, "select instr(hex(zeroblob(8000000)), hex(zeroblob(100)) || 'x')")
    });
    add("pattern that matches slowly", ALL, Ask, &|host| {
        let sql = format!("select hex(zeroblob(150000)) like '%{}1'", "0".repeat(900));
        one(host, &sql)
    });
    add("tables made and dropped", ALL, Ask, &|host| {
        one_of(host, &["create table if not exists z (x)", "drop table if exists z"])
    });
}

fn memory(add: &mut Add<'_>) {
    use Manner::Ask;
    add("randomblob(1e9) and zeroblob(1e9)", ALL, Ask, &|host| {
        vec![
            statements(host, &["select length(randomblob(1000000000))"]),
            statements(host, &["select zeroblob(1000000000)"]),
        ]
    });
    add("blobs of 30 MB", ALL, Ask, &|host| {
        one(host, "select length(hex(randomblob(15000000)))")
    });
    add("sorting 300 MB in memory", ALL, Ask, &|host| {
        one(
            host,
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 1000000) select count(*) from \
             (select x from c order by hex(randomblob(100)) || zeroblob(100) limit 1000000)",
        )
    });
    add("group_concat of 30 MB", ALL, Ask, &|host| {
        one(
            host,
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 30000) \
             select length(group_concat(hex(zeroblob(500)))) from c",
        )
    });
    add("temporary tables", ALL, Ask, &|host| {
        one_of(
            host,
            &["create temp table t as select a.name, b.name as other from items a, items b limit 500000"],
        )
    });
}

fn disk(add: &mut Add<'_>) {
    use Manner::Ask;
    add("insert of one row, 50 connections", ALL, Ask, &|host| {
        one(host, "insert into events (body) values ('a row')")
    });
    add("inserts of 1 MB until the quota", ALL, Ask, &|host| {
        one(host, "insert into events (body) values (randomblob(1000000))")
    });
    add("update of all rows", ALL, Ask, &|host| {
        one(host, "update items set name = name || 'x' where length(name) < 200")
    });
    add("VACUUM and PRAGMA optimize", ALL, Ask, &|host| {
        vec![
            statements(host, &["vacuum"]),
            statements(host, &["analyze"]),
            statements(host, &["pragma optimize"]),
        ]
    });
}

fn connections(add: &mut Add<'_>) {
    use Manner::{Ask, ReadSlowly, Reconnect, Withhold};
    add("a thousand open transactions", ALL, Ask, &|host| {
        vec![open_stream(host, &["begin", "select count(*) from items"])]
    });
    add("write transactions left open", ALL, Ask, &|host| {
        vec![open_stream(
            host,
            &["begin immediate", "insert into events (body) values ('x')"],
        )]
    });
    add("large answers read slowly", ALL, ReadSlowly, &|host| {
        vec![cursor(host, ENDLESS_ROWS)]
    });
    add("large answers read fast", ALL, Ask, &|host| {
        let sql = "select a.name, b.name from items a, items b limit 200000";
        vec![cursor(host, sql), statements(host, &[sql])]
    });
    add("a new connection for each request", ALL, Reconnect, &|host| {
        one(host, "select name from items where id = 7")
    });
    add("requests without an end, 500 connections", CROWD, Withhold, &|host| {
        one(host, "select 1")
    });
}

fn parsing(add: &mut Add<'_>) {
    use Manner::{Ask, Reconnect};
    add("deeply nested expressions", ALL, Ask, &|host| {
        let deep = format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000));
        let long = format!("select 1{}", "+1".repeat(100_000));
        vec![statements(host, &[&deep]), statements(host, &[&long])]
    });
    add("32,767 parameters", ALL, Ask, &|host| {
        let sql = format!("select 1 in (?{})", ",?".repeat(32_766));
        one(host, &sql)
    });
    add("SQL of 5 MB", ALL, Ask, &|host| {
        let sql = format!("select '{}'", "x".repeat(5 << 20));
        one(host, &sql)
    });
    add("bodies of 16 MB of small statements", ALL, Ask, &|host| {
        let step = "{\"type\":\"get_autocommit\"}";
        let count = (15 << 20) / (step.len() + 1);
        let body = format!("{{\"requests\":[{}]}}", vec![step; count].join(","));
        vec![post(host, "/v3/pipeline", &body)]
    });
    add("bodies of 16 MB of small arguments", ALL, Ask, &|host| {
        let argument = "{\"type\":\"null\"}";
        let count = (15 << 20) / (argument.len() + 1);
        let arguments = vec![argument; count].join(",");
        let body = format!(
            "{{\"requests\":[{{\"type\":\"execute\",\"stmt\":{{\"sql\":\"select 1\",\"args\":[{arguments}]}}}}]}}"
        );
        vec![post(host, "/v3/pipeline", &body)]
    });
    add("refused statements", ALL, Ask, &|host| {
        let sqls = [
            "attach '../../x/db.sqlite' as x",
            "vacuum into 'x'",
            "select load_extension('x')",
            "select readfile('/etc/passwd')",
            "pragma journal_mode = off",
            "pragma writable_schema = on",
        ];
        sqls.iter().map(|sql| statements(host, &[sql])).collect()
    });
    add("garbage", ALL, Reconnect, &|host| {
        vec![
            post(host, "/v3/pipeline", "{\"requests\":[[[[[[["),
            post(host, "/v3/pipeline", "{\"baton\":\"AAAA\",\"requests\":[]}"),
            post("../../etc.localhost", "/v3/pipeline", "{}"),
            post("nobody.localhost", "/v3/pipeline", "{}"),
            post(host, "/../../etc/passwd", "{}"),
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(),
        ]
    });
}

fn one(host: &str, sql: &str) -> Vec<Vec<u8>> {
    vec![statements(host, &[sql])]
}

/// All in one pipeline.
fn one_of(host: &str, sqls: &[&str]) -> Vec<Vec<u8>> {
    vec![statements(host, sqls)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_attack_has_a_tenant_of_its_own_and_says_something() {
        let attacks = all(|tenant| format!("{tenant}.localhost"));
        let tenants: HashSet<String> = attacks.iter().map(|attack| Attack::tenant(attack.name)).collect();
        assert_eq!(tenants.len(), attacks.len());
        for attack in attacks {
            let is_alone = attack.name.starts_with('(');
            assert_eq!(attack.connections == 0, is_alone, "{}", attack.name);
            assert_eq!(attack.requests.is_empty(), is_alone, "{}", attack.name);
        }
    }
}
