//! The control plane's record, saved and restored by the commands of `docs/install-compose.md`.

use std::os::unix::fs::chown;

use crate::engine::Engine;
use crate::project::{Project, wait_for_value};

/// The number of the images' user, who has to read the file.
const USER: u32 = 65532;
const MEMBERS: [&str; 3] = ["control-plane-1", "control-plane-2", "control-plane-3"];

/// All members lose their disks; what was saved comes back, and nodes go on.
pub(crate) fn the_record_is_restored_as_told(engine: &Engine, project: &Project<'_>, token: &str) {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record.snap");
    project.told(&[
        "run",
        "--rm",
        "-T",
        "--user",
        "0:0",
        "--cap-add",
        "DAC_OVERRIDE",
        "--volume",
        &format!("{}:/backup", folder.path().display()),
        "tenantctl",
        "cluster",
        "snapshot",
        "save",
        "/backup/record.snap",
    ]);
    project.ctl(&["tenant", "create", "lost", "--tier", "small"]).unwrap();

    project.told(&[&["rm", "--stop", "--force"][..], &MEMBERS].concat());
    let volumes = MEMBERS.map(|member| format!("tenantry_{member}"));
    engine.told(&[&["volume", "rm"][..], &volumes.each_ref().map(String::as_str)].concat());
    chown(&record, Some(USER), None).unwrap();
    for member in MEMBERS {
        let mounted = format!("{}:/record.snap:ro", record.display());
        let restore = ["restore", "/record.snap"];
        let run = ["run", "--rm", "-T", "--no-deps", "--volume", &mounted, member];
        let told = project.told(&[&run[..], &restore].concat());
        assert!(told.contains("into epoch 2"), "{member}: {told}");
    }
    // The nodes never stopped.
    for node in project.nodes() {
        wait_for_value(node, token, "select count(*) from note", "3");
    }
    project.told(&["up", "--detach", "--wait", "--wait-timeout", "120"]);
    assert_eq!(project.ctl(&["tenant", "get", "acme"]).unwrap()["name"], "acme");
    assert!(
        project.ctl(&["tenant", "get", "lost"]).is_err(),
        "what came after the save is gone"
    );
    for node in project.nodes() {
        wait_for_value(node, token, "select count(*) from note", "3");
    }
}
