//! How a command fails: one line that names what is wrong, a hint where one helps, and the exit code.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use control_client::{CallError, WatchError};
use tonic::Code;

/// Why a command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage { message: String, hint: Option<String> },
    /// The control plane said no, or does not answer.
    Call(CallError),
    /// A watch ended.
    Watch(WatchError),
    /// An answer that does not follow the protocol.
    Answer(&'static str),
    /// A file that cannot be read or written, or is not what it should be.
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, in words that follow its name.
        what: String,
    },
    /// What was asked for was done and came to nothing.
    Failed(String),
    /// Not confirmed.
    Declined,
    /// The terminal or the file behind it.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Writes the failure and gives the exit code.
    pub(crate) fn report(&self, stderr: &mut impl Write) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // Whoever reads has enough, as in `tenantctl … | head`.
            return ExitCode::SUCCESS;
        }
        // There is nowhere to report that stderr cannot be written.
        let _ = writeln!(stderr, "error: {}", one_line(&self.message()));
        if let Some(hint) = self.hint() {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        ExitCode::from(self.exit_code())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Call(CallError::Unavailable { .. }) => 3,
            Self::Call(CallError::OutcomeUnknown { .. }) => 4,
            _ => 1,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Usage { message, .. } => message.clone(),
            Self::Call(error @ (CallError::Unavailable { last, .. } | CallError::OutcomeUnknown { last, .. })) => {
                let cause = root_cause(last.as_ref()).filter(|cause| cause != last.message());
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                format!("{error}: {}{cause}", last.message())
            }
            Self::Call(CallError::Refused(refusal)) => refusal.to_string(),
            Self::Watch(error) => error.to_string(),
            Self::Answer(what) => format!("the control plane answered {what}"),
            Self::File { path, what } => format!("{}: {what}", path.display()),
            Self::Failed(what) => what.clone(),
            Self::Declined => "not confirmed, nothing was done".to_owned(),
            Self::Output(error) => format!("cannot write the output: {error}"),
        }
    }

    fn hint(&self) -> Option<String> {
        let refusal = match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::Call(CallError::Unavailable { .. }) => {
                return Some("--endpoint or TENANTRY_ENDPOINT says where the control plane is; unless it runs for development, --tls-ca, --tls-cert \
                     and --tls-key are needed, too"
                        .to_owned());
            }
            Self::Call(CallError::OutcomeUnknown { .. }) => {
                return Some(
                    "the change may or may not have happened, and may still happen: look at what there is before you \
                     repeat it"
                        .to_owned(),
                );
            }
            Self::Call(CallError::Refused(refusal)) | Self::Watch(WatchError::Refused(refusal)) => refusal,
            _ => return None,
        };
        match (refusal.code, refusal.retry_after) {
            (_, Some(delay)) => Some(format!("try again in {:.1} s", delay.as_secs_f64())),
            (Code::NotFound, None) => {
                Some("`tenantctl tenant list` and `tenantctl node list` show what there is".to_owned())
            }
            (Code::Aborted, None) => Some("it was changed meanwhile: read it again, then repeat the change".to_owned()),
            (Code::Unimplemented, None) => Some("the control plane is older than this tenantctl".to_owned()),
            _ => None,
        }
    }
}

fn root_cause(error: &dyn Error) -> Option<String> {
    let mut deepest = error.source()?;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Some(deepest.to_string())
}

/// Messages come from elsewhere: control characters must not reach a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        Self::Watch(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
