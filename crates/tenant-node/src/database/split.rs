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

/// Whether a text is a statement that writes rows and is nothing else: INSERT, UPDATE, DELETE or REPLACE, also behind WITH. A guess from
/// the words; what it really is, SQLite says.
#[must_use]
pub fn is_single_write(sql: &str) -> bool {
    verb(sql.as_bytes()).is_some_and(|(verb, _)| is_one_of(verb, &WRITES))
}

/// Whether a text is a statement that reads and does nothing else: SELECT, VALUES, also behind WITH, or EXPLAIN of what reads or writes rows. A
/// guess that errs on one side: what is said to read only, does.
#[must_use]
pub fn is_single_read(sql: &str) -> bool {
    match verb(sql.as_bytes()) {
        Some((verb, rest)) if is_one_of(verb, &["explain"]) => explains_rows(rest),
        Some((verb, _)) => is_one_of(verb, &READS),
        None => false,
    }
}

/// Whether what follows an EXPLAIN reads or writes rows. Anything else can leave its mark on the connection by being compiled.
fn explains_rows(rest: &[u8]) -> bool {
    let explained = match first_word(rest) {
        Some((word, rest)) if is_one_of(word, &["query"]) => match first_word(rest) {
            Some((word, rest)) if is_one_of(word, &["plan"]) => verb(rest),
            _ => None,
        },
        _ => verb(rest),
    };
    explained.is_some_and(|(verb, _)| is_one_of(verb, &READS) || is_one_of(verb, &WRITES))
}

/// Whether a text ends a transaction by undoing it: ROLLBACK, and not one to a savepoint.
#[must_use]
pub fn is_rollback(sql: &str) -> bool {
    let is_to = |token| matches!(token, Token::Word(word) if is_one_of(word, &["to"]));
    first_word(sql.as_bytes())
        .is_some_and(|(word, rest)| is_one_of(word, &["rollback"]) && !tokens(rest).any(|(token, _)| is_to(token)))
}

const READS: [&str; 2] = ["select", "values"];
const WRITES: [&str; 4] = ["insert", "update", "delete", "replace"];

fn is_one_of(word: &[u8], keywords: &[&str]) -> bool {
    keywords
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// The word that says what a statement does, and what follows it: the first or, behind WITH, the one after the common table expressions. Each
/// of these ends with a parenthesis, and before that only AS can follow one, which stands behind the columns.
fn verb(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = first_word(text)?;
    if !is_one_of(first, &["with"]) {
        return Some((first, rest));
    }
    let mut depth = 0_usize;
    let mut has_closed = false;
    for (token, rest) in tokens(rest) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.checked_sub(1)?,
            Token::Word(word) if has_closed && !is_one_of(word, &["as"]) => return Some((word, rest)),
            Token::Semicolon => return None,
            Token::Word(_) | Token::Space | Token::Other => {}
        }
        has_closed = depth == 0 && matches!(token, Token::Close);
    }
    None
}

/// The word that a text begins with, after spaces and comments, and what follows it.
fn first_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match tokens(text).next() {
        Some((Token::Word(word), rest)) => Some((word, rest)),
        _ => None,
    }
}

/// The tokens of a text without spaces and comments, and what follows each.
fn tokens(mut rest: &[u8]) -> impl Iterator<Item = (Token<'_>, &[u8])> {
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (token, length) = next_token(rest);
            rest = rest.get(length..).unwrap_or_default();
            if !matches!(token, Token::Space) {
                return Some((token, rest));
            }
        }
        None
    })
}

#[derive(Clone, Copy)]
enum Token<'a> {
    Semicolon,
    Open,
    Close,
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
        [b'(', ..] => (Token::Open, 1),
        [b')', ..] => (Token::Close, 1),
        [b'-', b'-', ..] => (Token::Space, through(rest, 2, b"\n")),
        [b'/', b'*', ..] => (Token::Space, through(rest, 2, b"*/")),
        [b'[', ..] => (Token::Other, through(rest, 1, b"]")),
        [quote @ (b'\'' | b'"' | b'`'), ..] => (Token::Other, through(rest, 1, &[*quote])),
        [b'$' | b'@' | b'#' | b':', ..] => (Token::Other, variable(rest)),
        [first, ..] if first.is_ascii_whitespace() => (
            Token::Space,
            rest.iter().take_while(|byte| goes_on_space(**byte)).count(),
        ),
        // A byte order mark.
        [0xef, 0xbb, 0xbf, ..] => (Token::Space, 3),
        _ => {
            let length = rest.iter().take_while(|byte| is_word(**byte)).count();
            match rest.get(..length) {
                Some(word) if length > 0 => (Token::Word(word), length),
                _ => (Token::Other, 1),
            }
        }
    }
}

