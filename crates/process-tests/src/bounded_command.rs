//! Programs of others, run within a time.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `command` and answers with what it wrote to stdout; stderr passes through.
///
/// # Errors
/// In words: that it cannot be started, failed, or did not end within `patience` and was killed.
pub fn run_bounded(command: &mut Command, patience: Duration) -> Result<String, String> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let stdout = child.stdout.take();
    // Read beside the wait, or a full pipe would stop the child.
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stdout) = stdout {
            let _ = stdout.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let ended = wait(&mut child, patience);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = reader.join().unwrap_or_default();
    match ended {
        Ok(true) => Ok(text),
        Ok(false) => Err(told(&format!("{program} failed"), &text)),
        Err(reason) => Err(told(&format!("{program} {reason}"), &text)),
    }
}

fn told(what: &str, output: &str) -> String {
    match output.trim() {
        "" => what.to_owned(),
        output => format!("{what}; it wrote:\n{output}"),
    }
}

/// Whether it ended well.
fn wait(child: &mut Child, patience: Duration) -> Result<bool, String> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() >= deadline => {
                return Err(format!("did not end within {} s", patience.as_secs()));
            }
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_is_read_to_its_end_and_killed_when_it_has_none() {
        let patience = Duration::from_secs(20);
        assert_eq!(
            run_bounded(&mut shell("echo hello"), patience),
            Ok("hello\n".to_owned())
        );
        let failed = run_bounded(&mut shell("echo because; exit 3"), patience).unwrap_err();
        assert!(failed.contains("failed") && failed.contains("because"), "{failed}");
        let endless = run_bounded(&mut shell("exec sleep 600"), Duration::from_millis(200)).unwrap_err();
        assert!(endless.contains("did not end"), "{endless}");
        let missing = run_bounded(&mut Command::new("no-such-program"), patience).unwrap_err();
        assert!(missing.contains("cannot be started"), "{missing}");
    }
}
