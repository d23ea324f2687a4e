//! What a refusal looks like on the bus: `{"error": {"kind": …, "message": …, …}}`, with the
//! headers of the services convention (ADR-32) beside it. Clients match on the kind, never on the
//! text.
//!
//! Decisions 021, 043 in `docs/decisions`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{CodecError, Texts},
    duration::human,
    id::Id,
    text::cut_text,
};

/// The header with the refusal's text.
pub const ERROR_HEADER: &str = "Nats-Service-Error";
/// The header with the refusal's number.
pub const ERROR_CODE_HEADER: &str = "Nats-Service-Error-Code";

/// How many bytes of a message are left to the headers of a refusal.
pub const HEADERS_ROOM: usize = 2048;
const MAX_HEADER_BYTES: usize = 1024;

/// The headers of a refusal, as names and values; each is one line.
pub fn headers(refusal: &ErrorKind) -> [(&'static str, String); 2] {
    let line: String =
        refusal.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    [
        (ERROR_HEADER, cut_text(&line, MAX_HEADER_BYTES)),
        (ERROR_CODE_HEADER, refusal.code().to_string()),
    ]
}

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Why it was refused.
    pub error: ErrorBody,
    /// The worker that refuses, by its name as the user wrote it; absent in a manager's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The process of that worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Id>,
}

/// A kind for programs and a text for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, in a sentence.
    #[serde(default)]
    pub message: String,
    /// The kind, with its facts.
    #[serde(flatten)]
    pub kind: ErrorKind,
}

