//! Refusals as answers of this node: every 4xx and 5xx of the tenant's HTTP surface is a [`Problem`].

use http::Response;
use http_body_util::BodyExt as _;
pub(super) use tenantry_layers::PROBLEM_TYPE;
pub use tenantry_layers::Problem;

use super::body::Body;

/// Makes answers of this node's stack.
pub trait IntoAnswer {
    /// The answer in the stack's body type.
    fn into_answer(self) -> Response<Body>;
}

impl IntoAnswer for Problem {
    fn into_answer(self) -> Response<Body> {
        self.into_response()
            .map(|body| body.map_err(|never| match never {}).boxed_unsync())
    }
}
