//! What a PromQL expression reads: the names of its series and the labels that it asks of them.
//!
//! No grammar: every word outside of texts is sorted into one of the few kinds that PromQL has, and what is of no other kind is
//! the name of a series. So a name cannot be missed. A function that is not known cannot be taken for one, since it has its
//! parenthesis behind it. Whether the expression makes sense is for Prometheus to say.

use std::collections::{BTreeMap, BTreeSet};

/// Words of the language that stand alone. No series of ours is called like one.
const KEYWORDS: [&str; 10] = [
    "and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end",
];
/// Words before a list of labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What an expression reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Names of series, with the labels that are matched on each.
    pub(crate) series: BTreeMap<String, BTreeSet<String>>,
    /// Labels by which series are grouped and joined.
    pub(crate) grouped: BTreeSet<String>,
}

/// # Panics
/// When texts, braces or parentheses do not end.
pub(crate) fn reads(expression: &str) -> Reads {
    let tokens = tokens(expression);
    let mut found = Reads::default();
    let mut at = 0;
    let mut name: Option<&str> = None;
    while at < tokens.len() {
        let token = tokens[at];
        let next = tokens.get(at + 1).copied();
        at += 1;
        match token {
            "{" => {
                let end = at + position(&tokens[at..], "}", expression);
                let labels = tokens[at..end].iter().filter(|token| is_word(token));
                let name = name.unwrap_or_else(|| panic!("a selector without a name: {expression}"));
                let series = found.series.entry(name.to_owned()).or_default();
                series.extend(labels.map(|label| (*label).to_owned()));
                at = end + 1;
            }
            "[" => at += position(&tokens[at..], "]", expression) + 1,
            _ if !is_word(token) => {}
            _ if GROUPINGS.contains(&token) => {
                if next == Some("(") {
                    let end = at + 1 + position(&tokens[at + 1..], ")", expression);
                    let labels = tokens[at + 1..end].iter().filter(|token| is_word(token));
                    found.grouped.extend(labels.map(|label| (*label).to_owned()));
                    at = end + 1;
                }
            }
            _ if KEYWORDS.contains(&token.to_ascii_lowercase().as_str()) => {}
            // `sum by (x) (…)`: an aggregation may have its labels before its parenthesis.
            _ if next == Some("(") || next.is_some_and(|next| ["by", "without"].contains(&next)) => {}
            _ => {
                found.series.entry(token.to_owned()).or_default();
                name = Some(token);
                continue;
            }
        }
        name = None;
    }
    found
}

fn position(tokens: &[&str], wanted: &str, expression: &str) -> usize {
    let found = tokens.iter().position(|token| *token == wanted);
    found.unwrap_or_else(|| panic!("no {wanted} in {expression}"))
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || first == ':')
}

/// Words, numbers with their units, and single characters; texts are left out.
fn tokens(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => text_length(rest, first, expression),
            _ if first.is_ascii_alphanumeric() || first == '_' || first == ':' => rest
                .find(|next: char| !(next.is_ascii_alphanumeric() || next == '_' || next == ':' || next == '.'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !matches!(first, '#' | '"' | '\'' | '`') {
            found.push(token);
        }
        rest = after.trim_start();
    }
    found
}

fn text_length(rest: &str, quote: char, expression: &str) -> usize {
    let mut escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if next == quote => return at + 1,
            _ => {}
        }
    }
    panic!("a text without an end: {expression}")
}

#[test]
fn every_series_and_label_of_an_expression_is_found_and_nothing_else() {
    let cases: [(&str, &[(&str, &[&str])], &[&str]); 10] = [
        ("up", &[("up", &[])], &[]),
        ("up{job=\"a\",x!~'b{c}'} == 1", &[("up", &["job", "x"])], &[]),
        (
            "sum by (job, le) (rate(a_bucket{le=\"0.5\"}[5m]))",
            &[("a_bucket", &["le"])],
            &["job", "le"],
        ),
        (
            "sum(a) by (x) / on (y) group_left (z) b:c:rate5m",
            &[("a", &[]), ("b:c:rate5m", &[])],
            &["x", "y", "z"],
        ),
        (
            "histogram_quantile(0.99, c) > bool 1e3 or vector(0)",
            &[("c", &[])],
            &[],
        ),
        (
            "max(a offset 2m) - on () group_right () b > 0",
            &[("a", &[]), ("b", &[])],
            &[],
        ),
        (
            "a # not b\n unless c{d=`e\"`} offset -1h30m",
            &[("a", &[]), ("c", &["d"])],
            &[],
        ),
        (
            "topk(10, max without (g) (a{t=~\"\\\"b\\\"\"} / b) > Inf)",
            &[("a", &["t"]), ("b", &[])],
            &["g"],
        ),
        (
            "group_of_words + bytes + by_hand",
            &[("bytes", &[]), ("by_hand", &[]), ("group_of_words", &[])],
            &[],
        ),
        (
            "a[1h:5m] @ end() + absent(up{job=\"x\"})",
            &[("a", &[]), ("up", &["job"])],
            &[],
        ),
    ];
    for (expression, series, grouped) in cases {
        let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        let expected = Reads {
            series: series
                .iter()
                .map(|(name, labels)| ((*name).to_owned(), own(labels)))
                .collect(),
            grouped: own(grouped),
        };
        assert_eq!(reads(expression), expected, "{expression}");
    }
}
