//! Clients that write: through whoever says that it leads, rightly or not; and how their answers reach them.

use ::control_plane::codec;
use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{ProposalId, StateMachine};
use rand::Rng as _;
use tenantry_state::{Command, Envelope, Outcome, Request, Rules, SecretKey, SigningKey, Tiers};
use tenantry_types::{ClusterUid, MemberId, Revision, UnixMillis};

use super::{Answered, Patience};
use crate::control_plane::Breach;
use crate::control_plane::cluster::{Cluster, impossible};
use crate::control_plane::member::{Member, Running};

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(in super::super) fn wish(&mut self, patience: Patience) -> Result<u64, Breach> {
        self.clients
            .wish(self.now, patience, &mut self.rng)
            .map_err(|error| impossible("think of a name", &error))
    }

    /// Clients ask; a leader of a new cluster gives it an identity first.
    pub(in super::super) fn ask(&mut self) -> Result<(), Breach> {
        let leads = |(id, member): (&MemberId, &mut Member<M>)| {
            member.working().is_some_and(|running| running.leads()).then_some(*id)
        };
        let leaders: Vec<_> = self.members.iter_mut().filter_map(leads).collect();
        for id in &leaders {
            let unknown = |running: &mut Running<M>| running.readers.current().state.cluster().is_none();
            if self.members.get_mut(id).and_then(Member::working).is_some_and(unknown) {
                let command = self.identity();
                self.propose(*id, None, command)?;
            }
        }
        for number in self.clients.due(self.now) {
            let proposal = match leaders.len() {
                0 => None,
                count => match leaders.get(self.rng.random_range(0..count)) {
                    Some(leader) => self.ask_leader(*leader, number)?,
                    None => None,
                },
            };
            let repeated = self.clients.attempted(number, proposal, self.now, &mut self.rng);
            self.report.retries += u64::from(repeated);
        }
        Ok(())
    }

    fn identity(&mut self) -> Command {
        let uid = ClusterUid::from_u128(self.rng.random());
        let secret = SecretKey::new(self.rng.random());
        let signing_key = SigningKey {
            key_id: "k1".to_owned(),
            public: self.rng.random(),
            secret,
            signs_from: UnixMillis::default(),
        };
        let tiers = Box::new(Tiers::default());
        Command::InitializeCluster {
            uid,
            tiers,
            signing_key,
        }
    }

    fn ask_leader(&mut self, leader: MemberId, number: u64) -> Result<Option<ProposalId>, Breach> {
        let clock = self.clock(leader);
        let Some(running) = self.members.get_mut(&leader).and_then(Member::working) else {
            return Ok(None);
        };
        let published = running.readers.current();
        if published.state.cluster().is_none() {
            return Ok(None);
        }
        let command = self.clients.command(number, &published.state, clock, &mut self.rng);
        let Some((request, command)) = command.map_err(|error| impossible("think of a label", &error))? else {
            return Ok(None);
        };
        self.trace.note(format_args!(
            "{} client asks member {leader}, request {number}, {}",
            self.now,
            self.clients.describe(number)
        ));
        self.propose(leader, Some(request), command)
    }

    fn propose(
        &mut self,
        id: MemberId,
        request: Option<Request>,
        command: Command,
    ) -> Result<Option<ProposalId>, Breach> {
        let envelope = Envelope {
            rules: Rules::default(),
            now: self.clock(id),
            proposed_by: id,
            request,
            command,
        };
        let bytes = codec::encode_command(&envelope).map_err(|error| impossible("encode a command", &error))?;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(None);
        };
        running.sequence += 1;
        let proposal = ProposalId {
            origin: running.origin,
            sequence: running.sequence,
        };
        if running.replica.propose(vec![(proposal, bytes)]).is_err() {
            return Ok(None);
        }
        Ok(Some(proposal))
    }

    /// A member has applied a command, and answers whoever waits for it there.
    pub(in super::super) fn answer(
        &mut self,
        id: MemberId,
        revision: Revision,
        proposal: Option<ProposalId>,
        outcome: Outcome,
    ) -> Result<(), Breach> {
        let own = |member: &mut Member<M>| member.running().map(|running| running.origin);
        let origin = self.members.get_mut(&id).and_then(own);
        let Some(proposal) = proposal.filter(|proposal| Some(proposal.origin) == origin) else {
            return Ok(());
        };
        // The answer has to travel to the client as well.
        if self.rng.random_ratio(self.plan.drop, 1000) {
            self.report.drops += 1;
            return Ok(());
        }
        let again = self.rng.random_ratio(self.plan.repeat, 1000);
        let again = again.then(|| self.now + self.rng.random_range(1..=40));
        let request = match self.clients.answered(proposal, revision, &outcome, again)? {
            None => return Ok(()),
            Some(Answered::First(request)) => {
                self.report.acknowledged += 1;
                request
            }
            Some(Answered::Again(request)) => {
                self.report.answered_again += 1;
                request
            }
        };
        self.trace.note(format_args!(
            "{} member {id} answers {} at {revision}",
            self.now, request.id
        ));
        self.checker.acknowledge(id, request, outcome, revision)
    }
}
