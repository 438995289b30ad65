//! Etags (AIP-154): the revision of a resource's last change, quoted as in HTTP.

use tenantry_types::Revision;
use tonic::Status;

use super::status;

/// The revision that an etag stands for; `None` for an empty one.
///
/// # Errors
/// When it is not one of ours.
pub(super) fn parse(field: &'static str, etag: &str) -> Result<Option<Revision>, Status> {
    if etag.is_empty() {
        return Ok(None);
    }
    let number = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    number.map(|revision| Some(Revision(revision))).ok_or_else(|| {
        status::invalid_field(field, format!("`{}` is not an etag of ours", etag.chars().take(40).collect::<String>()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_a_quoted_revision() {
        assert_eq!(parse("etag", "").unwrap(), None);
        assert_eq!(parse("etag", "\"17\"").unwrap(), Some(Revision(17)));
        for bad in ["17", "\"\"", "\"x\"", "W/\"1\"", "\"-1\""] {
            assert_eq!(parse("etag", bad).unwrap_err().code(), tonic::Code::InvalidArgument, "{bad}");
        }
    }
}
