//! Refusals as RFC 9457 problem details.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

/// Where the stable `type` URIs of problems live; each is documented in `docs/problems.md`.
const TYPE_PREFIX: &str = "https://tenantry.dev/problems/";

/// The media type of problems.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// In the extensions of a refusal of a request that is on no tenant's account: its tenant was not named, is not there, or did not prove
/// itself. Whoever has to slow down a flood of these finds them by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfAStranger;

/// A refusal: what the client reads. What the log keeps is a different text.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    /// The stable name of the kind, the end of its `type` URI, such as `quota-exceeded`.
    kind: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    stranger: Option<OfAStranger>,
}

impl Problem {
    /// A refusal of the given kind. `detail` says in a sentence what is wrong and, where possible, what to do.
    #[must_use]
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
            stranger: None,
        }
    }

    /// Adds an extension member, such as the field that was wrong or the limit that was passed.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says when a retry can succeed, in whole seconds from now.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The request is on no tenant's account: its answer says so by [`OfAStranger`].
    #[must_use]
    pub const fn of_a_stranger(mut self) -> Self {
        self.stranger = Some(OfAStranger);
        self
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name of the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The answer. `message` and `code` repeat detail and kind where libSQL SDKs look for them.
    #[must_use]
    pub fn into_response(self) -> Response<Full<Bytes>> {
        self.into_response_after(Vec::new())
            .map(|document| Full::new(Bytes::from(document)))
    }

    /// The same after members that are written already, since they are too long to be made values of: `beginning` is a JSON object
    /// of at least one member, without its `}`, or empty.
    #[must_use]
    pub fn into_response_after(self, beginning: Vec<u8>) -> Response<Vec<u8>> {
        let mut object = self.members;
        object.insert("type".into(), json!(format!("{TYPE_PREFIX}{}", self.kind)));
        object.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("Error")));
        object.insert("status".into(), json!(self.status.as_u16()));
        object.insert("detail".into(), json!(self.detail));
        object.insert("message".into(), json!(self.detail));
        object.insert("code".into(), json!(self.kind.replace('-', "_").to_ascii_uppercase()));
        let own = Value::Object(object).to_string();
        let mut document = beginning;
        if document.is_empty() {
            document = own.into_bytes();
        } else {
            document.push(b',');
            document.extend_from_slice(own.strip_prefix('{').unwrap_or(&own).as_bytes());
        }
        let mut response = Response::new(document);
        *response.status_mut() = self.status;
        if let Some(stranger) = self.stranger {
            response.extensions_mut().insert(stranger);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_carries_its_type_status_and_members() {
        let response = Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "daily quota used up")
            .with("limit", 20)
            .retry_after(60)
            .into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "60");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["type"], "https://tenantry.dev/problems/quota-exceeded");
        assert_eq!(value["limit"], 20);
        assert_eq!(value["code"], "QUOTA_EXCEEDED");
    }

    #[test]
    fn a_problem_goes_on_where_others_began_its_document() {
        let problem =
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage-quota-exceeded", "full").with("limit", 20);
        let response = problem.into_response_after(b"{\"results\":[1,{\"a\":2}]".to_vec());
        assert_eq!(response.status(), 507);
        let value: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(value["results"], json!([1, {"a": 2}]));
        assert_eq!((&value["limit"], &value["status"]), (&json!(20), &json!(507)));
    }
}
