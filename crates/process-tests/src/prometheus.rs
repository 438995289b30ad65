//! A real Prometheus of a test's own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::http::get;
use crate::ports::free_ports;
use crate::wait::value_of;

/// Ends with the value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one in `folder`, with a configuration file as it is given. `None` where there is no such program.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn start(folder: &Path, configuration: &str) -> Option<Self> {
        let address = *free_ports(1).first().expect("one was asked for");
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).expect("the folder can be written");
        let log = File::create(folder.join("prometheus.log")).expect("the folder can be written");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be had twice"))
            .stderr(log)
            .spawn()
            .ok()?;
        Some(Self { child, address })
    }

    /// What it answers at `path`.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.address, "localhost", path).map_err(|error| error.to_string())?;
        let json = answer.json();
        match json["status"].as_str() {
            Some("success") => Ok(json["data"].clone()),
            _ => Err(answer.body),
        }
    }

    /// The series that an expression yields now.
    ///
    /// # Errors
    /// As [`Prometheus::ask`].
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let encoded = expression.bytes().fold(String::new(), |mut encoded, byte| {
            write!(encoded, "%{byte:02x}").expect("a string takes all");
            encoded
        });
        let data = self.ask(&format!("/api/v1/query?query={encoded}"))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// How many these are.
    ///
    /// # Errors
    /// As [`Prometheus::ask`].
    pub fn count(&self, expression: &str) -> Result<usize, String> {
        Ok(self.query(expression)?.len())
    }

    /// The value of the first of these series.
    ///
    /// # Errors
    /// As [`Prometheus::ask`], and when there is none.
    pub fn value(&self, expression: &str) -> Result<f64, String> {
        let series = self.query(expression)?;
        let value = series.first().and_then(|first| first["value"][1].as_str());
        let text = value.ok_or_else(|| format!("{expression}: {series:?}"))?;
        text.parse().map_err(|_| format!("{expression}: {text}"))
    }

    /// Waits until the first series of an expression has such a value.
    ///
    /// # Panics
    /// When it has not within `patience`.
    pub fn wait_for(&self, expression: &str, patience: Duration, wanted: impl Fn(f64) -> bool) {
        value_of(expression, patience, || match self.value(expression)? {
            found if wanted(found) => Ok(()),
            found => Err(found.to_string()),
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
