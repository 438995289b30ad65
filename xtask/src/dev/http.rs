//! One HTTP/1.1 request over a connection of its own: enough for probes and the demo, without an async runtime.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An answer beyond this many bytes is an error.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// A status and a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// # Errors
/// When there is no connection, no answer within ten seconds of silence, or none that is HTTP.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
    )
}

/// Sends JSON to the virtual host `host`.
///
/// # Errors
/// As [`get`].
pub(crate) fn post_json(address: SocketAddr, host: &str, path: &str, json: &str) -> io::Result<Answer> {
    let length = json.len();
    exchange(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{json}"
        ),
    )
}

fn exchange(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    read_answer(BufReader::new(stream.take(MAX_ANSWER_BYTES)))
}

enum BodyLength {
    Bytes(u64),
    Chunked,
    UntilClose,
}

fn read_answer(mut reader: impl BufRead) -> io::Result<Answer> {
    let status_line = read_line(&mut reader)?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_ascii_whitespace().nth(1)?.parse().ok())
        .ok_or_else(|| invalid(format!("not an HTTP answer: `{status_line}`")))?;
    let mut length = BodyLength::UntilClose;
    loop {
        let line = read_line(&mut reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(format!("not a header: `{line}`")))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let bytes = value.parse().map_err(|_| invalid(format!("not a length: `{value}`")))?;
            length = BodyLength::Bytes(bytes);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            length = BodyLength::Chunked;
        }
    }
    let mut body = Vec::new();
    match length {
        BodyLength::UntilClose => {
            reader.read_to_end(&mut body)?;
        }
        BodyLength::Bytes(expected) => read_exactly(&mut reader, expected, &mut body)?,
        BodyLength::Chunked => loop {
            let line = read_line(&mut reader)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| invalid(format!("not a chunk size: `{line}`")))?;
            if size == 0 {
                break;
            }
            read_exactly(&mut reader, size, &mut body)?;
            read_line(&mut reader)?;
        },
    }
    let body = String::from_utf8(body).map_err(|_| invalid("the body is not UTF-8".to_owned()))?;
    Ok(Answer { status, body })
}

fn read_exactly(reader: &mut impl BufRead, bytes: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = reader.by_ref().take(bytes).read_to_end(body)?;
    if read as u64 == bytes {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn bodies_of_all_framings_are_read() {
        for (answer, body) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and what follows is not ours",
                "hello",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nuntil close", "until close"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                "hello",
            ),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", ""),
        ] {
            let expected = Answer {
                status: 200,
                body: body.to_owned(),
            };
            assert_eq!(read_answer(answer.as_bytes()).unwrap(), expected, "{answer}");
        }
    }

    #[test]
    fn what_is_cut_or_not_http_is_an_error() {
        for answer in [
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert!(read_answer(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_post_names_the_virtual_host_and_carries_its_body() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                let mut buffer = [0; 512];
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
            String::from_utf8(request).unwrap()
        });
        let answer = post_json(address, "demo.localhost:8401", "/v2/pipeline", "{\"a\":1}").unwrap();
        assert_eq!(
            answer,
            Answer {
                status: 404,
                body: "{}".to_owned()
            }
        );
        let request = server.join().unwrap();
        assert!(
            request.starts_with("POST /v2/pipeline HTTP/1.1\r\nhost: demo.localhost:8401\r\n"),
            "{request}"
        );
        assert!(request.contains("content-length: 7\r\n"), "{request}");
        assert!(get(address, "/").is_err(), "nobody listens any more");
    }
}
