//! What the sector manager says of a job in hand, when it is told how that stands. Pure.
//!
//! Only an explicit reason to abort this very sector gives it up. That a sector is not known, or a
//! request not understood, may be the sector manager's own fault: the thread pauses, and everything
//! stays.
//!
//! Decision 027 in `docs/decisions`.

use crate::failure::{Failure, Level};
use shared_msgs::{
    sector_manager::{ReportStateReply, SectorId},
    text::cut_text,
};

// It becomes part of the thread's record and its events.
const MAX_REASON_BYTES: usize = 1024;

/// What an answer means for the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Nothing,
    /// The job is still this thread's.
    InHand,
    /// The job cannot go on; the failure's level says what becomes of it.
    Stop(Failure),
}

/// What the answer to a report on a sector means for it.
pub(crate) fn on_sector(sector: SectorId, answer: Result<ReportStateReply, Failure>) -> Verdict {
    let reply = match answer {
        Ok(reply) if reply.id == sector => reply,
        Ok(_) => return Verdict::Nothing,
        Err(refusal) => return refused(refusal),
    };
    // damocles writes an empty text where there is no reason.
    match reply.abort_reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty()) {
        Some(reason) => {
            let reason = cut_text(reason, MAX_REASON_BYTES);
            Verdict::Stop(Failure::abort(format!("ended by the sector manager: {reason}")))
        }
        None if reply.finalized => Verdict::Stop(Failure::lost(
            "somebody else has finished the sector, says the sector manager",
        )),
        None => Verdict::InHand,
    }
}

/// What the answer to a heartbeat of a window-PoSt job means for it.
pub(crate) fn on_job(answer: Result<(), Failure>) -> Verdict {
    answer.map_or_else(refused, |()| Verdict::InHand)
}

fn refused(refusal: Failure) -> Verdict {
    match refusal.level {
        Level::Temporary => Verdict::Nothing,
        Level::Lost => Verdict::Stop(refusal),
        // No refusal is a reason to give a sector up.
        Level::Permanent | Level::Critical | Level::Abort => {
            Verdict::Stop(Failure::permanent(refusal.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_msgs::{
        codec::Encoding,
        error::{ErrorKind, ErrorReply},
        sector_manager::ReportState,
    };

    use super::*;
    use crate::sector_manager::read_answer;

    const SECTOR: SectorId = SectorId { miner: 10000, number: 2 };

    fn reply(number: u64, finalized: bool, reason: Option<&str>) -> ReportStateReply {
        ReportStateReply {
            id: SectorId { miner: 10000, number },
            finalized,
            abort_reason: reason.map(Into::into),
        }
    }

    fn level(verdict: Verdict) -> Option<Level> {
        match verdict {
            Verdict::Stop(failure) => Some(failure.level),
            Verdict::InHand | Verdict::Nothing => None,
        }
    }

    #[test]
    fn only_a_reason_for_this_very_sector_gives_it_up() {
        assert_eq!(on_sector(SECTOR, Ok(reply(2, false, None))), Verdict::InHand);
        let abort = Verdict::Stop(Failure::abort("ended by the sector manager: bad disk"));
        assert_eq!(on_sector(SECTOR, Ok(reply(2, false, Some("bad disk")))), abort);
        assert_eq!(
            on_sector(SECTOR, Ok(reply(2, true, Some("bad disk")))),
            abort,
            "damocles has what was aborted finalized too"
        );
        for none in [None, Some(""), Some(" ")] {
            assert_eq!(on_sector(SECTOR, Ok(reply(2, false, none))), Verdict::InHand);
            assert_eq!(level(on_sector(SECTOR, Ok(reply(2, true, none)))), Some(Level::Lost));
        }
        for finalized in [false, true] {
            assert_eq!(
                on_sector(SECTOR, Ok(reply(3, finalized, Some("bad disk")))),
                Verdict::Nothing,
                "of another sector"
            );
        }
    }

    #[test]
    fn every_kind_of_refusal_leaves_the_job_and_its_files() {
        let text = || "x".to_owned();
        let permanent = [
            ErrorKind::SectorNotFound { sector: text() },
            ErrorKind::bad_request("x"),
            ErrorKind::SectorNotFinished { sector: text(), state: text() },
            ErrorKind::SectorEnded { sector: text(), state: text() },
            ErrorKind::SectorBusy { sector: text(), job: text() },
            ErrorKind::PieceNotFound { sector: text(), piece: None, deals: vec![] },
            ErrorKind::ThreadNotFound { index: 1, threads: 1 },
            ErrorKind::WorkerNotFound { worker: text() },
            ErrorKind::WorkerReports { worker: text(), last_ping_ms: 1 },
            ErrorKind::NotPaused { status: text() },
            ErrorKind::InvalidState { given: text(), plan: text(), allowed: vec![] },
            ErrorKind::StateUnreachable { state: text(), missing: vec![] },
            ErrorKind::RevisionMismatch { expected: 1, actual: 2 },
            ErrorKind::NotSelected,
            ErrorKind::LeaseUnconfirmed,
            ErrorKind::Other,
        ];
        let said = |kind: ErrorKind| {
            let answer = Encoding::Json.encode(&ErrorReply::from(kind)).unwrap();
            on_sector(SECTOR, read_answer::<ReportState>(&answer))
        };
        for kind in permanent {
            assert_eq!(level(said(kind.clone())), Some(Level::Permanent), "{kind:?}");
        }
        assert_eq!(said(ErrorKind::internal("x")), Verdict::Nothing);
        assert_eq!(level(said(ErrorKind::JobNotFound { job: text() })), Some(Level::Lost));
        assert_eq!(on_sector(SECTOR, read_answer::<ReportState>(b"garbage")), Verdict::Nothing);
        assert_eq!(on_job(Ok(())), Verdict::InHand);
        assert_eq!(level(on_job(Err(Failure::critical("x")))), Some(Level::Permanent));
    }

    proptest! {
        // Whatever comes from the bus.
        #[test]
        fn nothing_but_a_reason_for_the_sector_is_an_abort(
            kind in "[a-z_]{0,20}", message in "\\PC{0,20}", number in 1u64..4, finalized: bool, reason in prop::option::of("\\PC{0,8}"), refused: bool,
        ) {
            let answer = match refused {
                true => serde_json::json!({"error": {"kind": kind, "message": message}}),
                false => serde_json::json!({"result": {"id": {"miner": 10000, "number": number}, "finalized": finalized, "abort_reason": reason}}),
            };
            for encoding in [Encoding::Json, Encoding::Msgpack] {
                let verdict = on_sector(SECTOR, read_answer::<ReportState>(&encoding.encode(&answer).unwrap()));
                let reasoned = !refused && number == SECTOR.number && reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
                prop_assert_eq!(level(verdict) == Some(Level::Abort), reasoned);
            }
        }
    }
}
