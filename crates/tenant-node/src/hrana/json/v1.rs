//! Version 1 of the HTTP API: one statement or one batch a request, without streams. libSQL's older clients speak nothing
//! else.
//!
//! Its answers are the inner parts of a pipeline's answer.

use super::read;
use crate::hrana::request::{Malformed, StreamRequest};

/// What stands around the result of a pipeline of one request.
const BEFORE_RESULT: [&[u8]; 2] = [
    b"{\"results\":[{\"type\":\"ok\",\"response\":{\"type\":\"execute\",\"result\":",
    b"{\"results\":[{\"type\":\"ok\",\"response\":{\"type\":\"batch\",\"result\":",
];
const AFTER_RESULT: &[u8] = b"}}";
const BEFORE_ERROR: &[u8] = b"{\"results\":[{\"type\":\"error\",\"error\":";
const AFTER_ERROR: &[u8] = b"}";

/// The body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hrana) enum Answer {
    Result(Vec<u8>),
    /// The statement failed: an `Error` structure.
    Error(Vec<u8>),
}

/// Reads the body of `/v1/execute`.
///
/// # Errors
/// Names the first field that is wrong.
pub(in crate::hrana) fn read_execute(body: &[u8]) -> Result<StreamRequest, Malformed> {
    read::v1_execute(body)
}

/// Reads the body of `/v1/batch`.
///
/// # Errors
/// Names the first field that is wrong.
pub(in crate::hrana) fn read_batch(body: &[u8]) -> Result<StreamRequest, Malformed> {
    read::v1_batch(body)
}

/// Takes the one result out of a pipeline's answer, of which only the end is missing.
pub(in crate::hrana) fn answer(mut pipeline: Vec<u8>) -> Answer {
    for before in BEFORE_RESULT {
        if pipeline.starts_with(before) && pipeline.ends_with(AFTER_RESULT) {
            pipeline.truncate(pipeline.len() - AFTER_RESULT.len());
            pipeline.splice(..before.len(), *b"{\"result\":");
            pipeline.push(b'}');
            return Answer::Result(pipeline);
        }
    }
    pipeline.truncate(pipeline.len().saturating_sub(AFTER_ERROR.len()));
    pipeline.drain(..BEFORE_ERROR.len().min(pipeline.len()));
    Answer::Error(pipeline)
}

#[cfg(test)]
mod tests {
    use super::super::Json;
    use super::*;
    use crate::hrana::encoding::{Encoding as _, ErrorText, ResultKind};

    #[test]
    fn the_one_result_is_found_in_what_the_encoding_writes() {
        for kind in [ResultKind::Execute, ResultKind::Batch] {
            let mut out = Vec::new();
            Json::begin_pipeline(&mut out);
            let start = Json::begin_result(&mut out, kind);
            out.extend_from_slice(b"{\"rows\":[]}");
            Json::end_result(&mut out, start, kind);
            assert_eq!(answer(out), Answer::Result(b"{\"result\":{\"rows\":[]}}".to_vec()));
        }
        let mut out = Vec::new();
        Json::begin_pipeline(&mut out);
        let error = ErrorText {
            message: "no",
            code: "SQLITE_ERROR",
        };
        Json::error_result(&mut out, error);
        let expected = b"{\"message\":\"no\",\"code\":\"SQLITE_ERROR\"}".to_vec();
        assert_eq!(answer(out), Answer::Error(expected));
    }
}
