//! A Docker Engine of the test's own, by `deploy/docker/engine.sh`, and `docker` that talks to it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use deployment_tests::{deploy, shared_folder};
use process_tests::run_bounded;

/// The exit code of engine.sh where no engine is possible.
const IMPOSSIBLE: i32 = 77;
/// That of timeout.
const TOO_LONG: i32 = 124;
/// Installing the engine is part of a first start.
const START_SECONDS: &str = "400";
const STOP: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(180);

/// Ends with the value, and with it all that ran in it.
pub(crate) struct Engine {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    running: bool,
    // One test at a time has the engine of this folder.
    _turn: File,
}

impl Engine {
    /// A new engine without images, containers and volumes.
    ///
    /// # Errors
    /// Why there can be none on this machine.
    pub(crate) fn start() -> Result<Self, String> {
        let shared = shared_folder()?;
        let turn = File::create(shared.join("engine.lock")).expect("a lock file can be made");
        turn.lock().expect("a lock file can be locked");
        let mut engine = Self {
            folder: shared.canonicalize().expect("a folder has a path").join("engine"),
            environment: Vec::new(),
            running: false,
            _turn: turn,
        };
        // What a test that was killed has left.
        engine.stop();
        engine.running = true;
        // A test that is interrupted drops nothing, so the script looks after the engine, too.
        let output = Command::new("timeout")
            .args([START_SECONDS.as_ref(), script().as_os_str(), "start".as_ref()])
            .arg(&engine.folder)
            .arg(std::process::id().to_string())
            .output();
        let output = output.map_err(|error| format!("engine.sh cannot be run: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(IMPOSSIBLE) => return Err(told),
            Some(TOO_LONG) => return Err(format!("no engine within {START_SECONDS} s: {told}")),
            _ => {}
        }
        assert!(output.status.success(), "engine.sh start: {}: {told}", output.status);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let settings = printed.lines().filter_map(|line| line.split_once('='));
        engine.environment = settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Ok(engine)
    }

    /// `docker`, talking to this engine and to no other.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        self.command("docker", arguments)
    }

    /// A program that talks to this engine; nothing of our options reaches it by the environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if ["TENANTRY_", "DOCKER_", "COMPOSE_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(key);
            }
        }
        command.args(arguments).envs(self.environment.iter().cloned());
        command
    }

    /// What `docker` with these arguments prints.
    pub(crate) fn asked(&self, arguments: &[&str]) -> Result<String, String> {
        run_bounded(&mut self.docker(arguments), PATIENCE).map(|printed| printed.trim().to_owned())
    }

    /// As [`Engine::asked`], for what has to work.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        self.asked(arguments)
            .unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
    }

    /// What is in an image, sorted.
    pub(crate) fn files_of(&self, image: &str) -> Vec<String> {
        let container = self.told(&["create", image]);
        let archive = tempfile::NamedTempFile::new().unwrap();
        self.told(&["export", "--output", &archive.path().display().to_string(), &container]);
        self.told(&["rm", "--volumes", &container]);
        let listed = run_bounded(
            Command::new("tar").arg("--list").arg("--file").arg(archive.path()),
            PATIENCE,
        )
        .unwrap();
        let mut files: Vec<String> = listed.lines().map(str::to_owned).collect();
        files.sort();
        files
    }

    /// Stops it and looks for what it may have left.
    pub(crate) fn stop_and_leave_nothing(mut self) {
        self.stop();
        let folder = self.folder.display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&folder)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        let processes = run_bounded(Command::new("ps").args(["-e", "-o", "args"]), STOP).unwrap();
        let left: Vec<&str> = processes.lines().filter(|line| line.contains(&folder)).collect();
        assert!(left.is_empty(), "processes are left: {left:?}");
        let left = std::fs::read_dir(&self.folder).map_or_else(|_| Vec::new(), Iterator::collect);
        let left: Vec<String> = left
            .into_iter()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "tools")
            .collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }

    fn stop(&mut self) {
        run_bounded(Command::new(script()).arg("stop").arg(&self.folder), STOP).unwrap();
        self.running = false;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.running {
            return;
        }
        let stopped = run_bounded(Command::new(script()).arg("stop").arg(&self.folder), STOP);
        if let Err(reason) = stopped {
            eprintln!("the engine in {} is left: {reason}", self.folder.display());
        }
    }
}

fn script() -> PathBuf {
    deploy().join("docker/engine.sh")
}
