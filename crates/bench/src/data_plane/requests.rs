//! What clients send: Hrana pipelines as complete HTTP/1.1 requests, made before the clock starts, each with the bytes
//! that prove its answer. Pure.

use std::sync::Arc;

/// Rows that are read.
pub(crate) const ROWS: u64 = 10_000;
/// Makes the tables of a tenant and fills the one that is read.
pub(crate) const SETUP: [&str; 3] = [
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
     INSERT INTO items SELECT i, printf('item-%08d', i) FROM n",
];
/// Takes a number from 1 to [`ROWS`].
pub(crate) const SELECT: &str = "SELECT name FROM items WHERE id = ?";
/// Takes a text.
pub(crate) const INSERT: &str = "INSERT INTO events (body) VALUES (?)";
/// The text of each inserted row.
pub(crate) const TEXT: &str = "sixty-four bytes of an event's body, as long as a short log line";

/// In the answer to any successful INSERT of one row.
const ONE_ROW: &str = "\"affected_row_count\":1";
/// Different requests of one kind; clients go round them, each from another place.
const VARIETY: u64 = 1_000;
/// Of the mixed load, one request of so many is an INSERT.
const MIXED_INSERT_EVERY: u64 = 5;
/// In every fixed answer.
const FIXED: &str = "\"item-";
const SERVED: u16 = 200;
/// Too Many Requests.
const REFUSED: u16 = 429;
/// Method Not Allowed.
const WRONG_METHOD: u16 = 405;

/// One request and the proof of its answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// What every right answer has.
    pub(crate) status: u16,
    /// Stands in the body of every right answer.
    pub(crate) expected: Vec<u8>,
}

/// Requests that clients send in turn. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Vec<Request>>);

/// Whom requests are for, and how they are proved.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `Host` of each tenant.
    pub(crate) hosts: Vec<String>,
    /// Further header lines, each with its line end.
    pub(crate) headers: String,
    /// The server gives the same answer to everything: only that is expected.
    pub(crate) answer: AnswerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// Of a database.
    Real,
    /// The fixed one: a row of `items`.
    Fixed,
}

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One row by its primary key.
    Select,
    /// One row, durable when acknowledged.
    Insert,
    /// Four SELECTs to one INSERT.
    Mixed,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Mixed => "80 % SELECT, 20 % INSERT",
        }
    }
}

impl Target {
    /// Databases of these tenants.
    pub(crate) fn real(tenants: impl IntoIterator<Item = String>) -> Self {
        Self {
            hosts: tenants
                .into_iter()
                .map(|tenant| format!("{tenant}.localhost"))
                .collect(),
            headers: String::new(),
            answer: AnswerKind::Real,
        }
    }
}

impl Requests {
    /// Of this work, spread over all tenants of `target`.
    pub(crate) fn of(work: Work, target: &Target) -> Self {
        let tenants = u64::try_from(target.hosts.len()).unwrap_or(u64::MAX).max(1);
        let count = VARIETY.max(tenants);
        let one = |number: u64| {
            let round = number / tenants;
            let inserts = match work {
                Work::Select => false,
                Work::Insert => true,
                // Moved on by one each round, so that each tenant has its share of both.
                Work::Mixed => (number + round).is_multiple_of(MIXED_INSERT_EVERY),
            };
            let tenant = usize::try_from(number % tenants).unwrap_or_default();
            let host = target.hosts.get(tenant).map(String::as_str).unwrap_or_default();
            // The multiplier is prime to the number of rows, so that neighbours in the list are far apart.
            let key = number * 7_919 % ROWS + 1;
            let (statement, expected) = if inserts { insert() } else { select(key) };
            let expected = match target.answer {
                AnswerKind::Real => expected,
                AnswerKind::Fixed => FIXED.to_owned(),
            };
            Request {
                bytes: pipeline(host, &target.headers, &statement),
                status: SERVED,
                expected: expected.into_bytes(),
            }
        };
        Self(Arc::new((0..count).map(one).collect()))
    }

    /// The same requests to a server that is to refuse them all, whatever it says.
    pub(crate) fn refused(self) -> Self {
        let refused = |request: &Request| Request {
            bytes: request.bytes.clone(),
            status: REFUSED,
            expected: Vec::new(),
        };
        Self(Arc::new(self.iter().map(refused).collect()))
    }

    /// One request without a body for each tenant, to a server that gives the fixed answer to everything.
    pub(crate) fn fixed(target: &Target) -> Self {
        let one = |host: &String| Request {
            bytes: format!("GET / HTTP/1.1\r\nhost: {host}\r\n{}\r\n", target.headers).into_bytes(),
            status: SERVED,
            expected: FIXED.as_bytes().to_vec(),
        };
        Self(Arc::new(target.hosts.iter().map(one).collect()))
    }

    /// One SELECT for each tenant, in their order.
    pub(crate) fn one_select_each(target: &Target) -> Self {
        let one = |host: &String| {
            let (statement, expected) = select(1);
            Request {
                bytes: pipeline(host, &target.headers, &statement),
                status: SERVED,
                expected: expected.into_bytes(),
            }
        };
        Self(Arc::new(target.hosts.iter().map(one).collect()))
    }

