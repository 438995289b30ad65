//! How nodes speak with each other: HTTP/2, over a few connections for each pair of nodes, with settings that
//! both sides must share.
//!
//! HTTP/2 rather than a pool of HTTP/1.1 connections, for three reasons. A node that stops says by GOAWAY which requests it
//! has not taken up, where HTTP/1.1 leaves it open what became of a request on a connection that closes. PING tells a dead
//! node from a slow query, so that no answer needs a time limit. And an answer that broke off cannot look complete.
//!
//! What HTTP/2 would share among tenants is held apart: a connection's window has room for the windows of all its requests,
//! so that an answer that nobody reads holds up no other; and clients that give up their requests do not count as an attack
//! of the node that forwarded them.

use std::time::Duration;

use hyper::client::conn::http2 as client;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use crate::http::owned_tasks::OwnedTasks;

/// Connections from one node to another. Several, since one connection is one task's work.
pub(super) const CONNECTIONS: usize = 4;
/// Requests at once on one of them.
pub(super) const REQUESTS_PER_CONNECTION: u32 = 256;
/// Bytes of one body that the reading side takes before it has passed them on.
const WINDOW: u32 = 64 << 10;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = WINDOW * REQUESTS_PER_CONNECTION;
/// Bytes of one body that the writing side holds.
const SEND_BUFFER: usize = 64 << 10;
/// Requests given up whose late frames are still expected.
const MOST_RESETS: usize = 4_096;
/// A connection on which nothing was heard for this long is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Without one for this long after, the other node counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The forwarding side. `tasks` runs what the connections need.
pub(super) fn for_forwarder(tasks: OwnedTasks) -> client::Builder<OwnedTasks> {
    let mut builder = client::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}

/// The owner's side. Headers up to `header_bytes` are taken.
pub(crate) fn for_owner<'builder, 'parts, E>(
    builder: &'builder mut auto::Http2Builder<'parts, E>,
    header_bytes: u32,
) -> &'builder mut auto::Http2Builder<'parts, E> {
    builder
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(REQUESTS_PER_CONNECTION)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(None)
        .max_header_list_size(header_bytes)
}
