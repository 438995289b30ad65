//! From what a receiver answered to what came of the attempt. Pure: the clock's time is passed in.
//!
//! It must let no text of a receiver through as it came.

use std::time::{Duration, SystemTime};

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::excerpt::{on_one_line, shortened};
use crate::{Endpoint, Failure, Outcome};

/// The most of a body that is read for an excerpt, and the longest excerpt, in bytes.
pub(crate) const MAX_EXCERPT_BYTES: usize = 4_096;
const MAX_LOCATION_BYTES: usize = 256;
/// A receiver that asks for more gets this: the schedule is ours.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Whether the status says everything, so that no body needs to be read.
pub(crate) fn is_final(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection() || status == StatusCode::GONE
}

/// What came of an attempt that was answered. `body` is the beginning of the body, empty for what [`is_final`].
pub(crate) fn judge(
    endpoint: &Endpoint,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    took: Duration,
    now: SystemTime,
) -> Outcome {
    let excerpt = || excerpt_of(endpoint, &String::from_utf8_lossy(body), MAX_EXCERPT_BYTES);
    let code = status.as_u16();
    let reason = match code {
        200..=299 => return Outcome::Delivered { status: code, took },
        410 => return Outcome::Gone,
        300..=399 => Failure::Redirected {
            status: code,
            location: location(endpoint, headers),
        },
        429 => Failure::TooManyRequests { excerpt: excerpt() },
        400..=499 => Failure::Refused {
            status: code,
            excerpt: excerpt(),
        },
        500..=599 => Failure::ServerFailed {
            status: code,
            excerpt: excerpt(),
        },
        _ => Failure::NotHttp {
            text: format!("the status {code} answers no request of ours"),
        },
    };
    Outcome::Failed {
        reason,
        retry_after: retry_after(headers, now),
    }
}

/// What is shown of a receiver's `text`.
fn excerpt_of(endpoint: &Endpoint, text: &str, max_bytes: usize) -> String {
    // Shortened last, so that no half of a secret stays at the end.
    shortened(endpoint.redact(&on_one_line(text)), max_bytes)
}

fn location(endpoint: &Endpoint, headers: &HeaderMap) -> String {
    let Some(location) = headers.get(LOCATION) else {
        return String::new();
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let without_query = location.split(['?', '#']).next().unwrap_or_default();
    excerpt_of(endpoint, without_query, MAX_LOCATION_BYTES)
}

/// How long to wait from `now`, out of seconds or a date. Nothing for what is neither, or past.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are too long a time, too.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    Some(delay.min(MAX_RETRY_AFTER)).filter(|delay| !delay.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        "https://a.example/hook/SECRETSECRET".parse().unwrap()
    }

    fn judge_status(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Outcome {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        judge(
            &endpoint(),
            status,
            &headers,
            body,
            Duration::ZERO,
            SystemTime::UNIX_EPOCH,
        )
    }

    fn reason(outcome: Outcome) -> Failure {
        match outcome {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        for (status, kind) in [
            (101, "not-http"),
            (300, "redirected"),
            (304, "redirected"),
            (399, "redirected"),
            (400, "refused"),
            (408, "refused"),
            (429, "too-many-requests"),
            (499, "refused"),
            (500, "server-failed"),
            (503, "server-failed"),
            (599, "server-failed"),
            (600, "not-http"),
            (999, "not-http"),
        ] {
            assert_eq!(reason(judge_status(status, &[], b"")).kind(), kind, "{status}");
        }
        for status in [200, 202, 204, 299] {
            let took = Duration::ZERO;
            assert_eq!(judge_status(status, &[], b""), Outcome::Delivered { status, took });
        }
        assert_eq!(judge_status(410, &[], b""), Outcome::Gone);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_never_more_than_an_hour() {
        for (text, seconds) in [
            ("1", Some(1)),
            ("120", Some(120)),
            ("3600", Some(3_600)),
            ("3601", Some(3_600)),
            ("99999999999999999999999999", Some(3_600)),
            ("0", None),
            ("Thu, 01 Jan 1970 00:02:00 GMT", Some(120)),
            ("Thursday, 01-Jan-70 00:02:00 GMT", Some(120)),
            ("Mon, 01 Jan 2970 00:00:00 GMT", Some(3_600)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let Outcome::Failed { retry_after: read, .. } = judge_status(429, &[("retry-after", text)], b"") else {
                panic!("not failed");
            };
            assert_eq!(read, seconds.map(Duration::from_secs), "{text}");
        }
        // Before now.
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(121);
        let headers = [(RETRY_AFTER, "Thu, 01 Jan 1970 00:02:00 GMT".parse().unwrap())];
        assert_eq!(retry_after(&HeaderMap::from_iter(headers), late), None);
    }

    #[test]
    fn an_excerpt_is_one_printable_line_without_the_secrets_of_the_url() {
        for (body, expected) in [
            (&b"Cannot POST /hook/SECRETSECRET"[..], "Cannot POST /hook/…"),
            (b"a\r\n\tb\x1b[31mc\0", "a b [31mc"),
            ("\u{202e}evil\u{2069} \u{feff}x".as_bytes(), "evil x"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"", ""),
        ] {
            let excerpt = |failure| match failure {
                Failure::Refused { excerpt, .. } => excerpt,
                other => panic!("{other:?}"),
            };
            assert_eq!(excerpt(reason(judge_status(400, &[], body))), expected);
        }
        let longest = excerpt_of(&endpoint(), &"€".repeat(4_096), MAX_EXCERPT_BYTES);
        assert_eq!(longest.len(), 4_095, "cut between characters");
    }

    #[test]
    fn a_location_is_shown_without_its_query_and_short() {
        let location = |text: &str| match reason(judge_status(302, &[("location", text)], b"")) {
            Failure::Redirected { location, .. } => location,
            other => panic!("{other:?}"),
        };
        assert_eq!(location("https://b.example/x?token=hush#y"), "https://b.example/x");
        assert_eq!(location("/hook/SECRETSECRET/"), "/hook/…/");
        assert_eq!(location(&"x".repeat(1_000)).len(), MAX_LOCATION_BYTES);
        let silent = judge_status(302, &[], b"");
        assert!(matches!(reason(silent), Failure::Redirected { location, .. } if location.is_empty()));
    }
}
