//! Members that come and go while the cluster runs.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, flags};
use crate::daemon::Daemon;
use crate::ports::free_ports;
use crate::wait::value_of;

const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Starts a member that waits to be added, under the next id; answers with its index.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_joiner(&mut self, token: &str) -> usize {
        let index = self.members.len();
        let [grpc, ops]: [SocketAddr; 2] = free_ports(2).try_into().expect("two ports");
        let name = format!("control-plane-{}", index + 1);
        let arguments = [
            ("member-id", (index + 1).to_string()),
            ("join", token.to_owned()),
            ("listen", grpc.to_string()),
            ("ops-listen", ops.to_string()),
            ("data-dir", self.folder().join(&name).display().to_string()),
            ("heartbeat-ms", "300".to_owned()),
            ("suspect-ms", "1500".to_owned()),
            ("down-ms", "5000".to_owned()),
        ];
        let mut daemon = Daemon::new(name, "control-plane", flags(&arguments), ops, self.folder());
        daemon.start();
        self.members.push(daemon);
        self.push_address(grpc);
        value_of("the joining member to live", PATIENCE, || {
            crate::http::get(ops, "localhost", "/livez")
                .map(drop)
                .map_err(|error| error.to_string())
        });
        index
    }

    /// What a new member is to be started with.
    ///
    /// # Panics
    /// When nobody leads in time.
    #[must_use]
    pub fn join_token(&self) -> String {
        let list = self.ctl(&["cluster", "member", "list"]);
        list["join_token"].as_str().expect("a token").to_owned()
    }

    /// Ids of the voters and of the learners, as the leader knows them.
    ///
    /// # Panics
    /// When nobody leads in time.
    #[must_use]
    pub fn voters_and_learners(&self) -> (Vec<u64>, Vec<u64>) {
        let list = self.ctl(&["cluster", "member", "list"]);
        let of = |kind: &str| {
            let members = list["members"].as_array().expect("members").iter();
            let ids = members.filter(|member| member["kind"] == kind);
            ids.filter_map(|member| member["member_id"].as_u64()).collect()
        };
        (of("voter"), of("learner"))
    }

    /// Waits until all present members answer and have come to the same state.
    ///
    /// # Panics
    /// When they do not in time.
    pub fn wait_until_present_members_agree(&self, count: usize) {
        value_of("the present members to agree", PATIENCE, || {
            let status = self.try_ctl(&["cluster", "status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let standing = |member: &Value| (member["applied_index"].clone(), member["state_digest"].clone());
            let same = members.windows(2).all(|pair| match pair {
                [one, other] => standing(one) == standing(other),
                _ => true,
            });
            let all_answer = members.iter().all(|member| member["role"].is_string());
            if members.len() == count && all_answer && same {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    }
}
