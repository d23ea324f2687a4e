//! What the mock knows of a sector: pure, changed by compare-and-set in [`super::records`].
//!
//! ```text
//!  allocated ──reports, submissions──▶ finalized ──jobs──▶ (still finalized, perhaps upgraded)
//!        └────────aborted─────────▶ aborted
//! ```
//! A job ([`super::job`]) works on a finalized sector. What it does is noted in the job; the sector
//! itself changes only by what the job hands in.

use serde::{Deserialize, Serialize};
use shared_msgs::{
    error::ErrorKind,
    id::Id,
    plan::Plan,
    sector_manager::{
        Commitment, HEARTBEAT, PreCommitOnChainInfo, ReportState, SealProofType, SealVersion,
        SectorId, SectorPiece, SubmitReply, SubmitResult, Ticket,
    },
    sectors::AbortSector,
    text::cut_text,
};

use super::{
    commp,
    job::{self, Job, MAX_NAME_BYTES, Status, Work},
};

// Ended jobs are kept to be shown; so many jobs fit into an entry of a bucket, and more make no
// sense.
const MAX_JOBS: usize = 16;
/// The longest text of a report or refusal that is kept.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SectorRecord {
    pub id: SectorId,
    /// How it is sealed.
    pub proof_type: SealProofType,
    /// Its state in the plan that seals it.
    pub state: String,
    /// Its pieces, filler too; empty where it has no deals.
    #[serde(default)]
    pub pieces: Vec<SectorPiece>,
    /// The data's commitment, as the pre-commit had it.
    #[serde(default)]
    pub comm_d: Option<Commitment>,
    /// The replica's commitment; unknown where there is no pre-commit.
    #[serde(default)]
    pub comm_r: Option<Commitment>,
    /// The ticket that the replica was made with.
    #[serde(default)]
    pub ticket: Option<Ticket>,
    /// The store that its files are in.
    #[serde(default)]
    pub store: Option<String>,
    /// Whether it is finished.
    #[serde(default)]
    pub finalized: bool,
    /// Why an operator wants it given up.
    #[serde(default)]
    pub abort_requested: Option<String>,
    /// Why it was given up.
    #[serde(default)]
    pub aborted: Option<String>,
    /// The deals that were put into it later.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// What is done with it since it is finished.
    #[serde(default)]
    pub jobs: Vec<Job>,
}

/// An upgrade of a sector (FIP-0019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upgrade {
    /// The new replica's commitment.
    pub comm_r: Commitment,
    /// The new data's commitment.
    pub comm_d: Commitment,
    /// The store that its files are in.
    pub store: String,
    /// Its pieces, filler too.
    pub pieces: Vec<SectorPiece>,
}

impl SectorRecord {
    /// A sector that was just allocated.
    pub(crate) fn new(id: SectorId, proof_type: SealProofType) -> Self {
        SectorRecord {
            id,
            proof_type,
            state: "Allocated".into(),
            pieces: vec![],
            comm_d: None,
            comm_r: None,
            ticket: None,
            store: None,
            finalized: false,
            abort_requested: None,
            aborted: None,
            upgrade: None,
            jobs: vec![],
        }
    }

    /// The plan that seals or sealed it.
    pub(crate) fn plan(&self) -> Plan {
        if self.proof_type.version == SealVersion::NonInteractive {
            Plan::Niporep
        } else {
            Plan::Sealer
        }
    }

    /// Its state as operators see it.
    pub(crate) fn shown_state(&self) -> &str {
        match (&self.aborted, self.finalized) {
            (Some(_), _) => "Aborted",
            (None, true) => "Finished",
            (None, false) => &self.state,
        }
    }

    /// The pieces that it holds now.
    pub(crate) fn data_pieces(&self) -> &[SectorPiece] {
        self.upgrade.as_ref().map_or(&self.pieces, |upgrade| &upgrade.pieces)
    }

    /// The store that its newest files are in.
    pub(crate) fn newest_store(&self) -> Option<&str> {
        self.upgrade.as_ref().map(|upgrade| upgrade.store.as_str()).or(self.store.as_deref())
    }

