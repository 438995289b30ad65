//! The bodies of requests that were answered before they had arrived: what is still on its way is read and thrown away.
//!
//! Without that, the connection would be closed while the client sends, and the system would reset it: the client would see
//! an error where the refusal is. It costs no answer any time, since the answer goes out meanwhile; and no memory. How much
//! is read of a body that nobody wants is bounded, in bytes and in time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::rt::Executor as _;
use tokio::runtime::Handle;

use super::body::BoxError;
use super::owned_tasks::OwnedTasks;

/// Twice the largest request that a tenant may send unless it was given more. The rest of a larger one is not waited for.
const MOST_BYTES: u64 = 32 << 20;
/// Clients on slow lines need some seconds for what they have begun to send.
const MOST_TIME: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, it is read on until then, within the bounds.
pub(super) struct Draining<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    /// Until the end.
    rest: Option<B>,
    /// Where the rest is read.
    tasks: Arc<OwnedTasks>,
    begin: Begin,
}

/// Whether the client sends its body by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    AtOnce,
    /// It waits for `100 Continue`, which it gets as soon as somebody reads.
    WhenAsked,
}

impl<B> Draining<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    pub(super) fn new(body: B, tasks: &Arc<OwnedTasks>, begin: Begin) -> Self {
        Self {
            rest: (!body.is_end_stream()).then_some(body),
            tasks: Arc::clone(tasks),
            begin,
        }
    }
}

impl<B> Body for Draining<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.rest else {
            return Poll::Ready(None);
        };
        this.begin = Begin::AtOnce;
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
            this.rest = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Draining<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    fn drop(&mut self) {
        let Some(body) = self.rest.take() else { return };
        // One who waits to be asked has sent nothing that could be lost. Without a runtime, nobody is connected any more.
        if self.begin == Begin::AtOnce && Handle::try_current().is_ok() {
            self.tasks.execute(async move {
                // The outcome is the same: the body is gone.
                let _ = tokio::time::timeout(MOST_TIME, drain(body)).await;
            });
        }
    }
}

async fn drain<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = MOST_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len) as u64;
        left = match left.checked_sub(read) {
            Some(left) => left,
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A body that is fed by hand. Its feeder sees when nobody reads any more.
    struct Fed(mpsc::Receiver<Bytes>);

    impl Body for Fed {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0
                .poll_recv(context)
                .map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    fn body(begin: Begin) -> (mpsc::Sender<Bytes>, Draining<Fed>) {
        let (feeder, fed) = mpsc::channel(1);
        (feeder, Draining::new(Fed(fed), &Arc::default(), begin))
    }

    const MIB: Bytes = Bytes::from_static(&[0; 1 << 20]);

    #[tokio::test]
    async fn a_body_that_is_dropped_is_read_on_up_to_its_bound() {
        let (feeder, mut body) = body(Begin::AtOnce);
        feeder.send(MIB).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        let mut taken = 0;
        while feeder.send(MIB).await.is_ok() {
            taken += 1;
        }
        // One was read beyond the bound, and one may wait in the channel.
        assert!((32..=34).contains(&taken), "{taken} MiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_sending_is_not_waited_for() {
        let (feeder, body) = body(Begin::AtOnce);
        drop(body);
        feeder.closed().await;
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_asked_is_not_asked() {
        let (feeder, unread) = body(Begin::WhenAsked);
        drop(unread);
        assert!(feeder.is_closed());
        let (feeder, mut begun) = body(Begin::WhenAsked);
        feeder.send(MIB).await.unwrap();
        assert!(begun.frame().await.unwrap().is_ok());
        drop(begun);
        assert!(feeder.send(MIB).await.is_ok(), "what it sends now is read");
    }

    #[test]
    fn a_body_at_its_end_leaves_nothing_behind() {
        // There is no runtime here on which anything could be left.
        let whole = http_body_util::Full::new(Bytes::new());
        assert!(Draining::new(whole, &Arc::default(), Begin::AtOnce).is_end_stream());
        drop(body(Begin::AtOnce));
    }
}
