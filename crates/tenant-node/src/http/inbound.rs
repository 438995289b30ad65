//! One connection's way into the stack: what is the connection's business, so that no layer has to think of it.
//!
//! Must not know tenants. What it adds is HTTP's: no tunnels, no bodies in answers to HEAD, bodies that are read to their end
//! also where nobody wants them, and, while a stop is announced, the wish that the client goes elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tower::Service;

use super::body::{Body, empty};
use super::draining::{Begin, Draining};
use super::lanes::Passenger;
use super::owned_tasks::OwnedTasks;
use super::problem::{IntoAnswer as _, Problem};
use super::strangers::Strangers;
use crate::layers::Ingress;

/// Said once, heard by every connection: the process is about to stop. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopNotice(Arc<AtomicBool>);

impl StopNotice {
    /// From now on answers over HTTP/1.1 say `Connection: close`.
    pub fn give(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_given(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Known from a connection's first request on.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstRequest(Arc<Arrival>);

#[derive(Debug, Default)]
struct Arrival {
    has_come: AtomicBool,
    coming: Notify,
}

impl FirstRequest {
    pub(super) fn has_come(&self) -> bool {
        self.0.has_come.load(Ordering::Acquire)
    }

    /// Completes when it comes. For one who waits.
    pub(super) async fn comes(&self) {
        while !self.has_come() {
            self.0.coming.notified().await;
        }
    }

    fn note(&self) {
        if !self.has_come() {
            self.0.has_come.store(true, Ordering::Release);
            self.0.coming.notify_one();
        }
    }
}

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) notice: StopNotice,
    pub(super) strangers: Strangers,
}

/// Hands a connection's requests to the stack.
#[derive(Debug)]
pub(super) struct Inbound<S> {
    /// Locked for the moment of a call: cheaper than a clone of all layers for each request.
    pub(super) stack: Mutex<S>,
    pub(super) ingress: Ingress,
    pub(super) listening: Arc<Listening>,
    pub(super) first: FirstRequest,
    /// Whose requests they are. `None` where that makes no difference.
    pub(super) passenger: Option<Passenger>,
    /// Where bodies are read that nobody wants.
    pub(super) tasks: Arc<OwnedTasks>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Inbound<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = InboundFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.first.note();
        let (version, is_head) = (request.version(), request.method() == Method::HEAD);
        let serving = if request.method() == Method::CONNECT {
            Serving::Refused
        } else {
            let begin = match request.headers().contains_key(EXPECT) {
                true => Begin::WhenAsked,
                false => Begin::AtOnce,
            };
            let mut request = request.map(|body| Draining::new(body, &self.tasks, begin).boxed_unsync());
            if self.ingress != Ingress::default() {
                request.extensions_mut().insert(self.ingress);
            }
            if let Some(passenger) = &self.passenger {
                passenger.begin_request();
                request.extensions_mut().insert(passenger.clone());
            }
            // The layers of the stack are always ready.
            Serving::Stack {
                future: self.stack.lock().call(request),
            }
        };
        // Over HTTP/2 each answer has a task, which is in its lane already.
        let moves = self.ingress == Ingress::Public && version != Version::HTTP_2;
        InboundFuture {
            serving,
            moving: self.passenger.clone().filter(|_| moves),
            version,
            is_head,
            listening: Arc::clone(&self.listening),
        }
    }
}

pin_project! {
    #[project = ServingProjection]
    enum Serving<F> {
        Stack { #[pin] future: F },
        Held { answer: Pin<Box<dyn Future<Output = Response<Body>> + Send>> },
        Refused,
    }
}

pin_project! {
    /// The answer to one request.
    pub(super) struct InboundFuture<F> {
        #[pin]
        serving: Serving<F>,
        // Until the connection is in the lane of the request's tenant, or was asked to go there.
        moving: Option<Passenger>,
        version: Version,
        is_head: bool,
        listening: Arc<Listening>,
    }
}

impl<F> Future for InboundFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Before anything is done for the request: what waits for databases is counted by lane.
        if let Some(passenger) = this.moving.take()
            && !passenger.is_at_home()
        {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut response = match this.serving.as_mut().project() {
            ServingProjection::Stack { future } => {
                let Ok(response) = ready!(future.poll(context));
                let hold = this.listening.strangers.hold(&response);
                if hold.is_zero() {
                    response
                } else {
                    let mut answer: Pin<Box<dyn Future<Output = Response<Body>> + Send>> = Box::pin(async move {
                        tokio::time::sleep(hold).await;
                        response
                    });
                    // Asked once, so that it wakes this task.
                    match answer.as_mut().poll(context) {
                        Poll::Ready(response) => response,
                        Poll::Pending => {
                            this.serving.set(Serving::Held { answer });
                            return Poll::Pending;
                        }
                    }
                }
            }
            ServingProjection::Held { answer } => ready!(answer.as_mut().poll(context)),
            ServingProjection::Refused => no_tunnel(),
        };
        let is_http2 = *this.version == Version::HTTP_2;
        // Over HTTP/1.1 hyper sees to it.
        if *this.is_head && is_http2 {
            response = without_body(response);
        }
        // Over HTTP/2 the connection itself says good-bye when it closes.
        if this.listening.notice.is_given() && !is_http2 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

/// Keeps the length that the body would have had.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(parts, empty())
}

fn no_tunnel() -> Response<Body> {
    let detail = "this is no proxy: CONNECT is not served";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        .with_header(ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"))
        .into_answer()
}
