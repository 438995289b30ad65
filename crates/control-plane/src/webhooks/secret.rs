//! What operators give and are shown of a webhook: its URL and its secrets.

use tenantry_types::WebhookSecret;
use webhook_delivery::{Endpoint, Secret};

/// Whether messages could be sent there, as far as the text tells.
///
/// # Errors
/// Says in words what is wrong.
pub fn check_url(url: &str) -> Result<(), String> {
    match url.parse::<Endpoint>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A secret from its text, `whsec_` and base64.
///
/// # Errors
/// Says in words what is wrong.
pub fn parse_secret(text: &str) -> Result<WebhookSecret, String> {
    let secret: Secret = text
        .parse()
        .map_err(|error: webhook_delivery::InvalidSecret| error.to_string())?;
    WebhookSecret::new(secret.bytes()).map_err(|error| error.to_string())
}

/// 32 random bytes.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_secret() -> Result<WebhookSecret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    WebhookSecret::new(&bytes).map_err(|_| getrandom::Error::UNEXPECTED)
}

/// The text of a secret, for the operator who created it.
#[must_use]
pub fn show_secret(secret: &WebhookSecret) -> String {
    signing(secret).map(|secret| secret.exposed()).unwrap_or_default()
}

/// The secret as messages are signed with it. Both kinds have the same bounds, so that there always is one.
pub(super) fn signing(secret: &WebhookSecret) -> Option<Secret> {
    Secret::new(secret.reveal()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_text() {
        let secret = new_secret().unwrap();
        assert_eq!(parse_secret(&show_secret(&secret)), Ok(secret));
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "secret"] {
            assert!(parse_secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_that_cannot_be_sent_to_are_refused() {
        assert_eq!(check_url("https://example.org/hook?key=1"), Ok(()));
        for bad in [
            "",
            "example.org",
            "ftp://example.org",
            "https://user:word@example.org/",
            "https://",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
