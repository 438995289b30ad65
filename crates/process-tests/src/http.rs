//! A small HTTP/1.1 client: one request over a connection of its own, so that a test sees exactly what was sent.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The problem details of a refusal.
    ///
    /// # Panics
    /// When this is none, or its type, status or detail is missing.
    #[must_use]
    pub fn problem(&self) -> Value {
        let content_type = self.header("content-type");
        // Plain on the paths of the database protocol, whose clients read nothing else.
        assert!(
            matches!(content_type, Some("application/problem+json" | "application/json")),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["type"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem
    }
}

/// # Errors
/// When there is no connection, no answer, or none that is HTTP.
pub fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    get_with(address, &[("host", host)], path)
}

/// # Errors
/// As [`get`].
pub fn get_with(address: SocketAddr, headers: &[(&str, &str)], path: &str) -> io::Result<Answer> {
    let mut request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    send_raw(address, request.as_bytes())
}

/// # Errors
/// As [`get`].
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\ncontent-length: {}\r\nconnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    send_raw(address, request.as_bytes())
}

/// Sends bytes as they are and reads one answer. The request should ask for `connection: close`.
///
/// # Errors
/// As [`get`].
pub fn send_raw(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(SILENCE_TIMEOUT))?;
    stream.set_write_timeout(Some(SILENCE_TIMEOUT))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
    match parse(&bytes) {
        Some(answer) => Ok(answer),
        None => Err(read
            .err()
            .unwrap_or_else(|| io::Error::other("the answer is not whole HTTP"))),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let rest = bytes.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let of = |name: &str| {
        headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    };
    let body = if of("transfer-encoding") == Some("chunked") {
        unchunk(rest)?
    } else if let Some(length) = of("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Answer { status, headers, body })
}

/// `None` when the last chunk is missing.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_length_by_chunks_or_to_the_end_and_never_by_half() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Some((200, "hi"))),
            (
                "HTTP/1.1 429 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
                Some((429, "hi!")),
            ),
            ("HTTP/1.0 404 X\r\n\r\nrest", Some((404, "rest"))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", None),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let answer = parse(text.as_bytes());
            let found = answer.as_ref().map(|answer| (answer.status, answer.body.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