    /// The tenant's own figures, which are read without opening its database.
    pub(crate) fn usage(target: &Target) -> Self {
        let one = |host: &String| Request {
            bytes: format!("GET /v1/usage HTTP/1.1\r\nhost: {host}\r\n{}\r\n", target.headers).into_bytes(),
            status: SERVED,
            expected: b"\"database_bytes\"".to_vec(),
        };
        Self(Arc::new(target.hosts.iter().map(one).collect()))
    }

    /// One counted request for each tenant that needs no database: it has the wrong method.
    pub(crate) fn counted(target: &Target) -> Self {
        let one = |host: &String| Request {
            bytes: format!("GET /v3/pipeline HTTP/1.1\r\nhost: {host}\r\n{}\r\n", target.headers).into_bytes(),
            status: WRONG_METHOD,
            expected: Vec::new(),
        };
        Self(Arc::new(target.hosts.iter().map(one).collect()))
    }

    /// This statement alone, without arguments; `expected` stands in each right answer.
    pub(crate) fn statement(host: &str, sql: &str, expected: &str) -> Self {
        Self(Arc::new(vec![Request {
            bytes: pipeline(host, "", &execute(sql, "")),
            status: SERVED,
            expected: expected.as_bytes().to_vec(),
        }]))
    }

    /// Each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The request at this place, counted round and round.
    pub(crate) fn at(&self, place: usize) -> Option<&Request> {
        self.0.get(place % self.0.len().max(1))
    }
}

/// One request that makes the tables of the tenant at `host`.
pub(crate) fn setup(host: &str, headers: &str) -> Request {
    let statements: Vec<String> = SETUP.iter().map(|sql| execute(sql, "")).collect();
    Request {
        bytes: pipeline(host, headers, &statements.join(",")),
        status: SERVED,
        expected: format!("\"affected_row_count\":{ROWS}").into_bytes(),
    }
}

/// Asks a program for its metrics.
pub(crate) fn metrics() -> Request {
    Request {
        bytes: b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        status: SERVED,
        expected: Vec::new(),
    }
}

/// Asks libsql-server's administration for a namespace that syncs a write before it is acknowledged, as ours does.
pub(crate) fn create_namespace(name: &str) -> Request {
    let body = "{\"durability_mode\":\"strong\"}";
    let head = format!(
        "host: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Request {
        bytes: format!("POST /v1/namespaces/{name}/create HTTP/1.1\r\n{head}{body}").into_bytes(),
        status: SERVED,
        expected: Vec::new(),
    }
}

fn select(key: u64) -> (String, String) {
    let argument = format!("{{\"type\":\"integer\",\"value\":\"{key}\"}}");
    (execute(SELECT, &argument), format!("\"item-{key:08}\""))
}

fn insert() -> (String, String) {
    let argument = format!("{{\"type\":\"text\",\"value\":\"{TEXT}\"}}");
    (execute(INSERT, &argument), ONE_ROW.to_owned())
}

/// The statements hold no character that JSON escapes.
pub(crate) fn execute(sql: &str, argument: &str) -> String {
    format!("{{\"type\":\"execute\",\"stmt\":{{\"sql\":\"{sql}\",\"args\":[{argument}],\"want_rows\":true}}}}")
}

/// A complete request with these parts of a pipeline, which ends its stream.
pub(crate) fn pipeline(host: &str, headers: &str, requests: &str) -> Vec<u8> {
    let body = format!("{{\"baton\":null,\"requests\":[{requests},{{\"type\":\"close\"}}]}}");
    let head = format!(
        "POST /v2/pipeline HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(tenants: usize, answer: AnswerKind) -> Target {
        Target {
            hosts: (0..tenants).map(|tenant| format!("t{tenant}.localhost")).collect(),
            headers: String::new(),
            answer,
        }
    }

    fn text(request: &Request) -> String {
        String::from_utf8(request.bytes.clone()).unwrap()
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        for work in [Work::Select, Work::Insert] {
            let text = text(Requests::of(work, &target(1, AnswerKind::Real)).at(0).unwrap());
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            assert!(head.contains("host: t0.localhost\r\n"), "{head}");
        }
    }

    #[test]
    fn a_mixed_load_has_four_selects_to_one_insert_for_each_tenant() {
        let requests = Requests::of(Work::Mixed, &target(100, AnswerKind::Real));
        let texts: Vec<String> = (0..requests.len()).map(|at| text(requests.at(at).unwrap())).collect();
        let inserts = texts.iter().filter(|text| text.contains(INSERT)).count();
        assert_eq!(inserts * 5, texts.len());
        for tenant in 0..100 {
            let host = format!("host: t{tenant}.localhost\r\n");
            let of_tenant: Vec<&String> = texts.iter().filter(|text| text.contains(&host)).collect();
            let inserts = of_tenant.iter().filter(|text| text.contains(INSERT)).count();
            assert_eq!((of_tenant.len(), inserts), (10, 2), "{host}");
        }
    }

    #[test]
    fn a_select_expects_its_own_row_except_from_the_fixed_answer() {
        let expected = |answer| {
            let requests = Requests::of(Work::Select, &target(1, answer));
            String::from_utf8(requests.at(1).unwrap().expected.clone()).unwrap()
        };
        assert_eq!(expected(AnswerKind::Real), "\"item-00007920\"");
        assert_eq!(expected(AnswerKind::Fixed), "\"item-");
    }
}
