//! Raft messages in words, for traces and for people. Decides nothing.

use bytes::Bytes;
use raft::eraftpb::MessageType;

use super::codec::decode_message;

/// One line on what a member's message says.
#[must_use]
pub fn describe_message(bytes: &Bytes) -> String {
    let Ok(message) = decode_message(bytes) else {
        return "no raft message".to_owned();
    };
    let kind = format!("{:?}", message.get_msg_type());
    let kind = kind.trim_start_matches("Msg");
    let mut text = format!("{kind} term {}", message.term);
    let mut add = |more: String| text.push_str(&more);
    match message.get_msg_type() {
        MessageType::MsgAppend => add(format!(
            " {} entries after {} of term {}, commit {}",
            message.entries.len(),
            message.index,
            message.log_term,
            message.commit
        )),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            add(format!(" with a log to {} of term {}", message.index, message.log_term));
        }
        MessageType::MsgSnapshot => {
            let metadata = message.get_snapshot().get_metadata();
            add(format!(" of {} of term {}", metadata.index, metadata.term));
        }
        MessageType::MsgHeartbeat => add(format!(" commit {}", message.commit)),
        MessageType::MsgAppendResponse => add(format!(" index {}", message.index)),
        _ => {}
    }
    if message.reject {
        text.push_str(" rejected");
    }
    text
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Message;

    use super::*;
    use crate::raft::codec::encode_message;

    #[test]
    fn a_message_is_described_by_what_tells_it_from_others() {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppendResponse);
        (message.term, message.index, message.reject) = (3, 17, true);
        let bytes = encode_message(&message).unwrap();
        assert_eq!(describe_message(&bytes), "AppendResponse term 3 index 17 rejected");
        assert_eq!(describe_message(&Bytes::from_static(b"\xff")), "no raft message");
    }
}
