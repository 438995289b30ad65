//! The client: members' connections, and which of them to start with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mutual_tls::{Role, Security};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::retry::Retry;
use crate::{AdminCalls, Backoff, CallError, ClusterCalls, Endpoint, NotificationCalls, PlacementCalls, WebhookCalls};

/// How many connections to members that only hints named are kept.
const MAX_UNLISTED_CHANNELS: usize = 8;

/// Limits on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a call may take, with all its attempts.
    pub timeout: Duration,
    /// How long one attempt may take before another member is asked.
    pub attempt_timeout: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// A watch that hears nothing for this long is taken for dead. Members send a bookmark every 10 s.
    pub watch_silence: Duration,
    /// Waits between rounds of attempts, and between reconnections of a stream.
    pub backoff: Backoff,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(1),
            watch_silence: Duration::from_secs(30),
            backoff: Backoff::default(),
        }
    }
}

/// A client was to be made without any member's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at least one address of the control plane is needed")]
pub struct NoEndpoints;

/// A client of the control plane. Cheap to clone; clones share their connections.
///
/// Connections are opened when first needed, so calls must be made inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct ControlClient {
    shared: Arc<Shared>,
    options: ClientOptions,
}

#[derive(Debug)]
struct Shared {
    listed: Vec<Endpoint>,
    security: Security,
    connections: Mutex<Connections>,
}

#[derive(Debug)]
struct Connections {
    last_worked: Endpoint,
    channels: BTreeMap<Endpoint, Channel>,
}

impl ControlClient {
    /// A client of the members at `endpoints`. Opens no connection yet.
    ///
    /// # Errors
    /// When `endpoints` is empty.
    pub fn new(endpoints: Vec<Endpoint>, security: Security, options: ClientOptions) -> Result<Self, NoEndpoints> {
        let mut listed = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if !listed.contains(&endpoint) {
                listed.push(endpoint);
            }
        }
        let last_worked = listed.first().ok_or(NoEndpoints)?.clone();
        let connections = Mutex::new(Connections {
            last_worked,
            channels: BTreeMap::new(),
        });
        Ok(Self {
            shared: Arc::new(Shared {
                listed,
                security,
                connections,
            }),
            options,
        })
    }

    /// The same client with another limit on how long a call may take.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            options: ClientOptions {
                timeout,
                ..self.options
            },
        }
    }

    /// The same client with another limit on how long one attempt may take, for calls that are known to take long.
    #[must_use]
    pub(crate) fn with_attempt_timeout(&self, attempt_timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            options: ClientOptions {
                attempt_timeout,
                ..self.options
            },
        }
    }

    /// Calls of `AdminService`.
    #[must_use]
    pub const fn admin(&self) -> AdminCalls<'_> {
        AdminCalls(self)
    }

    /// Calls of `PlacementService`; for its watch see [`crate::RoutingWatch`].
    #[must_use]
    pub const fn placement(&self) -> PlacementCalls<'_> {
        PlacementCalls(self)
    }

    /// The event log and what follows from it.
    #[must_use]
    pub const fn notification(&self) -> NotificationCalls<'_> {
        NotificationCalls(self)
    }

    /// Webhooks.
    #[must_use]
    pub const fn webhook(&self) -> WebhookCalls<'_> {
        WebhookCalls(self)
    }

    /// Calls of `ClusterService`.
    #[must_use]
    pub const fn cluster(&self) -> ClusterCalls<'_> {
        ClusterCalls(self)
    }

    /// Makes a call until it is answered, refused, or out of time. `request_id` is that of a mutation.
    pub(crate) async fn unary<Q, A, F>(
        &self,
        request_id: Option<String>,
        request: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut retry = Retry::new(self, request_id);
        loop {
            let attempt = retry.begin();
            let mut request = Request::new(request.clone());
            request.set_timeout(attempt.server_timeout);
            let outcome = tokio::time::timeout_at(attempt.deadline, call(attempt.channel, request)).await;
            match outcome.unwrap_or_else(|_| Err(no_answer(self.options.attempt_timeout))) {
                Ok(response) => {
                    self.remember(attempt.endpoint);
                    return Ok(response.into_inner());
                }
                Err(status) => retry.wait_after(status).await?,
            }
        }
    }

    pub(crate) const fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The members that the caller named; never empty.
    pub(crate) fn listed(&self) -> &[Endpoint] {
        &self.shared.listed
    }

    /// The member that answered last.
    pub(crate) fn last_worked(&self) -> Endpoint {
        self.connections().last_worked.clone()
    }

    /// The next call starts at `endpoint`.
    pub(crate) fn remember(&self, endpoint: Endpoint) {
        self.connections().last_worked = endpoint;
    }

    /// The connection to a member, opened when first used and reopened by itself.
    pub(crate) fn channel(&self, endpoint: &Endpoint) -> Channel {
        if let Some(channel) = self.connections().channels.get(endpoint) {
            return channel.clone();
        }
        let transport = tonic::transport::Endpoint::from(endpoint.uri())
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let limit = self.options.connect_timeout;
        let channel = self.shared.security.channel(&transport, Role::ControlPlane, limit);
        let mut connections = self.connections();
        let listed = &self.shared.listed;
        if connections.channels.len() >= listed.len() + MAX_UNLISTED_CHANNELS {
            connections.channels.retain(|endpoint, _| listed.contains(endpoint));
        }
        connections.channels.insert(endpoint.clone(), channel.clone());
        channel
    }

    /// No code panics while it holds this lock, and both fields stay valid on their own.
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of an attempt that was given up. Unavailable, so that it is tried elsewhere.
pub(crate) fn no_answer(limit: Duration) -> Status {
    Status::unavailable(format!("no answer within {} ms", limit.as_millis()))
}
