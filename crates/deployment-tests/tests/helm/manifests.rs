//! Rendered manifests, parsed: finding what is in them, without judging it.

use serde::Deserialize as _;
use serde_json::Value;

/// All objects of one rendering.
pub(crate) struct Manifests {
    objects: Vec<Value>,
}

/// What makes pods, or is one.
pub(crate) struct PodOwner<'a> {
    /// Kind and name, for messages.
    pub(crate) name: String,
    pub(crate) labels: &'a Value,
    pub(crate) annotations: &'a Value,
    pub(crate) spec: &'a Value,
}

impl Manifests {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut objects = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let object = Value::deserialize(document).map_err(|error| error.to_string())?;
            if !object.is_null() {
                objects.push(object);
            }
        }
        Ok(Self { objects })
    }

    pub(crate) fn all(&self) -> &[Value] {
        &self.objects
    }

    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|object| object["metadata"]["name"] == name)
    }

    /// Everything that makes pods, hooks among it.
    pub(crate) fn pods(&self) -> Vec<PodOwner<'_>> {
        let mut pods = Vec::new();
        for object in &self.objects {
            let template = match text(&object["kind"]) {
                "Pod" => object,
                "StatefulSet" | "Deployment" | "DaemonSet" | "Job" => &object["spec"]["template"],
                "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
                _ => continue,
            };
            pods.push(PodOwner {
                name: named(object),
                labels: &template["metadata"]["labels"],
                annotations: &template["metadata"]["annotations"],
                spec: &template["spec"],
            });
        }
        pods
    }

    /// The pods that a selector of labels finds.
    pub(crate) fn selected(&self, labels: &Value) -> Vec<PodOwner<'_>> {
        let wanted = labels.as_object().expect("a selector is a map");
        assert!(!wanted.is_empty(), "a selector without labels would find every pod");
        let found = self.pods().into_iter();
        found
            .filter(|pod| wanted.iter().all(|(key, value)| pod.labels.get(key) == Some(value)))
            .collect()
    }
}

impl<'a> PodOwner<'a> {
    /// Init containers first.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        items(&self.spec["initContainers"])
            .iter()
            .chain(items(&self.spec["containers"]))
    }

    /// The ports of all containers, by name and number.
    pub(crate) fn ports(&self) -> Vec<(&'a str, u64)> {
        let ports = self.containers().flat_map(|container| items(&container["ports"]));
        ports
            .map(|port| (text(&port["name"]), port["containerPort"].as_u64().unwrap()))
            .collect()
    }

    /// The number of a port that is named or given.
    pub(crate) fn port(&self, wanted: &Value) -> Option<u64> {
        let ports = self.ports();
        let found = ports
            .iter()
            .find(|(name, number)| wanted == *name || wanted.as_u64() == Some(*number));
        found.map(|(_, number)| *number)
    }
}

/// The items of a list that may be missing.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Text that may be missing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Kind and name.
pub(crate) fn named(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
