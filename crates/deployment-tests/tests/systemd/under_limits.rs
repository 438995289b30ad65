//! Both programs under the units' limits on system calls and sockets, told of by a manager's socket.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process_tests::{
    NODE_DISK, command, execute, free_ports, get, pipeline, post, program, run_bounded, scalar, skip, value_of,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::unit::Unit;

const PATIENCE: Duration = Duration::from_secs(60);

/// A program as its unit starts it, and what it tells the manager. Killed when dropped.
struct Service {
    child: Child,
    manager: UnixDatagram,
    log: PathBuf,
}

impl Service {
    fn start(unit: &str, folder: &Path, flags: &[String]) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd");
        let path = deployment_tests::deploy().join("systemd").join(unit);
        let name = Unit::read(unit).program().to_owned();
        let address = folder.join(format!("{name}.notify"));
        let manager = UnixDatagram::bind(&address).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let mut python = Command::new("python3");
        // As `command` does for our programs.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TENANTRY_")) {
            python.env_remove(key);
        }
        let child = python
            .arg(tests.join("under_filter.py"))
            .arg(&path)
            .arg(program(&name))
            .args(flags)
            .env("NOTIFY_SOCKET", &address)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, manager, log }
    }

    /// Waits until the manager is told `word`.
    fn wait_for(&self, word: &str) {
        let mut message = [0; 512];
        loop {
            let length = self.manager.recv(&mut message).unwrap_or_else(|error| {
                panic!(
                    "nobody said {word}: {error}\n{}",
                    std::fs::read_to_string(&self.log).unwrap()
                )
            });
            let told = String::from_utf8_lossy(&message[..length]);
            if told.lines().any(|line| line == word) {
                return;
            }
        }
    }

    /// Stops it as a manager does, and waits for a good end.
    fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.wait_for("STOPPING=1");
        let status = value_of("the program to end", PATIENCE, || {
            self.child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        assert!(
            status.success(),
            "{status}: {}",
            std::fs::read_to_string(&self.log).unwrap()
        );
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why programs cannot be run under a filter here.
fn without_filter() -> Option<String> {
    let mut load = Command::new("python3");
    load.args(["-c", "import ctypes; ctypes.CDLL('libseccomp.so.2')"]);
    let tools = [load, {
        let mut systemd = Command::new("systemd-analyze");
        systemd.arg("--version");
        systemd
    }];
    tools
        .into_iter()
        .find_map(|mut tool| run_bounded(&mut tool, PATIENCE).err())
}

#[test]
fn both_programs_serve_under_the_units_limits_and_tell_the_manager() {
    if let Some(reason) = without_filter() {
        skip(
            "both_programs_serve_under_the_units_limits_and_tell_the_manager",
            &reason,
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [grpc, member_ops, data, peer, node_ops]: [SocketAddr; 5] = free_ports(5).try_into().unwrap();
    let data_dir = |name: &str| format!("--data-dir={}", folder.path().join(name).display());
    let member = [
        "--insecure-dev".to_owned(),
        "--member-id=1".to_owned(),
        format!("--initial-members=1={grpc}"),
        format!("--listen={grpc}"),
        format!("--ops-listen={member_ops}"),
        data_dir("member"),
    ];
    let member = Service::start("tenantry-control-plane.service", folder.path(), &member);
    member.wait_for("READY=1");
    let node = [
        "--insecure-dev".to_owned(),
        "--node-id=node-1".to_owned(),
        format!("--control-plane={grpc}"),
        format!("--listen={data}"),
        format!("--peer-listen={peer}"),
        format!("--ops-listen={node_ops}"),
        format!("--disk={NODE_DISK}"),
        data_dir("node"),
    ];
    let node = Service::start("tenantry-node.service", folder.path(), &node);
    node.wait_for("READY=1");

    let mut create = command("tenantctl");
    create.args(["--endpoint", &grpc.to_string(), "tenant", "create", "acme"]);
    run_bounded(&mut create, PATIENCE).unwrap_or_else(|told| panic!("{told}"));
    value_of("the tenant to be served", PATIENCE, || {
        match get(data, "acme.localhost", "/v1/usage") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(error.to_string()),
        }
    });
    // Long enough to be run at a lower priority, on disk, with a sort that spills.
    let statements = [
        "create table t (x)",
        "insert into t with recursive c(x) as (select 1 union all select x + 1 from c where x < 200000) select x from c",
        "select count(*) from (select x from t order by -x)",
    ];
    for sql in statements {
        let headers = [("host", "acme.localhost"), ("content-type", "application/json")];
        let answer = post(data, "/v3/pipeline", &headers, &pipeline(&[execute(sql)])).unwrap();
        assert!(
            answer.status == 200 && answer.json()["results"][0]["type"] == "ok",
            "{sql}: {answer:?}"
        );
        if sql.starts_with("select") {
            assert_eq!(scalar(&answer).as_deref(), Some("200000"), "{answer:?}");
        }
    }
    node.stop();
    member.stop();
}
