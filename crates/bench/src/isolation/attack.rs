//! One way of being a bad neighbour: what is sent, and how. Pure.

use std::sync::Arc;

use crate::data_plane::requests::{execute, pipeline};

/// What hostile connections do with their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// One request after the other, each answer read to its end.
    Ask,
    /// The same, each on a new connection.
    Reconnect,
    /// An answer is read so slowly that it does not end.
    ReadSlowly,
    /// The request's last byte is never sent.
    Withhold,
    /// No requests: as many threads as there are cores calculate beside the node, with the lowest priority. What a machine without a core to spare costs
    /// its tenants, whatever the node does.
    KeepCoresBusy,
}

/// An attack: so many connections that do the same.
#[derive(Debug, Clone)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    pub(super) manner: Manner,
    /// Complete HTTP/1.1 requests that each connection sends in turn.
    pub(super) requests: Arc<Vec<Vec<u8>>>,
}

impl Attack {
    pub(super) fn new(name: &'static str, connections: usize, requests: Vec<Vec<u8>>) -> Self {
        Self {
            name,
            connections,
            manner: Manner::Ask,
            requests: Arc::new(requests),
        }
    }

    pub(super) fn in_manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// A tenant's name made of the attack's.
    pub(super) fn tenant(name: &str) -> String {
        let letters = name.chars().filter_map(|letter| match letter {
            'a'..='z' | '0'..='9' => Some(letter),
            'A'..='Z' => Some(letter.to_ascii_lowercase()),
            ' ' => Some('-'),
            _ => None,
        });
        let name: String = letters.take(40).collect();
        format!("x-{}", name.trim_matches('-'))
    }
}

/// A pipeline of these statements on a stream that ends with it. The texts hold nothing that JSON escapes.
pub(super) fn statements(host: &str, sqls: &[&str]) -> Vec<u8> {
    let requests: Vec<String> = sqls.iter().map(|sql| execute(sql, "")).collect();
    pipeline(host, "", &requests.join(","))
}

/// A pipeline whose stream stays open.
pub(super) fn open_stream(host: &str, sqls: &[&str]) -> Vec<u8> {
    let requests: Vec<String> = sqls.iter().map(|sql| execute(sql, "")).collect();
    post(
        host,
        "/v3/pipeline",
        &format!("{{\"baton\":null,\"requests\":[{}]}}", requests.join(",")),
    )
}

/// A cursor over one statement.
pub(super) fn cursor(host: &str, sql: &str) -> Vec<u8> {
    let body = format!("{{\"baton\":null,\"batch\":{{\"steps\":[{{\"stmt\":{{\"sql\":\"{sql}\"}}}}]}}}}");
    post(host, "/v3/cursor", &body)
}

/// A request with this body, whatever it is.
pub(super) fn post(host: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_name_is_a_dns_label() {
        for (name, tenant) in [
            ("cross join of a million rows", "x-cross-join-of-a-million-rows"),
            ("randomblob(1e9)", "x-randomblob1e9"),
            (
                "32,767 parameters, and many further words that do not fit",
                "x-32767-parameters-and-many-further-words",
            ),
        ] {
            assert_eq!(Attack::tenant(name), tenant);
        }
    }
}
