//! `PlacementService.Watch`, taken out of the generated service: its messages are encoded once for all watchers, and the
//! generated code would encode them for each.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use prost::Message as _;
use tenantry_proto::v1::PlacementServiceWatchRequest;
use tenantry_types::{ClusterEpoch, Revision};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tower::Service;

use super::status;
use crate::machine::PublishedState;
use crate::watch::{Outbox, RoutingCursor, WatchTiming, outgoing, routing_stream};

const PATH: &str = "/tenantry.v1.PlacementService/Watch";

/// Opens watches of the routing table.
#[derive(Debug, Clone)]
pub struct RoutingWatch {
    published: PublishedState,
    timing: WatchTiming,
    stop: CancellationToken,
}

impl RoutingWatch {
    /// Watches of what is published; they end at `stop`.
    #[must_use]
    pub const fn new(published: PublishedState, timing: WatchTiming, stop: CancellationToken) -> Self {
        Self {
            published,
            timing,
            stop,
        }
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// When the request names no cluster but means to.
    pub fn open(&self, request: &PlacementServiceWatchRequest) -> Result<Outbox, Status> {
        let cluster = match request.cluster_uid.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|error| status::invalid_field("cluster_uid", format!("{error}")))?,
            ),
        };
        let cursor = RoutingCursor {
            revision: Revision(request.after_revision),
            cluster,
            epoch: ClusterEpoch(request.cluster_epoch),
            digest: request.digest,
        };
        let (out, outbox) = outgoing(self.timing.patience);
        let (published, timing, stop) = (self.published.clone(), self.timing, self.stop.clone());
        // Owned by the stream: it ends when the watcher leaves or this member stops.
        tokio::spawn(async move {
            let watchers = metrics::gauge!("tenantry_control_watchers");
            watchers.increment(1.0);
            stop.run_until_cancelled(routing_stream(published, cursor, timing, out))
                .await;
            watchers.decrement(1.0);
        });
        Ok(outbox)
    }
}

/// Answers the watch itself and leaves all other calls to `S`, the generated service.
#[derive(Debug, Clone)]
pub struct RoutingWatchService<S> {
    watch: RoutingWatch,
    inner: S,
}

impl<S> RoutingWatchService<S> {
    /// In front of `inner`.
    #[must_use]
    pub const fn new(watch: RoutingWatch, inner: S) -> Self {
        Self { watch, inner }
    }
}

impl<S: NamedService> NamedService for RoutingWatchService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for RoutingWatchService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Box::pin(self.inner.call(request));
        }
        let watch = Watch(self.watch.clone());
        Box::pin(async move { Ok(Grpc::new(EncodedMessages).server_streaming(watch, request).await) })
    }
}

struct Watch(RoutingWatch);

impl ServerStreamingService<PlacementServiceWatchRequest> for Watch {
    type Response = Bytes;
    type ResponseStream = Outbox;
    type Future = Ready<Result<Response<Outbox>, Status>>;

    fn call(&mut self, request: Request<PlacementServiceWatchRequest>) -> Self::Future {
        ready(self.0.open(request.get_ref()).map(Response::new))
    }
}

/// Reads requests, and passes on answers that are encoded already.
struct EncodedMessages;

impl Codec for EncodedMessages {
    type Encode = Bytes;
    type Decode = PlacementServiceWatchRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for EncodedMessages {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for EncodedMessages {
    type Item = PlacementServiceWatchRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<PlacementServiceWatchRequest>, Status> {
        PlacementServiceWatchRequest::decode(from)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
