//! How long a call may take, as its caller said in `grpc-timeout`.
//!
//! Read once, where the call arrives, and carried with it: a call that waited for a leader has less left when it is passed
//! on.

use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue};
use tokio::time::Instant;

const HEADER: &str = "grpc-timeout";

/// For calls whose caller says nothing, and the most that any caller gets for one step.
const LONGEST: Duration = Duration::from_secs(10);

/// Who waits for something on behalf of a caller that named a deadline answers this long before it, or at half time: that
/// nothing was done is of no use to a caller that has given up. More than the time by which our own clients extend it.
const MARGIN: Duration = Duration::from_millis(750);

/// When a call must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    at: Instant,
    /// Whether the caller named it.
    named: bool,
    margin: Duration,
}

impl Deadline {
    /// The deadline of a call that arrives now. Text that is no timeout counts as none.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        let named = headers.get(HEADER).and_then(|value| parse(value.to_str().ok()?));
        named.map_or_else(Self::unnamed, |left| Self {
            at: Instant::now() + left,
            named: true,
            margin: MARGIN.min(left / 2),
        })
    }

    fn unnamed() -> Self {
        Self {
            at: Instant::now() + LONGEST,
            named: false,
            margin: Duration::ZERO,
        }
    }

    /// The deadline that came with a request. One that came another way than through the gRPC server starts now.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().copied().unwrap_or_else(Self::unnamed)
    }

    /// Sends it along with the request.
    pub(super) fn attach(self, extensions: &mut Extensions) {
        extensions.insert(self);
    }

    /// What is left, as a header; `None` when the caller named no deadline.
    fn header(self) -> Option<HeaderValue> {
        let left = self.at.saturating_duration_since(Instant::now());
        // At most 8 digits: 27 hours in milliseconds.
        let millis = left.as_millis().min(99_999_999);
        self.named
            .then(|| HeaderValue::from_str(&format!("{millis}m")).ok())
            .flatten()
    }

    /// The end of a wait of at most `longest`, early enough for an answer.
    pub(super) fn within(self, longest: Duration) -> Instant {
        let now = Instant::now();
        let end = self.at.checked_sub(self.margin).unwrap_or(now);
        end.min(now + longest).max(now)
    }

    /// The end of what is not given up while anybody waits for it.
    pub(super) fn at(self) -> Instant {
        self.at.min(Instant::now() + LONGEST)
    }

    /// Puts what is left in the place of what the caller said.
    pub(super) fn rewrite(self, headers: &mut HeaderMap) {
        if let Some(left) = self.header() {
            headers.insert(HEADER, left);
        }
    }
}

/// One to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let cases = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("5n", Some(Duration::from_nanos(5))),
            ("999999999u", None),
            ("-1S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1ä", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_step_ends_before_the_caller_gives_up() {
        let now = Instant::now();
        let in_5_s = Deadline {
            at: now + Duration::from_secs(5),
            named: true,
            margin: MARGIN,
        };
        assert_eq!(in_5_s.within(Duration::from_secs(60)), in_5_s.at - MARGIN);
        assert!(in_5_s.within(Duration::from_secs(1)) < in_5_s.at - MARGIN);
        assert_eq!(in_5_s.at(), in_5_s.at);
        let nearly_over = Deadline { at: now, ..in_5_s };
        assert!(nearly_over.within(MARGIN) >= now, "never in the past");
    }

    #[test]
    fn what_is_passed_on_is_what_is_left() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static("1H"));
        let deadline = Deadline::of_headers(&headers);
        let earlier = Deadline {
            at: deadline.at - Duration::from_secs(60),
            ..deadline
        };
        earlier.rewrite(&mut headers);
        let left = parse(headers[HEADER].to_str().unwrap()).unwrap();
        assert!(left <= Duration::from_secs(3_540), "{left:?}");
        assert!(left > Duration::from_secs(1_800), "{left:?}");
        let mut unnamed = HeaderMap::new();
        Deadline::of_headers(&unnamed).rewrite(&mut unnamed);
        assert!(unnamed.is_empty(), "nobody asked for a limit");
    }
}