/// Why a request was refused. Nothing was changed, except where the answer alone does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ErrorKind {
    /// The worker has no thread of that index.
    #[error("there is no thread {index}: this worker has {threads}, numbered from 0")]
    ThreadNotFound {
        /// The index asked for; one that is there is smaller than `threads`.
        index: u32,
        /// How many threads the worker has.
        threads: u32,
    },
    /// Only a paused thread can be resumed.
    #[error("the thread is not paused, it is {status}")]
    NotPaused {
        /// What it does instead, see [`crate::snapshot::ThreadStatus::name`].
        status: String,
    },
    /// The plan has no such state.
    #[error("{given:?} is no state of plan {plan}; its states are {}", allowed.join(", "))]
    InvalidState {
        /// The state asked for.
        given: String,
        /// Name of the plan, e.g. `sealer`.
        plan: String,
        /// Names of all states that the plan has.
        allowed: Vec<String>,
    },
    /// The plan has the state, but the sector lacks what the state needs.
    #[error("the sector cannot go on from {state}: it has no {}", missing.join(", no "))]
    StateUnreachable {
        /// The state asked for.
        state: String,
        /// What the sector lacks, in words for people: `ticket`, `PC1 output`.
        missing: Vec<String>,
    },
    /// The thread has changed since the caller looked.
    #[error(
        "the thread has changed: it is at revision {actual}, the command was meant for revision {expected}"
    )]
    RevisionMismatch {
        /// The revision in the request.
        expected: u64,
        /// The revision that the thread has by now.
        actual: u64,
    },
    /// The thread was selected, and no longer fitted when it was to act.
    #[error("the thread has changed and is no longer selected")]
    NotSelected,
    /// The time in which the command might be carried out was over when it was read.
    #[error("the command came {} after the time that it had: nothing was done", human(Duration::from_millis(*late_ms)))]
    TooLate {
        /// How much later than its `until_ms`, at most.
        late_ms: u64,
    },
    /// Another process may own the worker's name by now; the command was not carried out.
    #[error("the worker cannot confirm that it still owns its name: nothing was done")]
    LeaseUnconfirmed,
    /// The thread's store cannot be used, or the worker behind a sidecar does not answer: nobody
    /// knows what the thread has in hand.
    #[error("the thread cannot be used: {reason}")]
    ThreadUnusable {
        /// What is wrong, and what to do.
        #[serde(default)]
        reason: String,
    },
    /// It cannot be done here, and nothing like it was done instead.
    #[error("{what} is not possible here: {why}")]
    NotSupported {
        /// What was asked for, e.g. `pause --now`.
        what: String,
        /// Why it is not possible, and what is.
        #[serde(default)]
        why: String,
    },
    /// The id belongs to another command.
    #[error("request_id {request_id} was used for another command: draw a new one")]
    RequestIdReused {
        /// The id that was given twice.
        request_id: Id,
    },
    /// No such worker is known.
    #[error("no worker {worker:?} is known")]
    WorkerNotFound {
        /// The name asked for.
        worker: String,
    },
    /// Nobody answers for the worker: it has not heard of the command.
    #[error("not delivered: nobody answers for worker {worker:?}{}", last_ping_ms.map(|age| format!(", whose last report is {} old", human(Duration::from_millis(age)))).unwrap_or_default())]
    NotDelivered {
        /// As the user wrote it, see [`crate::name`].
        worker: String,
        /// Age of its newest report; absent if that is not known.
        last_ping_ms: Option<u64>,
    },
    /// A manager has given the command on, and heard no answer.
    #[error("the outcome is unknown: the command may have been carried out; {detail}")]
    OutcomeUnknown {
        /// In words, for operators.
        #[serde(default)]
        detail: String,
    },
    /// The manager has as many commands in hand as it takes: nothing was done.
    #[error("the manager has too many commands in hand: nothing was done; repeat it")]
    Busy,
    /// NATS does not let the manager publish what it was asked for: nothing was done.
    #[error("no permission: NATS lets the manager's login not publish on {subject}")]
    NotPermitted {
        /// Where the manager would have published.
        subject: String,
    },
    /// A worker that still reports cannot be removed.
    #[error("worker {worker:?} still reports (last {last_ping_ms} ms ago): stop it first")]
    WorkerReports {
        /// As the user wrote it, see [`crate::name`].
        worker: String,
        /// Age of its newest report.
        last_ping_ms: u64,
    },
    /// The sector manager does not know the sector.
    #[error("sector {sector} is not known to the sector manager")]
    SectorNotFound {
        /// The sector asked for.
        sector: String,
    },
    /// Only a finished sector can be worked on again.
    #[error("sector {sector} is not finished, it is {state}")]
    SectorNotFinished {
        /// As it is written, `s-t0<miner>-<number>`.
        sector: String,
        /// Name of the state it is in.
        state: String,
    },
    /// A finished sector cannot be given up.
    #[error("sector {sector} is {state} already")]
    SectorEnded {
        /// As it is written, `s-t0<miner>-<number>`.
        sector: String,
        /// How it ended: `Finished` or `Aborted`.
        state: String,
    },
    /// The sector has an open job already.
    #[error("sector {sector} has an open job already: {job}")]
    SectorBusy {
        /// As it is written, `s-t0<miner>-<number>`.
        sector: String,
        /// The plan that works on it, e.g. `rebuild`.
        job: String,
    },
    /// The sector has no such deal, or several, of which none was named.
    #[error("{}", piece_refusal(sector, piece.as_deref(), deals))]
    PieceNotFound {
        /// As it is written, `s-t0<miner>-<number>`.
        sector: String,
        /// The piece asked for.
        piece: Option<String>,
        /// The pieces of its deals.
        deals: Vec<String>,
    },
    /// The sector manager does not know the job.
    #[error("no job {job:?} is known")]
    JobNotFound {
        /// The job asked for.
        job: String,
    },
    /// The request cannot be understood or asks for what is not offered.
    #[error("bad request: {detail}")]
    BadRequest {
        /// What is wrong with it.
        #[serde(default)]
        detail: String,
    },
    /// The fault is on the answering side.
    #[error("internal error: {detail}")]
    Internal {
        /// In words, for operators.
        #[serde(default)]
        detail: String,
    },
    /// What was asked was done, but the answer is larger than a message may be.
    #[error(
        "the answer has {bytes} bytes and NATS carries {max_bytes} here: what was asked was done; ask for less at once, or raise max_payload in the nats-server's configuration"
    )]
    AnswerTooLarge {
        /// The answer's length as it would have been sent.
        bytes: usize,
        /// The most that there is room for.
        max_bytes: usize,
    },
    /// A kind of a newer version; the message says more.
    #[error("refused")]
    #[serde(other)]
    Other,
}