/// A vertical tab is a space to SQLite where it follows another one, and no token by itself.
const fn goes_on_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The length of a variable. Like those of Tcl it may end with parentheses, and in them with anything but a space.
fn variable(rest: &[u8]) -> usize {
    let mut length = 1;
    let mut is_named = false;
    loop {
        match rest.get(length..) {
            Some([b':', b':', ..]) => length += 2,
            Some([b'(', index @ ..]) if is_named => {
                let is_inside = |byte: &&u8| **byte != b')' && !goes_on_space(**byte);
                length += 1 + index.iter().take_while(is_inside).count();
                return length + usize::from(rest.get(length) == Some(&b')'));
            }
            Some([byte, ..]) if is_word(*byte) => {
                is_named = true;
                length += 1;
            }
            _ => return length,
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
            (
                "\u{feff}create trigger t after insert on a begin select 1; end; x",
                "\u{feff}create trigger t after insert on a begin select 1; end;",
            ),
            (
                "select $a(;'), :b::c(\"), @d, #e; x",
                "select $a(;'), :b::c(\"), @d, #e;",
            ),
            ("select $a( ;) ; x", "select $a( ;"),
            (
                "create \u{b}trigger t after insert on a begin select 1; \u{b}end; x",
                "create \u{b}trigger t after insert on a begin select 1; \u{b}end;",
            ),
            ("select $(;); x", "select $(;"),
        ];
        for (script, expected) in cases {
            assert_eq!(&script[..first_statement(script)], expected, "{script}");
        }
    }

    #[test]
    fn a_single_write_is_known_by_its_verb() {
        let cases = [
            ("insert into t values (1)", true),
            ("  /* c */ -- d\n UPDATE t set x = 1", true),
            ("Delete from t", true),
            ("replace into t values (1)", true),
            ("\u{feff}insert into t values (1)", true),
            ("with c as (select 1) insert into t select * from c", true),
            (
                "WITH recursive c (a, b) AS not materialized (select ')'), d as (values (1)) -- select\n UPDATE t set x = 1",
                true,
            ),
            (
                "with [a)] as (select \"(\"), `b(` as (select 1)/* ) select */delete from t",
                true,
            ),
            (
                "with as_ as (select ($a())), insert_ as (select 1) replace into t values (1)",
                true,
            ),
            ("with c as (select 1) select * from c", false),
            (
                "with replace as (select replace(1, 2, 3)) select 'insert' as \"delete\" from replace",
                false,
            ),
            ("with c (a) as (with d as (select 1) select * from d) values (1)", false),
            ("with c as (select 1); insert into t values (1)", false),
            ("with c as (select 1)) insert into t values (1)", false),
            ("with insert", false),
            ("explain insert into t values (1)", false),
            ("pragma user_version = 1", false),
            ("values (1)", false),
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
    fn a_single_read_is_known_by_its_verb() {
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
            ("explain with c as (select 1) create temp table t (x)", false),
            ("explain pragma foreign_keys = off", false),
            ("explain query select 1", false),
            ("explain (select 1)", false),
            ("explain", false),
            (
                "with c as (select 'insert' as \"delete\") -- update\n select * from c",
                true,
            ),
            ("with c as (select replace(1, 2, 3)) select * from c", true),
            ("with c as (select 1) insert into t select * from c", false),
            ("with c as (select 1)\u{feff}insert into t select * from c", false),
            ("with c as (select $a(')) insert into t select 1 -- ') select 1", false),
            ("with c as (select 1) update t set x = 1", false),
            ("with c as (select 1) \u{b}insert into t (a) select * from c", false),
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
        fn every_cut_is_inside_the_text_and_on_a_character(script in "[a-z;'\"`\\[\\]é\u{feff}/*\\-$:@()# \n]{0,40}") {
            let cut = first_statement(&script);
            prop_assert!(script.is_char_boundary(cut));
            prop_assert!(cut > 0 || script.is_empty());
        }
    }
}
