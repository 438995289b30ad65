//! The chart and its `ci` files, rendered.

use std::fs;
use std::path::PathBuf;

use deployment_tests::deploy;

use crate::helm_program::Helm;
use crate::manifests::Manifests;

pub(crate) const RELEASE: &str = "shop";
pub(crate) const NAMESPACE: &str = "databases";
/// The oldest Kubernetes that the chart allows.
const KUBERNETES: &str = "1.28.0";

/// The chart's folder.
pub(crate) fn folder() -> PathBuf {
    deploy().join("helm/tenantry")
}

/// One rendering.
pub(crate) struct Rendered {
    /// Of the `ci` file and of Helm, for messages.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) manifests: Manifests,
}

/// The names of the `ci` files, without `-values.yaml`.
pub(crate) fn cases() -> Vec<String> {
    let entries = fs::read_dir(folder().join("ci")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = names
        .map(|name| {
            name.strip_suffix("-values.yaml")
                .expect("ci holds *-values.yaml")
                .to_owned()
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 6, "{cases:?}");
    cases
}

/// The options that give a case's values to Helm.
pub(crate) fn values_of(case: &str) -> Vec<String> {
    let mut options = Vec::new();
    // Those that users are told of are not in `ci`, which is not packaged.
    let told = folder().join(format!("values-{case}.yaml"));
    if told.exists() {
        options.extend(["--values".to_owned(), told.display().to_string()]);
    }
    let file = folder().join(format!("ci/{case}-values.yaml"));
    options.extend(["--values".to_owned(), file.display().to_string()]);
    options
}

/// What Helm says to the chart with these options, as `helm template`.
pub(crate) fn template(helm: &Helm, options: &[&str]) -> Result<String, String> {
    let chart = folder().display().to_string();
    let mut arguments = vec![
        "template",
        RELEASE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        KUBERNETES,
    ];
    arguments.extend(options);
    helm.run(&arguments)
}

/// The chart with these options.
pub(crate) fn render(helm: &Helm, name: &str, options: &[&str]) -> Rendered {
    let name = format!("{name} (Helm {})", helm.version);
    let text = template(helm, options).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    let manifests = Manifests::parse(&text).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    Rendered { name, text, manifests }
}

/// Every `ci` file by every Helm. Empty where there is no Helm; `test` is told.
pub(crate) fn renderings(test: &str) -> Vec<Rendered> {
    let mut renderings = Vec::new();
    for helm in Helm::all(test) {
        for case in cases() {
            let options = values_of(&case);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            renderings.push(render(&helm, &case, &options));
        }
    }
    renderings
}

/// The chart's `values.yaml`, as text.
pub(crate) fn values() -> String {
    fs::read_to_string(folder().join("values.yaml")).unwrap()
}
