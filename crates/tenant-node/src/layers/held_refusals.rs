//! Holds back the refusals of another node, so that a flood through the wrong node is slowed down like one through the right one.
//!
//! The node that refuses does not hold back what was forwarded to it: a held answer would keep a place on the connections between
//! the nodes, and those are for all tenants. So it is taken in whole here, which gives the place back, and then waits.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use tenantry_layers::quota::RefusalPaces;
use tenantry_types::TenantUid;

use crate::http::body::{Body, full};
use crate::http::problem::{IntoAnswer as _, Problem};

/// Refusals are short. One that is not is no refusal of ours.
const MOST_BYTES: usize = 64 << 10;

/// Who is being refused by other nodes.
#[derive(Debug)]
pub(super) struct HeldRefusals {
    started: Instant,
    paces: RefusalPaces,
}

impl Default for HeldRefusals {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            paces: RefusalPaces::default(),
        }
    }
}

impl HeldRefusals {
    /// The answer when it is time for it. What is no 429 is passed on as it is.
    pub(super) async fn hold(&self, tenant: TenantUid, response: Response<Body>) -> Response<Body> {
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            return response;
        }
        let hold = self.paces.refuse(tenant, self.started.elapsed());
        if hold.is_zero() {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Some(whole) = read(body).await else {
            let detail = "the node that serves this tenant refused the request and broke off";
            return Problem::new(StatusCode::BAD_GATEWAY, "owner-broke-off", detail).into_answer();
        };
        tokio::time::sleep(hold).await;
        Response::from_parts(parts, full(whole))
    }
}

/// All of a body; `None` where it is too long or breaks off.
async fn read(mut body: Body) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > MOST_BYTES {
            return None;
        }
    }
    Some(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENANT: TenantUid = TenantUid::from_u128(1);

    fn answer(status: u16) -> Response<Body> {
        Response::builder()
            .status(status)
            .header("retry-after", "7")
            .body(full("words"))
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_beyond_the_first_wait_and_other_answers_do_not() {
        let held = HeldRefusals::default();
        let began = tokio::time::Instant::now();
        let flood = (0..300).map(|_| held.hold(TENANT, answer(429)));
        let answers = futures_util::future::join_all(flood).await;
        // The paces follow the real clock, which has hardly moved meanwhile.
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        for answer in answers {
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["retry-after"]),
                (429, &"7".parse().unwrap())
            );
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "words");
        }
        let began = tokio::time::Instant::now();
        for status in [200, 400, 503, 507] {
            held.hold(TENANT, answer(status)).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
