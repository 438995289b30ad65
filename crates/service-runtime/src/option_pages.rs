//! Pages about a daemon's options, written from its command line and its defaults: an example file and a table.
//!
//! For the daemons' tests, which hold `deploy/config` and `docs/configuration.md` by it, and for nothing at run time. What
//! cannot be known from the options, such as a good value for one without a default, its caller says in [`Sample`]s.

use std::fmt::Write as _;

use clap::{Arg, Args, Command};
use toml::{Table, Value};

use crate::config::ENVIRONMENT_PREFIX;

mod held;

pub use held::{RENEW_KEY, hold, hold_part};

/// A value for an example.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The option's key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Whether the example sets it, or shows it in a comment.
    pub is_set: bool,
}

impl Sample {
    /// A value that the example sets.
    #[must_use]
    pub fn set(key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            key,
            value: value.into(),
            is_set: true,
        }
    }

    /// A value that the example shows in a comment.
    #[must_use]
    pub fn shown(key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            is_set: false,
            ..Self::set(key, value)
        }
    }
}

/// One option, as people read of it.
#[derive(Debug, Clone)]
pub struct OptionPage {
    key: String,
    /// Without its default.
    help: String,
    default: Default,
    sample: Option<Sample>,
}

#[derive(Debug, Clone)]
enum Default {
    /// The same on every machine.
    Fixed(Value),
    /// In words.
    Told(String),
    /// There is none.
    Absent,
}

/// What there is to say of each option of `T`. `defaults` is what is in effect when nothing but needful options was given.
///
/// # Errors
/// In words: an option whose names do not follow the rule, whose help tells another default than the one in effect, that has
/// neither a fixed default nor a sample; a sample for no option.
pub fn pages_of<T: Args>(defaults: &Table, samples: &[Sample]) -> Result<Vec<OptionPage>, String> {
    let command = T::augment_args(Command::new("options"));
    let pages: Vec<OptionPage> = command
        .get_arguments()
        .map(|argument| page_of(argument, defaults, samples))
        .collect::<Result<_, _>>()?;
    match samples
        .iter()
        .find(|sample| pages.iter().all(|page| page.key != sample.key))
    {
        Some(sample) => Err(format!("{}: a sample for no option", sample.key)),
        None => Ok(pages),
    }
}

fn page_of(argument: &Arg, defaults: &Table, samples: &[Sample]) -> Result<OptionPage, String> {
    let key = argument.get_id().as_str().to_owned();
    let environment = argument.get_env().map(|key| key.to_string_lossy().into_owned());
    if argument.get_long() != Some(&flag_of(&key)) || environment.as_ref() != Some(&environment_of(&key)) {
        return Err(format!("{key}: its flag and its environment key must be named alike"));
    }
    let help = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string);
    let (help, told) = split_default(&help.ok_or_else(|| format!("{key}: has no help"))?);
    let sample = samples.iter().find(|sample| sample.key == key).cloned();
    let default = match (defaults.get(&key), told) {
        // A switch that is off needs no word.
        (Some(Value::Boolean(false)), None) => Default::Fixed(Value::Boolean(false)),
        (Some(value), Some(told)) if plain(value) == told => Default::Fixed(value.clone()),
        (_, Some(told)) if sample.is_some() => Default::Told(told),
        (_, None) if sample.is_some() => Default::Absent,
        (value, told) => {
            let (value, told) = (value.map(plain), told.unwrap_or_default());
            return Err(format!(
                "{key}: the default is {value:?} and the help says `{told}`; if it is no fixed value, give a sample"
            ));
        }
    };
    Ok(OptionPage {
        key,
        help,
        default,
        sample,
    })
}

/// Help without `[default: …]`, and what stood there.
fn split_default(help: &str) -> (String, Option<String>) {
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = help
        .split_once(" [default: ")
        .and_then(|(before, rest)| rest.split_once(']').map(|(told, after)| (before, told, after)));
    let (text, told) = match parts {
        Some((before, told, after)) => (format!("{before}{after}"), Some(told.to_owned())),
        None => (help, None),
    };
    let end = if text.ends_with('.') { "" } else { "." };
    (format!("{text}{end}"), told)
}

fn flag_of(key: &str) -> String {
    key.replace('_', "-")
}

fn environment_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase())
}