fn piece_refusal(sector: &str, piece: Option<&str>, deals: &[String]) -> String {
    match (piece, deals) {
        (_, []) => format!("sector {sector} has no deal"),
        (Some(piece), deals) => format!(
            "sector {sector} has no deal for piece {piece}; its deals are for {}",
            deals.join(", ")
        ),
        (None, deals) => {
            format!("sector {sector} has {} deals; name one: {}", deals.len(), deals.join(", "))
        }
    }
}

impl ErrorKind {
    /// A request that cannot be understood.
    pub fn bad_request(detail: impl ToString) -> Self {
        ErrorKind::BadRequest { detail: detail.to_string() }
    }

    /// A fault of the answering side.
    pub fn internal(detail: impl ToString) -> Self {
        ErrorKind::Internal { detail: detail.to_string() }
    }

    /// The number in [`ERROR_CODE_HEADER`], after HTTP's.
    pub fn code(&self) -> u16 {
        match self {
            ErrorKind::BadRequest { .. }
            | ErrorKind::InvalidState { .. }
            | ErrorKind::RequestIdReused { .. } => 400,
            ErrorKind::ThreadNotFound { .. }
            | ErrorKind::WorkerNotFound { .. }
            | ErrorKind::SectorNotFound { .. } => 404,
            ErrorKind::PieceNotFound { .. } | ErrorKind::JobNotFound { .. } => 404,
            ErrorKind::NotPaused { .. }
            | ErrorKind::StateUnreachable { .. }
            | ErrorKind::WorkerReports { .. } => 409,
            ErrorKind::SectorNotFinished { .. }
            | ErrorKind::SectorEnded { .. }
            | ErrorKind::SectorBusy { .. } => 409,
            ErrorKind::RevisionMismatch { .. } | ErrorKind::NotSelected => 412,
            ErrorKind::NotPermitted { .. } => 403,
            ErrorKind::TooLate { .. } => 408,
            ErrorKind::NotDelivered { .. } | ErrorKind::Busy => 503,
            ErrorKind::OutcomeUnknown { .. } => 504,
            ErrorKind::LeaseUnconfirmed | ErrorKind::ThreadUnusable { .. } => 503,
            ErrorKind::NotSupported { .. } => 501,
            ErrorKind::Internal { .. } | ErrorKind::AnswerTooLarge { .. } | ErrorKind::Other => 500,
        }
    }
}

impl ErrorBody {
    /// Its texts that may be cut.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let detail = match &mut self.kind {
            ErrorKind::BadRequest { detail }
            | ErrorKind::Internal { detail }
            | ErrorKind::OutcomeUnknown { detail } => Some(detail),
            ErrorKind::ThreadUnusable { reason } => Some(reason),
            ErrorKind::NotSupported { why, .. } => Some(why),
            _ => None,
        };
        [&mut self.message].into_iter().chain(detail)
    }
}

impl Texts for ErrorReply {
    fn texts(&mut self) -> Vec<&mut String> {
        self.error.texts().collect()
    }
}

impl From<CodecError> for ErrorKind {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::TooLarge { bytes, max_bytes } => {
                ErrorKind::AnswerTooLarge { bytes, max_bytes }
            }
            error => ErrorKind::internal(error),
        }
    }
}

impl From<ErrorKind> for ErrorBody {
    fn from(kind: ErrorKind) -> Self {
        ErrorBody { message: kind.to_string(), kind }
    }
}

