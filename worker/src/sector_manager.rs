//! Asking the sector manager. The bus is behind [`SectorManager`]; here is what asking means for a
//! thread: it waits until somebody answers, and a refusal is a failure of its stage.

use std::{sync::Arc, time::Duration};

use damocles_client::backoff::Backoff;
use futures::future::BoxFuture;
use serde::Deserialize;
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ErrorBody, ErrorKind},
    plan::State,
    sector_manager::{SectorManagerReply, WorkerRequest},
};
use tracing::debug;

use crate::{activity::Activity, failure::Failure};

const ASK_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// The way to the sector manager.
pub trait SectorManager: Send + Sync {
    /// Sends one request and returns the answer's bytes. An error means that nobody answered: the
    /// question may be asked again. Waits while the way is known to be cut.
    fn ask<'a>(
        &'a self,
        method: &'static str,
        body: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unavailable>>;
}

/// Nobody answered in time; why, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Asks until it is answered. While it waits, the thread shows as waiting for the sector manager.
pub async fn ask<Q: WorkerRequest>(
    manager: &Arc<dyn SectorManager>,
    activity: &Activity,
    request: &Q,
) -> Result<Q::Reply, Failure> {
    let asking = async {
        let mut backoff = ASK_AGAIN;
        loop {
            match ask_once(manager, request).await {
                Ok(answer) => return answer,
                Err(Unavailable(why)) => {
                    debug!(method = Q::METHOD, why, "the sector manager does not answer")
                }
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    };
    activity.wait("sector manager", asking).await
}

/// Asks once. The outer error means that nobody answered, the inner one that it was refused.
pub async fn ask_once<Q: WorkerRequest>(
    manager: &Arc<dyn SectorManager>,
    request: &Q,
) -> Result<Result<Q::Reply, Failure>, Unavailable> {
    let body = match Encoding::Msgpack.encode(request) {
        Ok(body) => body,
        Err(error) => return Ok(Err(Failure::critical(format!("request {}: {error}", Q::METHOD)))),
    };
    let answer = manager.ask(Q::METHOD, body).await?;
    Ok(read_answer::<Q>(&answer))
}

/// What an answer means: a result, or a failure of what was asked for.
pub(crate) fn read_answer<Q: WorkerRequest>(answer: &[u8]) -> Result<Q::Reply, Failure> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<ErrorBody>,
    }
    let unreadable = |error| {
        Failure::temporary(format!(
            "the sector manager's answer to {} cannot be read: {error}",
            Q::METHOD
        ))
    };
    let Some(ErrorBody { kind, message }) = decode::<Refusal>(answer).map_err(unreadable)?.error
    else {
        return decode::<SectorManagerReply<Q::Reply>>(answer)
            .map(|reply| reply.result)
            .map_err(unreadable);
    };
    let named = format!("sector manager, {}: {message}", Q::METHOD);
    Err(match kind {
        // It was removed, or given to another worker.
        ErrorKind::JobNotFound { .. } => Failure::lost(format!("sector manager: {message}")),
        // How it ended is said of this very sector.
        ErrorKind::SectorEnded { ref state, .. } if state == State::Aborted.name() => {
            Failure::abort(named)
        }
        ErrorKind::SectorEnded { ref state, .. } if state == State::Finished.name() => {
            Failure::lost(named)
        }
        ErrorKind::SectorNotFound { .. } => {
            Failure::permanent(format!("sector manager: {message}"))
        }
        ErrorKind::Internal { .. } => Failure::temporary(named),
        // The same question gets the same answer, whatever a kind means that only a newer version
        // knows.
        _ => Failure::permanent(named),
    })
}

#[cfg(test)]
mod tests {
    use shared_msgs::{error::ErrorReply, sector_manager::PollProofState};

    use super::*;
    use crate::failure::Level;

    #[test]
    fn refusals_and_garbage_are_failures_of_the_stage() {
        let level = |bytes: &[u8]| read_answer::<PollProofState>(bytes).unwrap_err().level;
        let refusal = |kind| serde_json::to_vec(&ErrorReply::from(kind)).unwrap();
        assert_eq!(
            level(&refusal(ErrorKind::SectorNotFound { sector: "s-t01-1".into() })),
            Level::Permanent
        );
        assert_eq!(level(&refusal(ErrorKind::bad_request("x"))), Level::Permanent);
        assert_eq!(
            level(br#"{"error":{"kind":"on_holiday","message":"back on Monday"}}"#),
            Level::Permanent
        );
        assert_eq!(level(&refusal(ErrorKind::JobNotFound { job: "x".into() })), Level::Lost);
        let ended = |state: &str| {
            let (sector, state) = ("s-t01-1".into(), state.into());
            level(&refusal(ErrorKind::SectorEnded { sector, state }))
        };
        assert_eq!(ended("Aborted"), Level::Abort);
        assert_eq!(ended("Finished"), Level::Lost);
        assert_eq!(ended("on holiday"), Level::Permanent);
        assert_eq!(level(&refusal(ErrorKind::internal("x"))), Level::Temporary);
        assert_eq!(level(b"garbage"), Level::Temporary);
        assert_eq!(level(b"{}"), Level::Temporary);
    }

    #[test]
    fn an_answer_is_read_in_both_encodings() {
        let reply = serde_json::json!({"result": {"state": "landed"}});
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert!(read_answer::<PollProofState>(&encoding.encode(&reply).unwrap()).is_ok());
        }
    }
}
