//! Finds where the first statement of a script ends, so that a long script is compiled piece by piece: SQLite copies the
//! whole remaining text for each statement that it compiles.

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Explain,
    Create,
    Ordinary,
    Trigger,
    TriggerAfterSemicolon,
    TriggerAfterEnd,
}

/// Whether a text begins like a statement that writes rows and is nothing else: INSERT, UPDATE, DELETE, REPLACE, or WITH, which may be one of
/// these. A guess from the first word; what it really is, SQLite says.
#[must_use]
pub fn is_single_write(sql: &str) -> bool {
    first_word(sql.as_bytes()).is_some_and(|(word, _)| is_one_of(word, &["with"]) || is_one_of(word, &WRITES))
}

/// Whether a text is a statement that reads and does nothing else: SELECT, VALUES, WITH where no word of the text could make a write of it,
/// or EXPLAIN of what reads or writes rows. A guess that errs on one side: what is said to read only, does.
#[must_use]
pub fn is_single_read(sql: &str) -> bool {
    match first_word(sql.as_bytes()) {
        Some((word, rest)) if is_one_of(word, &["with"]) => !words(rest).any(|word| is_one_of(word, &WRITES)),
        Some((word, rest)) if is_one_of(word, &["explain"]) => explains_rows(rest),
        Some((word, _)) => is_one_of(word, &READS),
        None => false,
    }
}

/// Whether what follows an EXPLAIN reads or writes rows. Anything else can leave its mark on the connection by being compiled.
fn explains_rows(rest: &[u8]) -> bool {
    let explained = match first_word(rest) {
        Some((word, rest)) if is_one_of(word, &["query"]) => match first_word(rest) {
            Some((word, rest)) if is_one_of(word, &["plan"]) => first_word(rest),
            _ => None,
        },
        explained => explained,
    };
    explained.is_some_and(|(word, _)| is_one_of(word, &["with"]) || is_one_of(word, &READS) || is_one_of(word, &WRITES))
}

/// Whether a text ends a transaction by undoing it: ROLLBACK, and not one to a savepoint.
#[must_use]
pub fn is_rollback(sql: &str) -> bool {
    first_word(sql.as_bytes())
        .is_some_and(|(word, rest)| is_one_of(word, &["rollback"]) && !words(rest).any(|word| is_one_of(word, &["to"])))
}

const READS: [&str; 2] = ["select", "values"];
const WRITES: [&str; 4] = ["insert", "update", "delete", "replace"];

fn is_one_of(word: &[u8], keywords: &[&str]) -> bool {
    keywords
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// The word that a text begins with, after spaces and comments, and what follows it.
fn first_word(mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    while !rest.is_empty() {
        let (token, length) = next_token(rest);
        rest = rest.get(length..).unwrap_or_default();
        match token {
            Token::Space => {}
            Token::Word(word) => return Some((word, rest)),
            Token::Semicolon | Token::Other => return None,
        }
    }
    None
}

/// The words of a text that stand outside of quotes and comments.
fn words(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (token, length) = next_token(rest);
            rest = rest.get(length..).unwrap_or_default();
            if let Token::Word(word) = token {
                return Some(word);
            }
        }
        None
    })
}

enum Token<'a> {
    Semicolon,
    Word(&'a [u8]),
    Space,
    Other,
}

/// The length in bytes of the first statement of `script` with its semicolon, or of all of it where no statement ends. The
/// semicolons inside strings, names, comments and trigger bodies do not count.
#[must_use]
pub fn first_statement(script: &str) -> usize {
    let bytes = script.as_bytes();
    let mut state = State::Start;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = next_token(rest);
        at += length;
        state = match (state, token) {
            (_, Token::Space) => state,
            (State::Trigger | State::TriggerAfterSemicolon, Token::Semicolon) => State::TriggerAfterSemicolon,
            (_, Token::Semicolon) => return at,
            (State::TriggerAfterSemicolon, Token::Word(word)) if word.eq_ignore_ascii_case(b"end") => {
                State::TriggerAfterEnd
            }
            (State::Trigger | State::TriggerAfterSemicolon | State::TriggerAfterEnd, _) => State::Trigger,
            (State::Start, Token::Word(word)) if word.eq_ignore_ascii_case(b"explain") => State::Explain,
            (State::Start | State::Explain, Token::Word(word)) if word.eq_ignore_ascii_case(b"create") => State::Create,
            (State::Explain, Token::Word(_)) => State::Explain,
            (State::Create, Token::Word(word)) if word.eq_ignore_ascii_case(b"trigger") => State::Trigger,
            (State::Create, Token::Word(word))
                if word.eq_ignore_ascii_case(b"temp") || word.eq_ignore_ascii_case(b"temporary") =>
            {
                State::Create
            }
            _ => State::Ordinary,
        };
    }
    bytes.len()
}