    /// The commitment of its newest replica.
    pub(crate) fn newest_comm_r(&self) -> Option<Commitment> {
        self.upgrade.as_ref().map(|upgrade| upgrade.comm_r).or(self.comm_r)
    }

    /// The commitment of the data that it holds now; it follows from the pieces where nobody told
    /// it.
    pub(crate) fn newest_comm_d(&self) -> Option<Commitment> {
        let told = self.upgrade.as_ref().map(|upgrade| upgrade.comm_d).or(self.comm_d);
        told.or_else(|| commp::of_pieces(self.data_pieces(), self.proof_type.size.bytes()))
    }

    /// The job that a worker has.
    pub(crate) fn running(&self) -> Option<&Job> {
        self.jobs.iter().find(|job| job.is_running())
    }

    fn running_mut(&mut self) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.is_running())
    }

    /// Takes a pre-commit; a sector that is finished keeps the one it has.
    pub(crate) fn pre_commit(&mut self, info: &PreCommitOnChainInfo) -> SubmitReply {
        let known = (self.comm_r, self.comm_d) == (Some(info.comm_r), Some(info.comm_d));
        if self.finalized && !known {
            return reply(
                SubmitResult::MismatchedSubmission,
                "the sector is finished with another pre-commit",
            );
        }
        (self.comm_r, self.comm_d, self.ticket) =
            (Some(info.comm_r), Some(info.comm_d), Some(info.ticket));
        reply(SubmitResult::Accepted, "")
    }

    /// Takes the deals that the sector gets; they stay with it, whoever asks again.
    pub(crate) fn keep_pieces(&mut self, pieces: &[SectorPiece]) -> Vec<SectorPiece> {
        if self.pieces.is_empty() {
            self.pieces = pieces.to_vec();
        }
        self.pieces.clone()
    }

    /// Notes where the files are; ends a rebuild.
    pub(crate) fn persisted(&mut self, store: &str, is_upgrade: bool) {
        let rebuilt = self
            .running_mut()
            .filter(|job| matches!(job.work, Work::Rebuild))
            .map(Job::finish)
            .is_some();
        if self.finalized && !rebuilt {
            return;
        }
        if let Some(upgrade) = self.upgrade.as_mut().filter(|_| is_upgrade || rebuilt) {
            upgrade.store = store.to_owned();
        }
        if !is_upgrade || rebuilt {
            self.store = Some(store.to_owned());
        }
    }

    /// Takes a worker's report. The reason to give the sector up, if there is one.
    pub(crate) fn reported(&mut self, report: &ReportState) -> Option<String> {
        if !self.finalized {
            self.state = cut_text(&report.state_change.next, MAX_NAME_BYTES);
            return self.abort_requested.clone();
        }
        let position = self.jobs.iter().position(Job::is_running);
        let position =
            position.or_else(|| self.jobs.iter().position(|job| job.was_of(&report.worker)));
        match position {
            Some(position) => self.jobs[position].reported(report),
            None => (report.state_change.event == HEARTBEAT).then(job::lost_reason),
        }
    }

    /// The sector is sealed. A job on it ends with what it hands in.
    pub(crate) fn finish(&mut self) {
        self.finalized |= self.aborted.is_none();
    }

    /// The sector, or the job on it, was given up. Says whether deals come free by it: all but
    /// [`SectorRecord::held_deals`].
    pub(crate) fn give_up(&mut self, reason: &str) -> bool {
        let reason = cut_text(reason, MAX_TEXT_BYTES);
        if self.finalized {
            // Whoever lost a job says so too; that is not the end of the job.
            let lost = job::is_lost(&reason);
            return self.running_mut().filter(|_| !lost).is_some_and(|job| job.fail(&reason));
        }
        self.aborted = Some(reason);
        self.pieces.clear();
        true
    }

    /// The pieces of the deals that the sector holds or is getting.
    pub(crate) fn held_deals(&self) -> impl Iterator<Item = &SectorPiece> {
        let upgraded = self.upgrade.iter().flat_map(|upgrade| &upgrade.pieces);
        let upgrading = self.running().into_iter().flat_map(|job| job.work.pieces());
        self.pieces
            .iter()
            .chain(upgraded)
            .chain(upgrading)
            .filter(|piece| piece.deal_info.is_some())
    }

    /// Why an operator wants the sector, or the job on it, given up, until its worker has.
    pub(crate) fn to_be_given_up(&self) -> Option<&str> {
        let of_job = self.running().and_then(|job| job.abort_requested.as_deref());
        let requested = if self.finalized { of_job } else { self.abort_requested.as_deref() };
        requested.filter(|_| self.aborted.is_none())
    }

    /// An operator wants the sector, or the jobs on it, given up. Without a reason the one that was
    /// given before stays.
    pub(crate) fn abort(&mut self, request: &AbortSector) -> Result<(), ErrorKind> {
        let ended = |state: &str| {
            Err(ErrorKind::SectorEnded { sector: self.id.to_string(), state: state.into() })
        };
        if self.aborted.is_some() {
            return ended("Aborted");
        }
        let open = self.jobs.iter().any(Job::is_open);
        if self.finalized && !open {
            return ended("Finished");
        }
        let given = Some(request.reason.trim()).filter(|reason| !reason.is_empty());
        let known = self.to_be_given_up().filter(|_| request.unexplained || given.is_none());
        // A worker takes an empty reason for none.
        let reason = Some(cut_text(known.or(given).unwrap_or("by an operator"), MAX_TEXT_BYTES));
        if !self.finalized {
            self.abort_requested = reason;
            return Ok(());
        }
        self.jobs.retain(|job| job.status != Status::Ready);
        if let Some(job) = self.running_mut() {
            job.abort_requested = reason;
        }
        Ok(())
    }

    /// It was not given up, nor is to be.
    pub(crate) fn restore(&mut self) -> Result<(), ErrorKind> {
        let given_up = self.aborted.take().or(self.abort_requested.take());
        if given_up.is_some() {
            return Ok(());
        }
        let (sector, state) = (self.id, self.shown_state());
        Err(ErrorKind::bad_request(format!("{sector} was not given up: it is in {state}")))
    }

    /// It is finished, whatever its worker says.
    pub(crate) fn finalize(&mut self) -> Result<(), ErrorKind> {
        if self.finalized || self.aborted.is_some() {
            let (sector, state) = (self.id.to_string(), self.shown_state().to_owned());
            return Err(ErrorKind::SectorEnded { sector, state });
        }
        self.abort_requested = None;
        self.finish();
        Ok(())
    }

    /// Queues a job, in place of an ended one of its kind.
    pub(crate) fn queue(&mut self, work: Work) -> Result<(), ErrorKind> {
        let sector = self.id.to_string();
        if !self.finalized || self.aborted.is_some() {
            return Err(ErrorKind::SectorNotFinished { sector, state: self.shown_state().into() });
        }
        // Several pieces can be unsealed one after the other; the other jobs change the sector's
        // files.
        let in_the_way = |job: &&Job| {
            job.is_open()
                && (!job.work.only_reads() || !work.only_reads() || job.work.is_like(&work))
        };
        if let Some(job) = self.jobs.iter().find(in_the_way) {
            return Err(ErrorKind::SectorBusy { sector, job: job.work.plan().to_string() });
        }
        self.jobs.retain(|job| !job.work.is_like(&work));
        while self.jobs.len() >= MAX_JOBS {
            let Some(oldest) = self.jobs.iter().position(|job| !job.is_open()) else {
                return Err(ErrorKind::SectorBusy { sector, job: format!("{MAX_JOBS} of them") });
            };
            self.jobs.remove(oldest);
        }
        self.jobs.push(Job::new(work));
        Ok(())
    }

    /// Hands a plan's job out to a request. One job runs at a time, and one whose worker is silent
    /// is handed out again.
    pub(crate) fn hand_out(&mut self, plan: Plan, request: Id, silent: bool) -> Option<&Job> {
        if let Some(job) = self.running_mut() {
            if !silent || job.work.plan() != plan || plan == Plan::Snapup {
                return None;
            }
            match job.abort_requested.clone() {
                Some(reason) => job.fail(&reason),
                None => {
                    job.hand_out(request);
                    return self.running();
                }
            };
        }
        let job = self
            .jobs
            .iter_mut()
            .find(|job| job.status == Status::Ready && job.work.plan() == plan)?;
        job.hand_out(request);
        self.running()
    }

    /// Takes a job back from a request that got another one.
    pub(crate) fn take_back(&mut self, request: Id) {
        self.jobs.retain(|job| !(job.is_held_by(request) && job.work.plan() == Plan::Snapup));
        if let Some(job) = self.running_mut().filter(|job| job.is_held_by(request)) {
            job.take_back();
        }
    }

    /// The piece of a deal to unseal: the one that is named, else the only one.
    pub(crate) fn piece_to_unseal(&self, named: Option<&str>) -> Result<&SectorPiece, ErrorKind> {
        let mut deals: Vec<_> =
            self.data_pieces().iter().filter(|piece| piece.deal_info.is_some()).collect();
        let cids = deals.iter().map(|deal| deal.piece.piece_cid.clone()).collect();
        if let Some(named) = named {
            deals.retain(|deal| deal.piece.piece_cid == named);
        }
        match deals[..] {
            [deal] => Ok(deal),
            _ => Err(ErrorKind::PieceNotFound {
                sector: self.id.to_string(),
                piece: named.map(Into::into),
                deals: cids,
            }),
        }
    }

    /// Where a piece begins in the sector, in padded bytes.
    pub(crate) fn offset_of(&self, piece_cid: &str) -> Option<u64> {
        let pieces = self.data_pieces();
        let position = pieces
            .iter()
            .position(|piece| piece.deal_info.is_some() && piece.piece.piece_cid == piece_cid)?;
        Some(pieces[..position].iter().map(|piece| piece.piece.size).sum())
    }

    /// A piece was unsealed, or could not be.
    pub(crate) fn unsealed(&mut self, piece_cid: &str, error: &str) {
        let of_piece = |job: &&mut Job| job.is_running() && job.work.is_unseal_of(piece_cid);
        if let Some(job) = self.jobs.iter_mut().find(of_piece) {
            match error {
                "" => job.finish(),
                error => {
                    job.fail(&cut_text(error, MAX_TEXT_BYTES));
                }
            }
        }
    }

    /// Whether deals can be put into it: sealed with none, and nobody does anything with it.
    pub(crate) fn can_be_upgraded(&self) -> bool {
        let idle = !self.jobs.iter().any(Job::is_open);
        let sealed = self.finalized
            && self.aborted.is_none()
            && self.comm_r.is_some()
            && self.store.is_some();
        sealed
            && idle
            && self.pieces.is_empty()
            && self.upgrade.is_none()
            && self.plan() == Plan::Sealer
    }

    /// Takes the proof of an upgrade.
    pub(crate) fn upgraded(&mut self, new: Upgrade, named_pieces: &[String]) -> SubmitReply {
        if let Some(upgrade) = &self.upgrade {
            return match upgrade.comm_r == new.comm_r {
                true => reply(SubmitResult::DuplicateSubmit, ""),
                false => reply(
                    SubmitResult::MismatchedSubmission,
                    "the sector was upgraded to another replica",
                ),
            };
        }
        let Some(Job { work: Work::Snapup { pieces }, .. }) = self.running() else {
            return reply(SubmitResult::Rejected, "nobody is to upgrade this sector");
        };
        if let Some(other) = named_pieces
            .iter()
            .find(|named| !pieces.iter().any(|piece| piece.piece.piece_cid == **named))
        {
            let other = format!("piece {} was not given to this upgrade", cut_text(other, 100));
            return reply(SubmitResult::MismatchedSubmission, &other);
        }
        self.upgrade = Some(Upgrade { pieces: pieces.clone(), ..new });
        if let Some(job) = self.running_mut() {
            job.finish();
        }
        reply(SubmitResult::Accepted, "")
    }
}

fn reply(res: SubmitResult, desc: &str) -> SubmitReply {
    SubmitReply { res, desc: Some(desc.to_owned()).filter(|desc| !desc.is_empty()) }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
