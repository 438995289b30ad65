//! Options in layers: defaults, then a TOML file, then the environment, then flags.
//!
//! A component keeps its options in one struct whose fields are all `Option`, so that "not given" is told from every value;
//! the doc comment of a field is its help, and one function, `with_defaults`, fills in what was not given. Flags and
//! environment are clap's work. This module puts the file below them and refuses keys that nobody reads, by name. It must
//! not know any option.
//!
//! ```no_run
//! use clap::{CommandFactory, Parser};
//! use serde::{Deserialize, Serialize};
//! use service_runtime::config::{self, ConfigFile};
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     file: ConfigFile,
//!     #[command(flatten)]
//!     options: Options,
//! }
//!
//! #[derive(clap::Args, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Options {
//!     /// Address of the ops port. Default 127.0.0.1:7411.
//!     #[arg(long, env = "TENANTRY_OPS_LISTEN")]
//!     ops_listen: Option<std::net::SocketAddr>,
//!     /// Plain text and open access, on loopback only.
//!     #[arg(long, env = "TENANTRY_INSECURE_DEV", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
//!     insecure_dev: Option<bool>,
//! }
//!
//! let cli = Cli::parse();
//! let options = config::load(&Cli::command(), cli.file.config.as_deref(), cli.options)?;
//! # Ok::<(), config::ConfigError>(())
//! ```

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every environment key that Tenantry reads begins so.
pub const ENVIRONMENT_PREFIX: &str = "TENANTRY_";

/// Keys that a shell may hold for other programs of this project; a final `*` stands for any ending.
pub const SIBLING_KEYS: &[&str] = &[
    "TENANTRY_LOG",
    "TENANTRY_ENDPOINT",
    "TENANTRY_CTL_*",
    "TENANTRY_WEBHOOK_SECRET",
    "TENANTRY_BENCH_*",
    "TENANTRY_TEST_*",
];

/// The flag that names the file. Flattened into a daemon's command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigFile {
    /// TOML file with the options below; its keys are the flags' names with `_` for `-`.
    #[arg(long, env = "TENANTRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Keys with our prefix that no option reads: a typing error, or an option of another version.
    #[error("unknown environment key {}", .keys.join(", "))]
    UnknownEnvironment {
        /// The keys, sorted.
        keys: Vec<String>,
    },
    /// The file could not be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML, or has a key or a value that no option takes.
    #[error("the configuration file {} is not valid", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Names the line and the key.
        source: Box<toml::de::Error>,
    },
    /// A value given by flag or environment has no form in TOML (a path that is not Unicode, a number beyond 63 bits).
    #[error("an option given by flag or environment has no form in a configuration file")]
    Inexpressible {
        /// What has no form.
        source: toml::ser::Error,
    },
}

/// Refuses unknown environment keys, then puts the file (if any) below `given`, which is what clap read from flags
/// and environment. `command` is the whole command line, subcommands included.
///
/// # Errors
/// See [`ConfigError`].
pub fn load<T>(command: &clap::Command, file: Option<&Path>, given: T) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    refuse_unknown_environment(command, SIBLING_KEYS, env::vars_os().map(|(key, _)| key))?;
    match file {
        None => Ok(given),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
            over_file(path, &text, &given)
        }
    }
}

/// The values of `text` with those of `given` over them. `path` is for messages.
///
/// # Errors
/// See [`ConfigError`].
pub fn over_file<T>(path: &Path, text: &str, given: &T) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let invalid = |source| ConfigError::Invalid {
        path: path.to_owned(),
        source: Box::new(source),
    };
    // Read as `T` first: only so does the message show the line of a key that is unknown or of the wrong type.
    toml::from_str::<T>(text).map_err(invalid)?;
    let mut merged: toml::Table = toml::from_str(text).map_err(invalid)?;
    let given = toml::Table::try_from(given).map_err(|source| ConfigError::Inexpressible { source })?;
    merged.extend(given);
    merged.try_into().map_err(invalid)
}

/// Refuses keys that begin with [`ENVIRONMENT_PREFIX`] and are neither read by an argument of `command` nor in `allowed`.
///
/// Kubernetes adds such keys by itself for services whose names begin with `tenantry`; a pod spec switches that off with
/// `enableServiceLinks: false`.
///
/// # Errors
/// [`ConfigError::UnknownEnvironment`] with every such key.
pub fn refuse_unknown_environment(
    command: &clap::Command,
    allowed: &[&str],
    keys: impl IntoIterator<Item = OsString>,
) -> Result<(), ConfigError> {
    let mut known = BTreeSet::new();
    collect_keys(command, &mut known);
    let is_allowed = |key: &str| {
        allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == *pattern,
        })
    };
    let mut unknown: Vec<String> = keys
        .into_iter()
        .map(|key| key.to_string_lossy().into_owned())
        .filter(|key| key.starts_with(ENVIRONMENT_PREFIX) && !known.contains(key) && !is_allowed(key))
        .collect();
    unknown.sort();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::UnknownEnvironment { keys: unknown })
    }
}

