//! Refusals in the form that clients of the database protocol read.
//!
//! Their SDKs show a refusal's `message` and `code` only where it calls itself plain JSON. So it does on the protocol's paths,
//! unless the client says that it knows problem details. Must not change anything but that one header, and costs an answer
//! that is no refusal a comparison.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::body::Body;
use super::problem::PROBLEM_TYPE;

const PLAIN_TYPE: &str = "application/json";

/// Adds [`Refusals`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusalsLayer;

impl<S> Layer<S> for RefusalsLayer {
    type Service = Refusals<S>;

    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals { inner }
    }
}

/// Names refusals so that their clients read them.
#[derive(Debug, Clone)]
pub(super) struct Refusals<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Refusals<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RefusalsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let form = if is_of_protocol(request.uri().path()) && !knows_problems(request.headers()) {
            Form::Plain
        } else {
            Form::Problem
        };
        RefusalsFuture {
            answering: self.inner.call(request),
            form,
        }
    }
}

/// What a refusal calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Problem,
}

pin_project! {
    /// The answer to one request.
    pub(super) struct RefusalsFuture<F> {
        #[pin]
        answering: F,
        form: Form,
    }
}

impl<F> Future for RefusalsFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.answering.poll(context));
        let status = response.status();
        let is_refusal = status.is_client_error() || status.is_server_error();
        if is_refusal
            && *this.form == Form::Plain
            && let Some(content_type) = response.headers_mut().get_mut(CONTENT_TYPE)
            && *content_type == PROBLEM_TYPE
        {
            *content_type = HeaderValue::from_static(PLAIN_TYPE);
        }
        Poll::Ready(Ok(response))
    }
}

/// Whether SDKs send requests to this path, or to one like it.
fn is_of_protocol(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|path| path.split('/').next());
    matches!(first, Some("v2" | "v3" | "v3-protobuf")) || matches!(path, "/v1/execute" | "/v1/batch")
}

fn knows_problems(headers: &HeaderMap) -> bool {
    let names_it = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|range| {
            let media_type = range.split(|byte| *byte == b';').next().unwrap_or_default();
            media_type.trim_ascii().eq_ignore_ascii_case(PROBLEM_TYPE.as_bytes())
        })
    };
    headers.get_all(ACCEPT).iter().any(names_it)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::http::body::empty;
    use crate::http::problem::{IntoAnswer as _, Problem};

    async fn content_type(path: &str, accept: Option<&'static str>, status: StatusCode) -> String {
        let inner = service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Problem::new(status, "kind", "words").into_answer())
        });
        let mut request = Request::post(path).body(empty()).unwrap();
        if let Some(accept) = accept {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let response = RefusalsLayer.layer(inner).oneshot(request).await.unwrap();
        response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_refusal_is_plain_json_for_sdks_and_a_problem_for_those_who_know_what_that_is() {
        let refused = StatusCode::TOO_MANY_REQUESTS;
        for path in [
            "/v1/execute",
            "/v1/batch",
            "/v2",
            "/v2/pipeline",
            "/v3/",
            "/v3/cursor?x=1",
            "/v3-protobuf/pipeline",
            "/v3/unknown",
        ] {
            for accept in [None, Some("*/*"), Some("application/json, text/plain;q=0.5"), Some("")] {
                assert_eq!(
                    content_type(path, accept, refused).await,
                    PLAIN_TYPE,
                    "{path} {accept:?}"
                );
            }
            for accept in [
                PROBLEM_TYPE,
                "application/json, Application/Problem+JSON;q=0.9",
                "*/*,application/problem+json",
            ] {
                assert_eq!(
                    content_type(path, Some(accept), refused).await,
                    PROBLEM_TYPE,
                    "{path} {accept}"
                );
            }
        }
        for path in ["/v1/usage", "/", "/v1", "/v20/pipeline", "/v1/execute/x"] {
            assert_eq!(content_type(path, None, refused).await, PROBLEM_TYPE, "{path}");
        }
        assert_eq!(content_type("/v2", None, StatusCode::OK).await, PROBLEM_TYPE);
    }
}
