//! Finds words in Rust code, leaving out comments and test modules. Relies on the layout that rustfmt gives.

/// Line number (from 1) and word, for each of `words` that a line of `text` contains as a whole word.
pub(super) fn mentions<'w>(text: &str, words: &[&'w str]) -> Vec<(usize, &'w str)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let code = line.split("//").next().unwrap_or_default();
        if code.trim() == "#[cfg(test)]" {
            skip_item(&mut lines);
            continue;
        }
        found.extend(
            words
                .iter()
                .filter(|word| contains_word(code, word))
                .map(|word| (index + 1, *word)),
        );
    }
    found
}

/// Moves past the item that follows an attribute: one line, or a block up to the brace in the item's own column.
fn skip_item<'t>(lines: &mut impl Iterator<Item = (usize, &'t str)>) {
    let mut end = None;
    for (_, line) in lines {
        match &end {
            Some(end) if line == end => return,
            Some(_) => {}
            None if line.trim_start().starts_with('#') => {}
            None if line.ends_with('{') => {
                let indent = line.len() - line.trim_start().len();
                end = Some(format!("{}}}", " ".repeat(indent)));
            }
            None => return,
        }
    }
}

fn contains_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_in_code_alone() {
        let text = "\
use std::collections::{BTreeMap, HashMap};
// HashMap in a comment
#[cfg(test)]
mod table_tests;
fn now() -> std::time::Instant {} // Instant
struct InstantCoffee;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    fn model() {
    }
}

type Late = HashMap<u8, u8>;
";
        assert_eq!(
            mentions(text, &["HashMap", "Instant"]),
            [(1, "HashMap"), (5, "Instant"), (15, "HashMap")]
        );
    }

    #[test]
    fn paths_are_words() {
        assert_eq!(mentions("let x = std::fs::read(p);", &["std::fs"]), [(1, "std::fs")]);
        assert_eq!(mentions("let x = my_std::fs_like();", &["std::fs"]), []);
    }
}
