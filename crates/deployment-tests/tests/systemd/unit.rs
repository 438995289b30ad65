//! A unit file, as far as these tests read it.

use std::fs;

use deployment_tests::deploy;

/// The units of both daemons.
pub(crate) const UNITS: [&str; 2] = ["tenantry-control-plane.service", "tenantry-node.service"];

pub(crate) struct Unit {
    pub(crate) text: String,
}

impl Unit {
    pub(crate) fn read(name: &str) -> Self {
        let path = deploy().join("systemd").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!text.contains("\\\n"), "{name}: these tests read no continued lines");
        Self { text }
    }

    /// Every value of `key`.
    fn values(&self, key: &str) -> Vec<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
    }

    /// The value of a key that stands once.
    pub(crate) fn value(&self, key: &str) -> &str {
        match self.values(key).as_slice() {
            [value] => value,
            other => panic!("{key} stands {} times", other.len()),
        }
    }

    fn command(&self) -> Vec<&str> {
        self.value("ExecStart").split_whitespace().collect()
    }

    /// Name of the program that it starts.
    pub(crate) fn program(&self) -> &str {
        let path = self.command()[0];
        let name = path.strip_prefix("/usr/local/bin/");
        name.unwrap_or_else(|| panic!("{path} is not where the programs are installed"))
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        self.command().into_iter().skip(1).map(str::to_owned).collect()
    }

    /// Keys and values that it sets.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let words = self.values("Environment").into_iter().flat_map(str::split_whitespace);
        words
            .map(|word| word.split_once('=').unwrap_or_else(|| panic!("`{word}` sets nothing")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}
