//! hyper alone: HTTP/1.1, each request read to its end and answered with the same bytes. What any server on hyper can at
//! most be.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tenantry_layers::BoxError;
use tokio::net::TcpListener;

/// What a point SELECT of the benchmark is answered, as Hrana means it.
pub(crate) const ANSWER: &[u8] = br#"{"results":[{"type":"ok","response":{"type":"execute","result":{"cols":[{"name":"name","decltype":"TEXT"}],"rows":[[{"type":"text","value":"item-00000001"}]],"affected_row_count":0,"last_insert_rowid":null,"rows_read":1,"rows_written":0,"query_duration_ms":0.021}}},{"type":"ok","response":{"type":"close"}}],"baton":null,"base_url":null}"#;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
}

/// Serves until it is killed.
#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    serve(arguments.listen, service_fn(answer)).await
}

/// Serves with nothing but hyper around `service`.
pub(crate) async fn serve<S, B>(listen: SocketAddr, service: S) -> Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (socket, _) = listener.accept().await.context("cannot accept")?;
        socket.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service.clone()));
    }
}

pub(crate) async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A client that leaves midway has no use for the answer either.
    let _body = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
