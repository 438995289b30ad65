//! Texts of strangers, made fit to be shown to operators in terminals and logs.

/// `text` on one line, without what a terminal could obey or a reader not see.
pub(crate) fn on_one_line(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|char| if misleads(char) { ' ' } else { char })
        .collect();
    let words: Vec<_> = visible.split_whitespace().collect();
    words.join(" ")
}

/// The beginning of `text`, at most `max_bytes` long.
pub(crate) fn shortened(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

/// Control characters, and those that have no width or turn the direction of what follows.
fn misleads(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
