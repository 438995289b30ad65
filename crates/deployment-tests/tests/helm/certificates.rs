//! Certificates that the chart generates: who signed them, what role they say, and that an upgrade keeps them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use process_tests::{run_bounded, skip};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::chart::{NAMESPACE, RELEASE, render};
use crate::helm_program::Helm;
use crate::manifests::{Manifests, text};

const ROLES: [(&str, &str); 3] = [
    ("shop-tenantry-control-plane-tls", "control-plane.tenantry"),
    ("shop-tenantry-node-tls", "tenant-node.tenantry"),
    ("shop-tenantry-operator-tls", "operator.tenantry"),
];
const AUTHORITY: &str = "shop-tenantry-ca";
const PATIENCE: Duration = Duration::from_secs(20);

fn secret<'a>(manifests: &'a Manifests, name: &str) -> &'a Value {
    manifests
        .find("Secret", name)
        .unwrap_or_else(|| panic!("no Secret {name}"))
}

/// The text of one key of a Secret.
pub(crate) fn decoded(secret: &Value, key: &str) -> String {
    let encoded = text(&secret["data"][key]);
    let mut decoded = Vec::new();
    let mut bits = 0_u32;
    let mut kept = 0;
    for byte in encoded.bytes().filter(|byte| *byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is not base64"),
        };
        bits = (bits << 6) | u32::from(digit);
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            decoded.push(u8::try_from((bits >> kept) & 0xff).unwrap());
        }
    }
    String::from_utf8(decoded).unwrap()
}

#[test]
fn each_role_has_a_certificate_of_the_authority_that_says_its_role() {
    let test = "each_role_has_a_certificate_of_the_authority_that_says_its_role";
    if let Err(reason) = run_bounded(Command::new("openssl").arg("version"), PATIENCE) {
        return skip(test, &reason);
    }
    for helm in Helm::all(test) {
        let rendered = render(&helm, "defaults", &[]);
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.crt");
        fs::write(&authority, decoded(secret(&rendered.manifests, AUTHORITY), "tls.crt")).unwrap();
        for (name, role) in ROLES {
            let of_role = secret(&rendered.manifests, name);
            assert_eq!(of_role["type"], "kubernetes.io/tls");
            assert_eq!(
                decoded(of_role, "ca.crt"),
                fs::read_to_string(&authority).unwrap(),
                "{name}"
            );
            let certificate = folder.path().join("tls.crt");
            fs::write(&certificate, decoded(of_role, "tls.crt")).unwrap();
            for purpose in ["sslclient", "sslserver"] {
                let mut verify = Command::new("openssl");
                verify
                    .args(["verify", "-purpose", purpose, "-CAfile"])
                    .arg(&authority)
                    .arg(&certificate);
                run_bounded(&mut verify, PATIENCE).unwrap_or_else(|reason| panic!("{name}: {reason}"));
            }
            let mut show = Command::new("openssl");
            show.args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
                .arg(&certificate);
            let names = run_bounded(&mut show, PATIENCE).unwrap();
            assert!(names.trim().ends_with(&format!("DNS:{role}")), "{name}: {names}");
            // No name but the role.
            assert_eq!(names.matches("DNS:").count(), 1, "{name}: {names}");
        }
    }
}

/// Rendered against a cluster that has these Secrets, which an earlier run of Helm put there.
fn upgraded(helm: &Helm, present: &[Value]) -> Manifests {
    let mut present = present.to_vec();
    for secret in &mut present {
        let annotations = &mut secret["metadata"]["annotations"];
        annotations["meta.helm.sh/release-name"] = json!(RELEASE);
        annotations["meta.helm.sh/release-namespace"] = json!(NAMESPACE);
    }
    let server = ApiServer::start(&present);
    let options = [
        "--dry-run=server",
        "--disable-openapi-validation",
        "--kube-apiserver",
        &server.url(),
    ];
    render(helm, "upgrade", &options).manifests
}

#[test]
fn an_upgrade_keeps_certificates_until_half_of_their_time_is_over() {
    for helm in Helm::all("an_upgrade_keeps_certificates_until_half_of_their_time_is_over") {
        let first = upgraded(&helm, &[]);
        let mut present: Vec<Value> = first.of_kind("Secret").cloned().collect();
        assert_eq!(present.len(), 4);

        let second = upgraded(&helm, &present);
        for (name, _) in ROLES.iter().chain([&(AUTHORITY, "")]) {
            assert_eq!(secret(&second, name), secret(&first, name), "Helm {}", helm.version);
        }

        // The node's is past half of its time: a new one by the same authority, and no other.
        let old = present
            .iter_mut()
            .find(|secret| secret["metadata"]["name"] == ROLES[1].0)
            .unwrap();
        old["metadata"]["annotations"]["tenantry/renew-after"] = json!("1700000000");
        let third = upgraded(&helm, &present);
        assert_eq!(secret(&third, AUTHORITY), secret(&first, AUTHORITY));
        assert_eq!(secret(&third, ROLES[0].0), secret(&first, ROLES[0].0));
        let (renewed, former) = (secret(&third, ROLES[1].0), secret(&first, ROLES[1].0));
        assert_ne!(renewed["data"]["tls.crt"], former["data"]["tls.crt"]);
        assert_ne!(renewed["data"]["tls.key"], former["data"]["tls.key"]);
        assert_eq!(renewed["data"]["ca.crt"], former["data"]["ca.crt"]);
        let planned: u64 = text(&renewed["metadata"]["annotations"]["tenantry/renew-after"])
            .parse()
            .unwrap();
        assert!(planned > 1_700_000_000, "{planned}");

        // Without its authority a certificate is of no use: all are made anew, together.
        present.retain(|secret| secret["metadata"]["name"] != AUTHORITY);
        let fourth = upgraded(&helm, &present);
        for (name, _) in ROLES {
            assert_ne!(
                secret(&fourth, name)["data"]["tls.crt"],
                secret(&first, name)["data"]["tls.crt"],
                "{name}"
            );
            assert_eq!(
                secret(&fourth, name)["data"]["ca.crt"],
                secret(&fourth, AUTHORITY)["data"]["tls.crt"],
                "{name}"
            );
        }
    }
}
