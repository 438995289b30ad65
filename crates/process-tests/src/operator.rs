//! Somebody who operates a cluster by `tenantctl`, from any thread.

use serde_json::Value;

use crate::programs::command;

/// Knows where the members are, and nothing else.
#[derive(Debug, Clone)]
pub struct Operator {
    endpoints: String,
    files: Vec<String>,
    timeout: &'static str,
}

impl Operator {
    /// `files` are the flags of its certificate, if it has one.
    pub(crate) fn new(endpoints: String, files: Vec<String>) -> Self {
        Self {
            endpoints,
            files,
            timeout: "5s",
        }
    }

    /// Has patience even with a machine that does much else.
    #[must_use]
    pub(crate) fn patient(self) -> Self {
        Self { timeout: "60s", ..self }
    }

    /// Runs `tenantctl -o json`; the error is what it wrote to stderr.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<Value, String> {
        let printed = self.printed(arguments)?;
        serde_json::from_slice(&printed).map_err(|error| format!("not JSON: {error}"))
    }

    /// As [`Operator::try_ctl`], for commands that print a value on each line.
    ///
    /// # Errors
    /// As [`Operator::try_ctl`].
    pub fn try_ctl_lines(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let printed = self.printed(arguments)?;
        let lines = serde_json::Deserializer::from_slice(&printed).into_iter();
        let lines: Result<_, _> = lines.collect();
        lines.map_err(|error| format!("not lines of JSON: {error}"))
    }

    /// A tenant's token, good for an hour. `scope` is `ro` or `full`.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn token(&self, tenant: &str, scope: &str) -> String {
        let arguments = ["token", "create", tenant, "--scope", scope, "--ttl", "1h"];
        let printed = self.try_ctl(&arguments);
        let printed = printed.unwrap_or_else(|error| panic!("tenantctl {arguments:?}: {error}"));
        printed["token"].as_str().expect("a token is printed").to_owned()
    }

    fn printed(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = command("tenantctl");
        command
            .args(["--endpoint", &self.endpoints, "--timeout", self.timeout, "-o", "json"])
            .args(&self.files)
            .args(arguments);
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
