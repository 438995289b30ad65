//! What is sent: one message, whose id, time and secrets are known to fit into headers.

use std::fmt;

use bytes::Bytes;

use crate::Secret;

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 256;
/// The most secrets: the old and the new one of a rotation, and room for two more in haste.
const MAX_SECRETS: usize = 4;

/// A message for one attempt. `Debug` shows neither body nor secrets.
#[derive(Clone)]
pub struct Message {
    id: Box<str>,
    timestamp: u64,
    body: Bytes,
    secrets: Vec<Secret>,
}

/// Parts that make no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// The id does not fit into a header, or could be taken for an id and a time.
    #[error("the id of a message has 1 to 256 visible ASCII characters and no full stop")]
    Id,
    /// Nothing to sign with, or too much.
    #[error("a message is signed with 1 to 4 secrets")]
    Secrets,
}

impl Message {
    /// A message that will be signed with each of `secrets`.
    ///
    /// `id` stays the same over all attempts, so that a receiver can tell what it has seen. `timestamp`, in seconds since
    /// 1970, is the time of this attempt, since receivers refuse what is old. `body` is JSON; its size is the caller's to bound.
    ///
    /// # Errors
    /// The id or the number of secrets breaks its rule.
    pub fn new(
        id: impl Into<Box<str>>,
        timestamp: u64,
        body: impl Into<Bytes>,
        secrets: Vec<Secret>,
    ) -> Result<Self, InvalidMessage> {
        let id = id.into();
        let visible = id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
        if id.is_empty() || id.len() > MAX_ID_BYTES || !visible {
            return Err(InvalidMessage::Id);
        }
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(InvalidMessage::Secrets);
        }
        Ok(Self {
            id,
            timestamp,
            body: body.into(),
            secrets,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn timestamp(&self) -> u64 {
        self.timestamp
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn signatures(&self) -> String {
        crate::sign_all(&self.secrets, &self.id, self.timestamp, &self.body)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes)", self.id, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_a_header_and_a_signed_text() {
        let message = |id: &str| Message::new(id, 1, "{}", vec![Secret::generate([7; 32])]);
        for good in ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1", &"x".repeat(256)] {
            assert!(message(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "a\r\nb", "ä", &"x".repeat(257)] {
            assert_eq!(message(bad).unwrap_err(), InvalidMessage::Id, "{bad}");
        }
    }

    #[test]
    fn one_to_four_secrets_sign_a_message() {
        for (count, good) in [(0, false), (1, true), (4, true), (5, false)] {
            let message = Message::new("msg_1", 1, "{}", vec![Secret::generate([7; 32]); count]);
            assert_eq!(message.is_ok(), good, "{count}");
        }
    }
}
