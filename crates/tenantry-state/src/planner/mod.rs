//! Which node a tenant should go to. The leader asks before it proposes; `apply` never does.
//!
//! First what rules a node out ([`filter`]), then a score whose field order is the policy ([`score`]), over a sample of
//! the nodes that passed ([`sample`]). The same view, request and seed give the same decision, whatever order the nodes
//! are listed in.

mod choose;
pub mod filter;
mod sample;
pub mod score;
mod view;

pub use choose::{Candidate, Decision, PlacementRequest, Verdict, choose};
pub use filter::RejectionReason;
pub use score::{Company, Score};
pub use view::{ClusterView, InFlight, NodeObservation, NodeView};
