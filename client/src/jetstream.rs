//! Whether the server keeps anything: all that needs JetStream asks here first, and works without
//! it where there is none.

use std::time::Duration;

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{AccountErrorKind, GetStreamErrorKind},
    stream::Stream,
};
use tokio::time::{sleep, timeout};

/// For one answer of JetStream: nobody answers while its servers have no leader.
pub const PATIENCE: Duration = Duration::from_secs(5);

// How often it is looked whether a stream is still there.
const LOOK: Duration = Duration::from_secs(2);

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

/// Waits until a stream is not the one that it was: what was read of it says nothing any more. Says
/// what became of it.
pub async fn gone(jetstream: &Context, stream: &Stream) -> &'static str {
    let known = stream.cached_info();
    loop {
        sleep(LOOK).await;
        match timeout(PATIENCE, jetstream.get_stream(&known.config.name)).await {
            Ok(Ok(found)) if found.cached_info().created != known.created => {
                return "was deleted and made anew";
            }
            Ok(Err(error)) if is_missing(&error.kind()) => return "was deleted",
            // There, or nobody answers now.
            _ => {}
        }
    }
}

/// Whether there is no such stream.
pub fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