impl From<ErrorKind> for ErrorReply {
    fn from(kind: ErrorKind) -> Self {
        ErrorReply { error: kind.into(), worker: None, instance_id: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode};

    fn all_kinds() -> Vec<(ErrorKind, &'static str)> {
        let text = || "x".to_owned();
        vec![
            (ErrorKind::ThreadNotFound { index: 7, threads: 3 }, "thread_not_found"),
            (ErrorKind::NotPaused { status: text() }, "not_paused"),
            (
                ErrorKind::InvalidState { given: text(), plan: text(), allowed: vec![text()] },
                "invalid_state",
            ),
            (
                ErrorKind::StateUnreachable { state: text(), missing: vec![text()] },
                "state_unreachable",
            ),
            (ErrorKind::RevisionMismatch { expected: 1, actual: 2 }, "revision_mismatch"),
            (ErrorKind::NotSelected, "not_selected"),
            (ErrorKind::TooLate { late_ms: 1 }, "too_late"),
            (ErrorKind::LeaseUnconfirmed, "lease_unconfirmed"),
            (ErrorKind::ThreadUnusable { reason: text() }, "thread_unusable"),
            (ErrorKind::NotSupported { what: text(), why: text() }, "not_supported"),
            (ErrorKind::RequestIdReused { request_id: Id::NIL }, "request_id_reused"),
            (ErrorKind::WorkerNotFound { worker: text() }, "worker_not_found"),
            (ErrorKind::NotDelivered { worker: text(), last_ping_ms: None }, "not_delivered"),
            (ErrorKind::OutcomeUnknown { detail: text() }, "outcome_unknown"),
            (ErrorKind::Busy, "busy"),
            (ErrorKind::NotPermitted { subject: text() }, "not_permitted"),
            (ErrorKind::WorkerReports { worker: text(), last_ping_ms: 1 }, "worker_reports"),
            (ErrorKind::SectorNotFound { sector: text() }, "sector_not_found"),
            (ErrorKind::SectorNotFinished { sector: text(), state: text() }, "sector_not_finished"),
            (ErrorKind::SectorEnded { sector: text(), state: text() }, "sector_ended"),
            (ErrorKind::SectorBusy { sector: text(), job: text() }, "sector_busy"),
            (
                ErrorKind::PieceNotFound { sector: text(), piece: None, deals: vec![text()] },
                "piece_not_found",
            ),
            (ErrorKind::JobNotFound { job: text() }, "job_not_found"),
            (ErrorKind::bad_request("x"), "bad_request"),
            (ErrorKind::internal("x"), "internal"),
            (ErrorKind::AnswerTooLarge { bytes: 2, max_bytes: 1 }, "answer_too_large"),
        ]
    }

    #[test]
    fn the_json_of_a_refusal_is_pinned() {
        let reply = ErrorReply::from(ErrorKind::ThreadNotFound { index: 7, threads: 3 });
        let expected = json!({"error": {
            "kind": "thread_not_found", "index": 7, "threads": 3,
            "message": "there is no thread 7: this worker has 3, numbered from 0",
        }});
        assert_eq!(serde_json::to_value(&reply).unwrap(), expected);
    }

    #[test]
    fn every_kind_has_its_name_and_survives_both_encodings() {
        for (kind, name) in all_kinds() {
            let reply = ErrorReply::from(kind);
            assert_eq!(serde_json::to_value(&reply).unwrap()["error"]["kind"], name);
            for encoding in [Encoding::Json, Encoding::Msgpack] {
                assert_eq!(decode::<ErrorReply>(&encoding.encode(&reply).unwrap()).unwrap(), reply);
            }
        }
    }

    #[test]
    fn refusals_go_into_headers_of_one_line() {
        let [(name, text), code] =
            headers(&ErrorKind::bad_request(format!("a\r\nb{}", "x".repeat(5_000))));
        assert_eq!(name, ERROR_HEADER);
        assert!(text.starts_with("bad request: a  b") && text.len() <= MAX_HEADER_BYTES, "{text}");
        assert_eq!(code, (ERROR_CODE_HEADER, "400".to_owned()));
    }

    #[test]
    fn a_refusal_is_cut_to_what_fits() {
        let reply = ErrorReply::from(ErrorKind::bad_request("x".repeat(70_000)));
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let written = encoding.encode_within(&reply, 10_000).unwrap();
            let read: ErrorReply = decode(&written).unwrap();
            assert!(
                written.len() <= 10_000 && matches!(read.error.kind, ErrorKind::BadRequest { .. })
            );
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_keeps_its_message() {
        let reply: ErrorReply =
            decode(br#"{"error":{"kind":"on_holiday","message":"back on Monday","until":3}}"#)
                .unwrap();
        assert_eq!(
            reply.error,
            ErrorBody { message: "back on Monday".into(), kind: ErrorKind::Other }
        );
    }
}
