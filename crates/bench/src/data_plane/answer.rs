//! The least of HTTP/1.1 that a closed loop over one connection needs: where an answer ends, and whether it is what was
//! asked for. Pure.

use std::ops::Range;

/// How far an answer has come in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// More bytes are needed.
    Partial,
    /// All of it: its status, and where its body lies. A body in chunks keeps the lengths between its parts.
    Complete { status: u16, body: Range<usize> },
    /// This is no answer that the loop understands.
    Malformed,
}

/// Reads what has come in so far, from the first byte of the answer on.
pub(crate) fn read(bytes: &[u8]) -> Arrival {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else {
        return Arrival::Partial;
    };
    let begin = head_end + 4;
    let (Some(head), Some(rest)) = (bytes.get(..head_end), bytes.get(begin..)) else {
        return Arrival::Malformed;
    };
    let Ok(head) = std::str::from_utf8(head) else {
        return Arrival::Malformed;
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let Some(status) = status
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
    else {
        return Arrival::Malformed;
    };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Arrival::Malformed;
        };
        if name.eq_ignore_ascii_case("content-length") {
            let Ok(length) = value.trim().parse::<usize>() else {
                return Arrival::Malformed;
            };
            return match rest.len().cmp(&length) {
                std::cmp::Ordering::Less => Arrival::Partial,
                std::cmp::Ordering::Equal => Arrival::Complete {
                    status,
                    body: begin..begin + length,
                },
                std::cmp::Ordering::Greater => Arrival::Malformed,
            };
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return match chunks_end(rest) {
                Ok(None) => Arrival::Partial,
                Ok(Some(length)) => Arrival::Complete {
                    status,
                    body: begin..begin + length,
                },
                Err(Unreadable) => Arrival::Malformed,
            };
        }
    }
    Arrival::Malformed
}

/// A body that is not in chunks although its head says so.
struct Unreadable;

/// Where the chunks end, without trailers; `None` while more is to come.
fn chunks_end(body: &[u8]) -> Result<Option<usize>, Unreadable> {
    let mut at = 0;
    loop {
        let rest = body.get(at..).ok_or(Unreadable)?;
        let Some(line) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = rest.get(..line).and_then(|digits| std::str::from_utf8(digits).ok());
        let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let end = at + line + 2 + size.ok_or(Unreadable)? + 2;
        match body.get(end - 2..end) {
            None => return Ok(None),
            Some(b"\r\n") if size == Some(0) => return Ok(Some(end)),
            Some(b"\r\n") => at = end,
            Some(_) => return Err(Unreadable),
        }
    }
}

/// Where `needle` begins; an empty one is everywhere.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of each beginning, the last one being the whole.
    fn arrivals(text: &str) -> (Vec<Arrival>, Arrival) {
        let bytes = text.as_bytes();
        let partial = (0..bytes.len()).map(|end| read(&bytes[..end])).collect();
        (partial, read(bytes))
    }

    #[test]
    fn an_answer_is_complete_at_its_last_byte_and_not_before() {
        for (text, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello", "hello"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
                "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
            ),
        ] {
            let (partial, whole) = arrivals(text);
            assert!(partial.iter().all(|arrival| *arrival == Arrival::Partial), "{text}");
            let Arrival::Complete {
                status: 200,
                body: range,
            } = whole
            else {
                panic!("{whole:?}");
            };
            assert_eq!(&text[range], body);
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ntoo much",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert_eq!(read(text.as_bytes()), Arrival::Malformed, "{text}");
        }
    }
}