/// A value as a flag takes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// A configuration file for `program`: each option with its help; those set that a sample sets, the others in comments.
#[must_use]
pub fn example(program: &str, intro: &str, pages: &[OptionPage]) -> String {
    let mut text = String::new();
    for line in wrapped(&format!(
        "Options of {program}. {intro} A value in a comment is the default or, where the text tells another default or none, \
         an example. Flags and environment win over this file; docs/configuration.md has the rules. Check it with: \
         {program} --config FILE --check-config"
    )) {
        let _ = writeln!(text, "# {line}");
    }
    for page in pages {
        text.push('\n');
        let is_set = page.sample.as_ref().is_some_and(|sample| sample.is_set);
        let told = match &page.default {
            Default::Told(told) => format!(" Default: {told}."),
            Default::Fixed(value) if is_set => format!(" Default: {}.", plain(value)),
            Default::Fixed(_) | Default::Absent => String::new(),
        };
        for line in wrapped(&format!("{}{told}", page.help)) {
            let _ = writeln!(text, "# {line}");
        }
        let fixed = match &page.default {
            Default::Fixed(value) => Some(value),
            Default::Told(_) | Default::Absent => None,
        };
        let (value, mark) = match &page.sample {
            Some(sample) if sample.is_set => (Some(&sample.value), ""),
            sample => (fixed.or(sample.as_ref().map(|sample| &sample.value)), "#"),
        };
        if let Some(value) = value {
            let _ = writeln!(text, "{mark}{} = {value}", page.key);
        }
    }
    text
}

/// `text` in lines of a page's width.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 110;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// All options in a table of Markdown.
#[must_use]
pub fn table(pages: &[OptionPage]) -> String {
    let mut text = "| key in the file | flag | environment | default | meaning |\n|---|---|---|---|---|\n".to_owned();
    for page in pages {
        let default = match &page.default {
            Default::Fixed(value) => format!("`{}`", plain(value)),
            Default::Told(told) => told.clone(),
            Default::Absent => "none".to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | `--{}` | `{}` | {} | {} |",
            page.key,
            flag_of(&page.key),
            environment_of(&page.key),
            default.replace('|', "\\|"),
            page.help.replace('|', "\\|"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Args)]
    struct Options {
        /// Who this is.
        #[arg(long, env = "TENANTRY_NAME")]
        name: Option<String>,
        /// Length of a tick, in
        /// milliseconds [default: 50]. Short ones cost.
        #[arg(long, env = "TENANTRY_TICK_MS")]
        tick_ms: Option<u64>,
        /// Cores that are used [default: all].
        #[arg(long, env = "TENANTRY_CORES")]
        cores: Option<u64>,
    }

    fn defaults(tick_ms: i64) -> Table {
        Table::from_iter([
            ("tick_ms".to_owned(), Value::from(tick_ms)),
            ("cores".to_owned(), Value::from(16)),
        ])
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::set("name", "here"), Sample::shown("cores", 4)]
    }

    #[test]
    fn an_example_sets_what_it_must_and_shows_the_rest() {
        let pages = pages_of::<Options>(&defaults(50), &samples()).unwrap();
        let example = example("ticker", "For one machine.", &pages);
        let (intro, options) = example.split_once("\n\n").unwrap();
        assert!(intro.starts_with("# Options of ticker. For one machine."), "{intro}");
        assert_eq!(
            options,
            "# Who this is.\nname = \"here\"\n\n\
             # Length of a tick, in milliseconds. Short ones cost.\n#tick_ms = 50\n\n\
             # Cores that are used. Default: all.\n#cores = 4\n"
        );
        let table = table(&pages);
        assert_eq!(
            table.lines().nth(3).unwrap(),
            "| `tick_ms` | `--tick-ms` | `TENANTRY_TICK_MS` | `50` | Length of a tick, in milliseconds. Short ones cost. |"
        );
    }

    #[test]
    fn a_help_that_tells_another_default_and_a_missing_sample_are_refused() {
        let refusal = pages_of::<Options>(&defaults(60), &samples()).unwrap_err();
        assert!(refusal.starts_with("tick_ms: the default is Some(\"60\")"), "{refusal}");
        let refusal = pages_of::<Options>(&defaults(50), &samples()[..1]).unwrap_err();
        assert!(refusal.starts_with("cores: "), "{refusal}");
        let mut more = samples();
        more.push(Sample::shown("colour", "red"));
        let refusal = pages_of::<Options>(&defaults(50), &more).unwrap_err();
        assert_eq!(refusal, "colour: a sample for no option");
    }
}
