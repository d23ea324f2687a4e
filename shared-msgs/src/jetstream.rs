//! Whether the server keeps anything: all that needs JetStream asks here first, and works without it where there is none.

use async_nats::jetstream::{Context, ErrorCode, context::AccountErrorKind};

/// Why JetStream cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JetStreamError {
    /// The server, or the account, has none.
    #[error("NATS has no JetStream")]
    Absent,
    /// It has, but this went wrong.
    #[error("{0}")]
    Failed(String),
}

impl JetStreamError {
    /// What was tried when it failed.
    pub fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        JetStreamError::Failed(format!("cannot {what}: {error}"))
    }
}

/// Asks whether there is one.
pub async fn present(jetstream: &Context) -> Result<(), JetStreamError> {
    let Err(error) = jetstream.query_account().await else { return Ok(()) };
    Err(match error.kind() {
        AccountErrorKind::JetStreamUnavailable => JetStreamError::Absent,
        AccountErrorKind::JetStream(error)
            if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT].contains(&error.error_code()) =>
        {
            JetStreamError::Absent
        }
        _ => JetStreamError::failed("ask for JetStream", error),
    })
}
