//! Debian's Prometheus beside the containers, which it scrapes at their own addresses.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process_tests::{free_ports, get, value_of};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with the value.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// With a configuration file as it is given. `None` where there is no such program.
    pub(crate) fn start(folder: &Path, configuration: &str) -> Option<Self> {
        let address = free_ports(1)[0];
        fs::write(folder.join("prometheus.yml"), configuration).unwrap();
        let log = File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .ok()?;
        Some(Self { child, address })
    }

    fn ask(&self, expression: &str) -> Result<f64, String> {
        let mut query = String::new();
        for byte in expression.bytes() {
            write!(query, "%{byte:02x}").unwrap();
        }
        let answer = get(self.address, "localhost", &format!("/api/v1/query?query={query}"));
        let answer = answer.map_err(|error| error.to_string())?.json();
        let value = &answer["data"]["result"][0]["value"][1];
        let text = value.as_str().ok_or_else(|| format!("{expression}: {answer}"))?;
        text.parse().map_err(|_| format!("{expression}: {text}"))
    }

    /// Waits until the first series of an expression has such a value.
    pub(crate) fn wait_for(&self, expression: &str, wanted: impl Fn(f64) -> bool) {
        value_of(expression, PATIENCE, || match self.ask(expression)? {
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
