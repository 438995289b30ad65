//! As much of the Kubernetes API as Helm needs to look Secrets up. It keeps nothing and lives on loopback.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

/// Groups with their resources, and the kinds of these. Helm asks for each kind that it is about to check.
const RESOURCES: [(&str, &str, &str); 8] = [
    ("", "secrets", "Secret"),
    ("", "configmaps", "ConfigMap"),
    ("", "services", "Service"),
    ("", "serviceaccounts", "ServiceAccount"),
    ("", "pods", "Pod"),
    ("apps", "statefulsets", "StatefulSet"),
    ("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
];
const SILENCE: Duration = Duration::from_secs(10);

/// A server with some Secrets; ends with the value.
pub(crate) struct ApiServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Serves these Secrets, in whatever namespace they are asked for.
    pub(crate) fn start(secrets: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let secrets: HashMap<String, Value> = secrets
            .iter()
            .map(|secret| (secret["metadata"]["name"].as_str().unwrap().to_owned(), secret.clone()))
            .collect();
        let stopped = Arc::clone(&stop);
        let serving = thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // One that breaks off hurts only its caller, which fails the test.
                let _ = connection.and_then(|connection| answer(&connection, &secrets));
            }
        });
        Self {
            address,
            stop,
            serving: Some(serving),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait.
        let _ = TcpStream::connect(self.address);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn answer(mut connection: &TcpStream, secrets: &HashMap<String, Value>) -> std::io::Result<()> {
    connection.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, body) = match found(path, secrets) {
        Some(body) => ("200 OK", body),
        None => (
            "404 Not Found",
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
        ),
    };
    let body = body.to_string();
    write!(
        connection,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn found(path: &str, secrets: &HashMap<String, Value>) -> Option<Value> {
    match path {
        "/version" => Some(json!({"major": "1", "minor": "30", "gitVersion": "v1.30.0"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => {
            let groups = ["apps", "policy", "networking.k8s.io"].map(|group| {
                let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
                json!({"name": group, "versions": [version], "preferredVersion": version})
            });
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/api/v1" => Some(resources("")),
        path => {
            if let Some(group) = path.strip_prefix("/apis/").and_then(|rest| rest.strip_suffix("/v1")) {
                return Some(resources(group));
            }
            let (kind, name) = path.rsplit_once('/')?;
            kind.ends_with("/secrets").then(|| secrets.get(name).cloned()).flatten()
        }
    }
}

fn resources(group: &str) -> Value {
    let version = if group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{group}/v1")
    };
    let of_group = RESOURCES.iter().filter(|(of, ..)| *of == group);
    let resources: Vec<Value> = of_group
        .map(|(_, name, kind)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]}))
        .collect();
    json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources})
}