fn next_token(rest: &[u8]) -> (Token<'_>, usize) {
    match rest {
        [b';', ..] => (Token::Semicolon, 1),
        [b'-', b'-', ..] => (Token::Space, through(rest, 2, b"\n")),
        [b'/', b'*', ..] => (Token::Space, through(rest, 2, b"*/")),
        [b'[', ..] => (Token::Other, through(rest, 1, b"]")),
        [quote @ (b'\'' | b'"' | b'`'), ..] => (Token::Other, through(rest, 1, &[*quote])),
        [first, ..] if first.is_ascii_whitespace() => (Token::Space, 1),
        _ => {
            let length = rest.iter().take_while(|byte| is_word(**byte)).count();
            match rest.get(..length) {
                Some(word) if length > 0 => (Token::Word(word), length),
                _ => (Token::Other, 1),
            }
        }
    }
}

/// The position after the first `end` at or after `from`, or the end of the text.
fn through(rest: &[u8], from: usize, end: &[u8]) -> usize {
    rest.get(from..)
        .and_then(|tail| tail.windows(end.len()).position(|window| window == end))
        .map_or(rest.len(), |position| from + position + end.len())
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_end_at_the_semicolons_that_count() {
        let cases = [
            ("select 1; select 2", "select 1;"),
            ("select ';'; x", "select ';';"),
            ("select 'it''s; '; x", "select 'it''s; ';"),
            ("select \";\", `;`, [;]; x", "select \";\", `;`, [;];"),
            ("-- a; b\nselect 1; x", "-- a; b\nselect 1;"),
            ("/* ; */ select 1; x", "/* ; */ select 1;"),
            (";select 1;", ";"),
            ("select 1", "select 1"),
            ("", ""),
            (
                "create temp trigger t after insert on a begin select case 1 when 1 then 2 end; select 2; end; x",
                "create temp trigger t after insert on a begin select case 1 when 1 then 2 end; select 2; end;",
            ),
            ("create table trigger_log(x); x", "create table trigger_log(x);"),
            ("explain query plan select 1; x", "explain query plan select 1;"),
            ("select 'open; x", "select 'open; x"),
            ("/* open; x", "/* open; x"),
            ("sélect é; x", "sélect é;"),
        ];
        for (script, expected) in cases {
            assert_eq!(&script[..first_statement(script)], expected, "{script}");
        }
    }

    #[test]
    fn a_single_write_is_known_by_its_first_word() {
        let cases = [
            ("insert into t values (1)", true),
            ("  /* c */ -- d\n UPDATE t set x = 1", true),
            ("Delete from t", true),
            ("replace into t values (1)", true),
            ("with c as (select 1) select * from c", true),
            ("select 1", false),
            ("begin", false),
            ("create table inserted (x)", false),
            ("(insert)", false),
            (";insert into t values (1)", false),
            ("  -- only a comment", false),
            ("", false),
            ("inserts", false),
        ];
        for (sql, expected) in cases {
            assert_eq!(is_single_write(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_rollback_is_told_from_one_to_a_savepoint() {
        for (sql, expected) in [
            ("rollback", true),
            (" /* c */ ROLLBACK transaction; -- to", true),
            ("rollback to a", false),
            ("rollback transaction to savepoint a", false),
            ("commit", false),
            ("", false),
        ] {
            assert_eq!(is_rollback(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_single_read_is_known_by_its_words() {
        let cases = [
            ("select 1", true),
            (" /* c */ VALUES (1)", true),
            ("explain insert into t values (1)", true),
            (
                "EXPLAIN /* c */ query -- d\n plan with c as (select 1) select * from c",
                true,
            ),
            ("explain query plan replace into t values (1)", true),
            ("explain create temp table t (x)", false),
            ("explain query plan create temp view v as select 1", false),
            ("explain pragma foreign_keys = off", false),
            ("explain query select 1", false),
            ("explain (select 1)", false),
            ("explain", false),
            (
                "with c as (select 'insert' as \"delete\") -- update\n select * from c",
                true,
            ),
            ("with c as (select 1) insert into t select * from c", false),
            ("with c as (select 1) update t set x = 1", false),
            ("with c as (select 1) DELETE from t", false),
            ("insert into t values (1) returning x", false),
            ("pragma user_version", false),
            ("begin", false),
            ("(select 1)", false),
            ("selects", false),
            ("", false),
        ];
        for (sql, expected) in cases {
            assert_eq!(is_single_read(sql), expected, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_is_inside_the_text_and_on_a_character(script in "[a-z;'\"`\\[\\]é/*\\- \n]{0,40}") {
            let cut = first_statement(&script);
            prop_assert!(script.is_char_boundary(cut));
            prop_assert!(cut > 0 || script.is_empty());
        }
    }
}
