//! A client that keeps its HTTP/1.1 connection, and says exactly how far a failed request got.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status code.
    pub status: u16,
    /// Whether it says when to try again.
    pub retry_after: bool,
    /// The body as text.
    pub body: String,
}

/// How a request failed.
#[derive(Debug)]
pub enum KeptError {
    /// There is no connection: nothing was sent.
    NotConnected(io::Error),
    /// The connection ended before a byte of the answer.
    Unanswered(io::Error),
    /// The answer is not whole.
    CutOff(io::Error),
}

/// A client of one address with at most one connection.
#[derive(Debug)]
pub struct KeptConnection {
    address: SocketAddr,
    host: String,
    /// Whole header lines that every request carries besides.
    headers: String,
    connection: Option<BufReader<TcpStream>>,
}

impl KeptConnection {
    /// Not connected yet. `host` names the tenant.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            headers: String::new(),
            connection: None,
        }
    }

    /// The same, with a token of the tenant in every request.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self {
            headers: format!("authorization: Bearer {token}\r\n"),
            ..self
        }
    }

    /// Posts to `/v3/pipeline`, on the connection that is there or a new one.
    ///
    /// # Errors
    /// Says how far the request got; the next one connects anew.
    pub fn post(&mut self, body: &str) -> Result<KeptAnswer, KeptError> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect().map_err(KeptError::NotConnected)?,
        };
        let request = format!(
            "POST /v3/pipeline HTTP/1.1\r\nhost: {}\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            self.headers,
            body.len()
        );
        let sent = connection.get_mut().write_all(request.as_bytes());
        sent.map_err(KeptError::Unanswered)?;
        let begun = match connection.fill_buf() {
            Ok([]) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        begun.map_err(KeptError::Unanswered)?;
        let (answer, keep) = read_answer(&mut connection).map_err(KeptError::CutOff)?;
        self.connection = keep.then_some(connection);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_TIMEOUT))?;
        stream.set_write_timeout(Some(SILENCE_TIMEOUT))?;
        Ok(BufReader::new(stream))
    }
}

/// The answer, and whether the connection may be used again.
fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<(KeptAnswer, bool)> {
    let line = |connection: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        match connection.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let status = line(connection)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    let (mut length, mut chunked, mut keep, mut retry_after) = (0, false, true, false);
    loop {
        let header = line(connection)?.to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", "chunked")) => chunked = true,
            Some(("connection", "close")) => keep = false,
            Some(("retry-after", _)) => retry_after = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = usize::from_str_radix(&line(connection)?, 16).map_err(io::Error::other)?;
            read_exactly(connection, size, &mut body)?;
            line(connection)?;
            if size == 0 {
                break;
            }
        }
    } else {
        read_exactly(connection, length, &mut body)?;
    }
    let answer = KeptAnswer {
        status,
        retry_after,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    Ok((answer, keep))
}

fn read_exactly(connection: &mut BufReader<TcpStream>, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let wanted = into.len() + size;
    connection.by_ref().take(size as u64).read_to_end(into)?;
    if into.len() == wanted {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
