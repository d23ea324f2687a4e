//! Whether the server keeps anything: all that needs JetStream asks here first, and works without
//! it where there is none.

use std::time::Duration;

use async_nats::jetstream::{Context, ErrorCode, context::AccountErrorKind};
use tokio::time::timeout;

// Nobody answers while its servers have no leader.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let asked = timeout(PATIENCE, jetstream.query_account()).await;
    let answered = asked.map_err(|_| JetStreamError::Failed("JetStream does not answer".into()))?;
    let Err(error) = answered else { return Ok(()) };
    Err(match error.kind() {
        AccountErrorKind::JetStreamUnavailable => JetStreamError::Absent,
        AccountErrorKind::JetStream(error)
            if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT]
                .contains(&error.error_code()) =>
        {
            JetStreamError::Absent
        }
        _ => JetStreamError::failed("ask for JetStream", error),
    })
}
