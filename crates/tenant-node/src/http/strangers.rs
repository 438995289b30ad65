//! Refusals of requests that are on no tenant's account, held back where they come in floods.
//!
//! A tenant that is refused is slowed down by the quotas. Requests that name no tenant, or none that is there, or that prove nothing, are
//! nobody's, and who sends them asks again at once. All of them together are refused as fast as one tenant is, so that a flood costs the
//! tenants little. Who seldom asks so waits only while somebody else sends a flood, and for a second at most.
//!
//! Must not hold back anything else, nor look at who the client is: many may share an address.

use std::time::{Duration, Instant};

use http::Response;
use parking_lot::Mutex;
use tenantry_layers::OfAStranger;
use tenantry_layers::quota::RefusalPace;

use crate::layers::Ingress;

/// The refusals of one listener.
#[derive(Debug)]
pub(super) struct Strangers {
    /// `None` where they are passed on to a node that holds them back itself.
    pace: Option<Mutex<RefusalPace>>,
    started: Instant,
}

impl Strangers {
    pub(super) fn new(ingress: Ingress) -> Self {
        Self {
            pace: match ingress {
                Ingress::Public => Some(Mutex::default()),
                Ingress::Peer => None,
            },
            started: Instant::now(),
        }
    }

    /// For how long an answer is to be held back.
    pub(super) fn hold<B>(&self, answer: &Response<B>) -> Duration {
        let is_refusal = answer.status().is_client_error() && answer.extensions().get::<OfAStranger>().is_some();
        match &self.pace {
            Some(pace) if is_refusal => pace.lock().refuse(self.started.elapsed()),
            Some(_) | None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tenantry_layers::Problem;

    use super::*;

    #[test]
    fn a_flood_of_strangers_is_held_back_and_tenants_are_not() {
        let refusal = || Problem::new(StatusCode::NOT_FOUND, "tenant-unknown", "words");
        let (strangers, tenants) = (refusal().of_a_stranger().into_response(), refusal().into_response());
        let public = Strangers::new(Ingress::Public);
        for _ in 0..1_000 {
            assert_eq!(public.hold(&tenants), Duration::ZERO);
        }
        assert_eq!(
            public.hold(&strangers),
            Duration::ZERO,
            "the first ones wait for nothing"
        );
        let longest = (0..5_000).map(|_| public.hold(&strangers)).max();
        assert_eq!(longest, Some(Duration::from_secs(1)));
        assert_eq!(public.hold(&tenants), Duration::ZERO);
        let peer = Strangers::new(Ingress::Peer);
        assert!((0..5_000).all(|_| peer.hold(&strangers).is_zero()));
    }
}
