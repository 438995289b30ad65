//! Characters as SQLite reads them: any bytes are a text, and what is not UTF-8 has characters, too.

/// Whether the byte goes on with a character that has begun.
pub(super) const fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// How many bytes the first character of a text that is not empty has. One that begins with 0xc0 or above takes all bytes that follow and go
/// on; any other is one byte.
pub(super) fn first_length(text: &[u8]) -> usize {
    match text {
        [] => 0,
        [0..0xc0, ..] => 1,
        [_, rest @ ..] => 1 + rest.iter().take_while(|byte| continues(**byte)).count(),
    }
}

/// The code of a character, of which these are all bytes.
pub(super) fn code(character: &[u8]) -> u32 {
    let (lead, rest) = match character {
        [] => return 0,
        [lead, rest @ ..] => (*lead, rest),
    };
    if lead < 0xc0 {
        return u32::from(lead);
    }
    let bits = match lead {
        0xc0..0xe0 => lead & 0x1f,
        0xe0..0xf0 => lead & 0x0f,
        0xf0..0xf8 => lead & 0x07,
        0xf8..0xfc => lead & 0x03,
        0xfc..0xfe => lead & 0x01,
        0xfe.. => 0,
        0..0xc0 => lead,
    };
    let code = rest.iter().fold(u32::from(bits), |code, byte| {
        (code << 6).wrapping_add(u32::from(byte & 0x3f))
    });
    // Overlong ones of ASCII and halves of UTF-16 pairs.
    if code < 0x80 || code & 0xffff_f800 == 0xd800 {
        return 0xfffd;
    }
    code
}

/// Reads characters. At the end it reads zeros, which stand nowhere else.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl Reader<'_> {
    #[inline]
    pub(super) fn next(&mut self) -> u32 {
        match self.rest {
            [] => 0,
            [ascii @ ..0x80, rest @ ..] => {
                self.rest = rest;
                u32::from(*ascii)
            }
            whole => {
                let (character, rest) = whole.split_at(first_length(whole));
                self.rest = rest;
                code(character)
            }
        }
    }
}
