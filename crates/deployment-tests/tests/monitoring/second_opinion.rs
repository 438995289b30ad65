//! Our reading of expressions beside that of a parser that is not ours.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use deployment_tests::python_tools;
use process_tests::{run_bounded, skip};

use crate::live::expressions;
use crate::promql::reads;

const PATIENCE: Duration = Duration::from_secs(60);

/// Prints for each expression the names of its selectors, sorted.
const SCRIPT: &str = r#"
import json, sys, promql_parser

def names(node, found):
    if isinstance(node, promql_parser.VectorSelector):
        found.add(node.name)
    for part in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(node, part, None)
        for each in inner if isinstance(inner, (list, tuple)) else [inner]:
            if isinstance(each, promql_parser.Expr):
                names(each, found)
    return found

expressions = json.load(open(sys.argv[1]))
print(json.dumps([sorted(names(promql_parser.parse(each), set())) for each in expressions]))
"#;

#[test]
fn a_parser_that_is_not_ours_finds_the_same_series() {
    let programs = match python_tools("promql-parser", &["promql-parser==0.11.0"]) {
        Ok(programs) => programs,
        Err(reason) => return skip("a_parser_that_is_not_ours_finds_the_same_series", &reason),
    };
    let folder = tempfile::tempdir().unwrap();
    let (script, list) = (folder.path().join("names.py"), folder.path().join("expressions.json"));
    let expressions: Vec<String> = expressions().into_iter().map(|(_, expression)| expression).collect();
    fs::write(&script, SCRIPT).unwrap();
    fs::write(&list, serde_json::to_string(&expressions).unwrap()).unwrap();
    let told = run_bounded(Command::new(programs.join("python")).arg(&script).arg(&list), PATIENCE).unwrap();
    let theirs: Vec<BTreeSet<String>> = serde_json::from_str(&told).unwrap();
    assert_eq!(theirs.len(), expressions.len());
    for (expression, theirs) in expressions.iter().zip(theirs) {
        let ours: BTreeSet<String> = reads(expression).series.into_keys().collect();
        assert!(
            !theirs.is_empty() && ours == theirs,
            "{ours:?} and {theirs:?} in {expression}"
        );
    }
}
