//! Somebody who operates a cluster by `tenantctl`, from any thread.

use serde_json::Value;

use crate::programs::command;

/// Knows where the members are, and nothing else.
#[derive(Debug, Clone)]
pub struct Operator {
    endpoints: String,
}

impl Operator {
    pub(crate) fn new(endpoints: String) -> Self {
        Self { endpoints }
    }

    /// Runs `tenantctl -o json`; the error is what it wrote to stderr.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = command("tenantctl");
        command
            .args(["--endpoint", &self.endpoints, "--timeout", "5s", "-o", "json"])
            .args(arguments);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("not JSON: {error}"))
    }
}