/// `options` as a configuration file that says the same. What is not set is left out.
///
/// # Errors
/// [`ConfigError::Inexpressible`] for a value that TOML cannot hold.
pub fn to_toml<T: Serialize>(options: &T) -> Result<String, ConfigError> {
    toml::to_string(options).map_err(|source| ConfigError::Inexpressible { source })
}

fn collect_keys(command: &clap::Command, keys: &mut BTreeSet<String>) {
    keys.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_env())
            .map(|key| key.to_string_lossy().into_owned()),
    );
    for subcommand in command.get_subcommands() {
        collect_keys(subcommand, keys);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::{CommandFactory, FromArgMatches, Parser};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: Option<Action>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Action {
        Restore {
            #[arg(long, env = "TENANTRY_RESTORE_FROM")]
            from: Option<PathBuf>,
        },
    }

    #[derive(Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[arg(long, env = "TENANTRY_LISTEN")]
        listen: Option<SocketAddr>,
        #[arg(long)]
        election_timeout_ms: Option<u64>,
        #[arg(long, value_delimiter = ',')]
        peers: Option<Vec<String>>,
        #[arg(long)]
        data_dir: Option<PathBuf>,
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        insecure_dev: Option<bool>,
    }

    fn flags(args: &[&str]) -> Options {
        let matches = Cli::command().no_binary_name(true).try_get_matches_from(args).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        assert!(cli.file.config.is_none() && cli.action.is_none());
        cli.options
    }

    fn merged(file: &str, args: &[&str]) -> Result<Options, ConfigError> {
        over_file(Path::new("node.toml"), file, &flags(args))
    }

    #[test]
    fn flags_win_over_the_file_field_by_field() {
        let file = "listen = '127.0.0.1:1'\nelection_timeout_ms = 700\npeers = ['a', 'b']\ninsecure_dev = true\n";
        let expected = Options {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            election_timeout_ms: Some(700),
            peers: Some(vec!["c".to_owned()]),
            data_dir: Some("data".into()),
            insecure_dev: Some(false),
        };
        let args = [
            "--listen",
            "127.0.0.1:2",
            "--peers",
            "c",
            "--data-dir",
            "data",
            "--insecure-dev=false",
        ];
        assert_eq!(merged(file, &args).unwrap(), expected);
    }

    #[test]
    fn what_nobody_gave_stays_unset() {
        assert_eq!(merged("", &[]).unwrap(), Options::default());
        assert_eq!(
            merged("", &["--insecure-dev"]).unwrap().insecure_dev,
            Some(true),
            "a flag needs no value"
        );
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_line_and_the_key() {
        for (file, named) in [
            ("lisen = '127.0.0.1:1'", "unknown field `lisen`"),
            ("\nlisten = 'here'", "line 2"),
            ("election_timeout_ms = '700'", "election_timeout_ms"),
            ("listen = ", "line 1"),
        ] {
            let refusal = merged(file, &["--listen", "127.0.0.1:2"]).unwrap_err();
            let ConfigError::Invalid { path, source } = refusal else {
                panic!("{file}: {refusal}")
            };
            assert_eq!(path, Path::new("node.toml"));
            assert!(source.to_string().contains(named), "{file}: {source}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refusal = load(
            &Cli::command(),
            Some(Path::new("/nowhere/node.toml")),
            Options::default(),
        )
        .unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "cannot read the configuration file /nowhere/node.toml"
        );
    }

    #[test]
    fn options_written_as_a_file_are_read_back_the_same() {
        let options = flags(&["--peers", "a,b", "--listen", "[::1]:2", "--insecure-dev=false"]);
        let file = to_toml(&options).unwrap();
        assert_eq!(
            file,
            "listen = \"[::1]:2\"\npeers = [\"a\", \"b\"]\ninsecure_dev = false\n"
        );
        assert_eq!(merged(&file, &[]).unwrap(), options);
    }

    #[test]
    fn a_flag_without_a_form_in_toml_is_an_error_not_a_panic() {
        let refusal = merged("", &["--election-timeout-ms", "18446744073709551615"]).unwrap_err();
        assert!(matches!(refusal, ConfigError::Inexpressible { .. }), "{refusal}");
    }

    #[test]
    fn unknown_environment_keys_are_refused_by_name() {
        let check = |keys: &[&str]| {
            refuse_unknown_environment(&Cli::command(), SIBLING_KEYS, keys.iter().map(OsString::from))
                .map_err(|refusal| refusal.to_string())
        };
        let known = [
            "TENANTRY_LISTEN",
            "TENANTRY_CONFIG",
            "TENANTRY_RESTORE_FROM",
            "TENANTRY_LOG",
        ];
        assert_eq!(check(&known), Ok(()));
        assert_eq!(
            check(&["PATH", "TENANTRY", "tenantry_listen", "TENANTRY_BENCH_SECONDS"]),
            Ok(())
        );
        assert_eq!(
            check(&["TENANTRY_LOGG", "TENANTRY_LISTEN", "TENANTRY_BENCHMARK"]),
            Err("unknown environment key TENANTRY_BENCHMARK, TENANTRY_LOGG".to_owned())
        );
    }
}
