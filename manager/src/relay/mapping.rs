//! What each request of a worker is at a damocles sector manager, and what its answer means for the
//! worker (pure). Where the two differ the rule has a function of its own, and a test that is named
//! after it.

use damocles_wire::{
    address::Address,
    json_rpc::SECTOR_STATE_NOT_FOUND,
    sector_manager::{self as venus, Method},
};
use shared_msgs::{error::ErrorKind, id::Id, sector_manager::*};

/// How a request may be repeated at the sector manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// As often as one likes.
    Freely,
    /// Only if it is known that it did nothing: it uses something up, or sends a message anew.
    Never,
}

/// A worker's request that one call of a sector manager answers.
pub(super) trait Mapped: WorkerRequest + Clone + 'static {
    type Method: Method;

    /// Under which id the result is kept.
    fn request_id(&self) -> Option<Id>;
    fn repeat(&self) -> Repeat {
        Repeat::Freely
    }
    /// The same request, for when nobody knows whether the sector manager has heard of it.
    fn asked_in_doubt(&self) -> Self {
        self.clone()
    }
    fn params(&self, worker: &str) -> <Self::Method as Method>::Params;
    fn reply(
        &self,
        result: <Self::Method as Method>::Result,
        at: &Address,
    ) -> Result<Self::Reply, ErrorKind>;
    /// What a refusal means.
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        Err(refusal(self.sector(), code, message))
    }
    /// The sector that it is about.
    fn sector(&self) -> Option<SectorId>;
    /// Nothing to give is not kept: the worker asks with the same id until there is something.
    fn is_nothing(_: &Self::Reply) -> bool {
        false
    }
    /// The sector that a reply gives away, and that nobody else may be given.
    fn given(_: &Self::Reply) -> Option<SectorId> {
        None
    }
}

/// The sector is not open at the sector manager, or something else is wrong, which the worker tries
/// again as damocles's own does.
fn refusal(sector: Option<SectorId>, code: i64, message: &str) -> ErrorKind {
    match sector {
        Some(sector) if code == SECTOR_STATE_NOT_FOUND => {
            ErrorKind::SectorNotFound { sector: sector.to_string() }
        }
        _ => ErrorKind::internal(format!("{message} (code {code})")),
    }
}

// A refused allocation is "nothing to do", as it is for damocles's own worker.
fn nothing<T>(what: &str, code: i64, message: &str) -> Result<Option<T>, ErrorKind> {
    tracing::warn!(code, message, "{what} was refused: nothing to do for now");
    Ok(None)
}

fn sectors(spec: &AllocateSectorSpec) -> venus::SectorSpec {
    let numbers = |types: &Vec<SealProofType>| types.iter().map(|proof| proof.number()).collect();
    venus::SectorSpec {
        allowed_miners: spec.allowed_miners.clone(),
        allowed_proof_types: spec.allowed_proof_types.as_ref().map(numbers),
    }
}

fn deals(spec: &AcquireDealsSpec) -> venus::DealsSpec {
    venus::DealsSpec { max_deals: spec.max_deals, min_used_space: spec.min_used_space }
}

fn unknown(what: impl std::fmt::Display) -> ErrorKind {
    ErrorKind::internal(format!("the sector manager answers with {what}, which is not known here"))
}

pub(super) fn allocated(given: venus::Allocated) -> Result<AllocatedSector, ErrorKind> {
    let proof_type = SealProofType::try_from(given.proof_type).map_err(unknown)?;
    Ok(AllocatedSector { id: given.id.into(), proof_type })
}

// Where the sector manager has the bytes of a piece, or sends on to where they are.
fn piece(given: venus::Piece, at: &Address) -> SectorPiece {
    let venus::DealInfo { deal_id, allocation_id, payload_size, is_builtin_market } =
        given.deal_info;
    let deal = DealInfo { deal_id, allocation_id, payload_size, is_builtin_market };
    let piece_cid = given.piece.piece_cid.cid;
    let url = deal.has_data().then(|| piece_url(at, &piece_cid));
    let piece = PieceInfo { size: given.piece.size, piece_cid };
    SectorPiece { piece, deal_info: Some(deal), url }
}

fn old_piece(given: venus::OldPiece, at: &Address) -> SectorPiece {
    let deal_info = venus::DealInfo {
        deal_id: given.id,
        payload_size: given.payload_size,
        is_builtin_market: true,
        ..venus::DealInfo::default()
    };
    let info = venus::PieceInfo { size: given.piece.size, piece_cid: given.piece.cid };
    piece(venus::Piece { piece: info, deal_info }, at)
}

fn piece_url(at: &Address, piece_cid: &str) -> String {
    at.at(&format!("/piecestore/{piece_cid}")).to_string()
}

fn pieces(given: Vec<venus::Piece>, at: &Address) -> Vec<SectorPiece> {
    given.into_iter().map(|given| piece(given, at)).collect()
}

fn ticket(given: venus::Ticket) -> Ticket {
    Ticket { ticket: given.ticket, epoch: given.epoch }
}

fn public(given: venus::PublicReplica) -> PublicReplica {
    PublicReplica { comm_r: given.comm_r }
}

fn private(given: venus::PrivateReplica) -> PrivateReplica {
    PrivateReplica { access_instance: given.access_instance }
}

fn submitted(given: venus::SubmitReply) -> Result<SubmitReply, ErrorKind> {
    let res = match given.res {
        1 => SubmitResult::Accepted,
        2 => SubmitResult::DuplicateSubmit,
        3 => SubmitResult::MismatchedSubmission,
        4 => SubmitResult::Rejected,
        5 => SubmitResult::FilesMissed,
        other => return Err(unknown(format_args!("submit result {other}"))),
    };
    Ok(SubmitReply { res, desc: given.desc })
}

// A state that is not known is waited through.
fn polled(given: venus::PollReply) -> PollReply {
    let state = match given.state {
        2 => OnChainState::Packed,
        3 => OnChainState::Landed,
        4 => OnChainState::NotFound,
        5 => OnChainState::Failed,
        6 => OnChainState::PermFailed,
        7 => OnChainState::ShouldAbort,
        _ => OnChainState::Pending,
    };
    PollReply { state, desc: given.desc }
}

/// What the worker is told of its sector. Only a sector that is finalized has ended: until then an
/// abort reason is `""`, or left over from a restored sector.
pub(super) fn state_reply(
    sector: SectorId,
    finalized: bool,
    reason: Option<&str>,
) -> ReportStateReply {
    let abort_reason = reason.filter(|reason| finalized && !reason.is_empty());
    ReportStateReply { id: sector, finalized, abort_reason: abort_reason.map(Into::into) }
}

pub(super) fn failure(reported: &ReportedFailure) -> venus::ReportedFailure {
    let level = match reported.level.as_str() {
        "temporary" => "Temporary",
        "permanent" => "Permanent",
        "abort" => "Abort",
        "critical" => "Critical",
        other => other,
    };
    venus::ReportedFailure { level: level.to_owned(), desc: reported.desc.clone() }
}

// Inside of a store there are the same directories everywhere.
fn wdpost_sector(given: venus::WdpostSector, miner: u64) -> WdpostSector {
    let venus::WdpostSector { sector_id, comm_r, upgrade, accesses } = given;
    let name = SectorId { miner, number: sector_id };
    let (sealed, cache) = if upgrade { ("update", "update-cache") } else { ("sealed", "cache") };
    let accesses = WdpostAccesses {
        sealed_file: format!("store://{}/{sealed}/{name}", accesses.sealed_file),
        cache_dir: format!("store://{}/{cache}/{name}", accesses.cache_dir),
    };
    WdpostSector { sector_id, comm_r, upgrade, accesses }
}

fn wdpost_job(given: venus::WdpostJob) -> WdpostJob {
    let venus::WdpostInput { sectors, miner_id, proof_type, seed } = given.input;
    let sectors = sectors.into_iter().map(|sector| wdpost_sector(sector, miner_id)).collect();
    WdpostJob { id: given.id, input: WdpostInput { sectors, miner_id, proof_type, seed } }
}

fn store(given: venus::StoreInfo) -> StoreBasicInfo {
    StoreBasicInfo { name: given.name, path: given.path, meta: given.meta }
}

impl Mapped for AllocateSector {
    type Method = venus::AllocateSector;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }
    fn params(&self, _: &str) -> (venus::SectorSpec,) {
        (sectors(&self.spec),)
    }
    fn reply(
        &self,
        result: Option<venus::Allocated>,
        _: &Address,
    ) -> Result<Option<AllocatedSector>, ErrorKind> {
        result.map(allocated).transpose()
    }
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        nothing("a new sector", code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
    fn given(reply: &Self::Reply) -> Option<SectorId> {
        reply.map(|sector| sector.id)
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for AcquireDeals {
    type Method = venus::AcquireDeals;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::DealsSpec) {
        (self.sector.into(), deals(&self.spec))
    }
    fn reply(
        &self,
        result: Option<Vec<venus::Piece>>,
        at: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        Ok(result.filter(|given| !given.is_empty()).map(|given| pieces(given, at)))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for AssignTicket {
    type Method = venus::AssignTicket;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId,) {
        (self.sector.into(),)
    }
    fn reply(&self, result: venus::Ticket, _: &Address) -> Result<Ticket, ErrorKind> {
        Ok(ticket(result))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for SubmitPreCommit {
    type Method = venus::SubmitPreCommit;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    // With `reset` each call sends a message anew.
    fn repeat(&self) -> Repeat {
        if self.reset { Repeat::Never } else { Repeat::Freely }
    }
    // If the message was sent, this one is the same; if not, the state of the old one says so again.
    fn asked_in_doubt(&self) -> Self {
        SubmitPreCommit { reset: false, ..self.clone() }
    }
    fn params(&self, _: &str) -> (venus::Allocated, venus::PreCommitInfo, bool) {
        let AllocatedSector { id, proof_type } = self.sector;
        let Ticket { ticket, epoch } = self.info.ticket;
        let info = venus::PreCommitInfo {
            comm_r: self.info.comm_r,
            comm_d: self.info.comm_d,
            ticket: venus::Ticket { ticket, epoch },
        };
        let sector = venus::Allocated { id: id.into(), proof_type: proof_type.number() };
        (sector, info, self.reset)
    }
    fn reply(&self, result: venus::SubmitReply, _: &Address) -> Result<SubmitReply, ErrorKind> {
        submitted(result)
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector.id)
    }
}

impl Mapped for PollPreCommitState {
    type Method = venus::PollPreCommitState;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId,) {
        (self.sector.into(),)
    }
    fn reply(&self, result: venus::PollReply, _: &Address) -> Result<PollReply, ErrorKind> {
        Ok(polled(result))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for SubmitPersisted {
    type Method = venus::SubmitPersistedEx;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn params(&self, _: &str) -> (venus::SectorId, String, bool) {
        (self.sector.into(), self.store.clone(), self.is_upgrade)
    }
    fn reply(&self, result: bool, _: &Address) -> Result<bool, ErrorKind> {
        Ok(result)
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
    // Files that are not found now may be found later.
    fn is_nothing(reply: &bool) -> bool {
        !reply
    }
}

impl Mapped for WaitSeed {
    type Method = venus::WaitSeed;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, i64) {
        (self.sector.into(), self.proof_type.number())
    }
    fn reply(&self, result: venus::WaitSeedReply, _: &Address) -> Result<WaitSeedReply, ErrorKind> {
        let seed = result.seed.map(|given| Seed { seed: given.seed, epoch: given.epoch });
        Ok(WaitSeedReply { should_wait: result.should_wait, delay: result.delay, seed })
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for SubmitProof {
    type Method = venus::SubmitProof;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        if self.reset { Repeat::Never } else { Repeat::Freely }
    }
    fn asked_in_doubt(&self) -> Self {
        SubmitProof { reset: false, ..self.clone() }
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::Proof, bool) {
        (self.sector.into(), venus::Proof { proof: self.proof.clone() }, self.reset)
    }
    fn reply(&self, result: venus::SubmitReply, _: &Address) -> Result<SubmitReply, ErrorKind> {
        submitted(result)
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for PollProofState {
    type Method = venus::PollProofState;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId,) {
        (self.sector.into(),)
    }
    fn reply(&self, result: venus::PollReply, _: &Address) -> Result<PollReply, ErrorKind> {
        Ok(polled(result))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for ReportState {
    type Method = venus::ReportState;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::StateReport) {
        let WorkerPlace { instance, location } = self.worker.clone();
        let StateChange { prev, next, event } = self.state_change.clone();
        let report = venus::StateReport {
            worker: venus::WorkerPlace { instance, location },
            state_change: venus::StateChange { prev, next, event },
            failure: self.failure.as_ref().map(failure),
        };
        (self.sector.into(), report)
    }
    // Null before v0.9.
    fn reply(
        &self,
        result: Option<venus::StateReply>,
        _: &Address,
    ) -> Result<ReportStateReply, ErrorKind> {
        Ok(result.map_or_else(
            || state_reply(self.sector, false, None),
            |given| state_reply(self.sector, given.finalized, given.abort_reason.as_deref()),
        ))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for ReportFinalized {
    type Method = venus::ReportFinalized;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId,) {
        (self.sector.into(),)
    }
    fn reply(&self, (): (), _: &Address) -> Result<(), ErrorKind> {
        Ok(())
    }
    // An end that was told before.
    fn refused(&self, code: i64, message: &str) -> Result<(), ErrorKind> {
        ended_already(self.sector, code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for ReportAborted {
    type Method = venus::ReportAborted;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, String) {
        (self.sector.into(), self.reason.clone())
    }
    fn reply(&self, (): (), _: &Address) -> Result<(), ErrorKind> {
        Ok(())
    }
    fn refused(&self, code: i64, message: &str) -> Result<(), ErrorKind> {
        ended_already(self.sector, code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

fn ended_already(sector: SectorId, code: i64, message: &str) -> Result<(), ErrorKind> {
    match code {
        SECTOR_STATE_NOT_FOUND => Ok(()),
        _ => Err(refusal(Some(sector), code, message)),
    }
}

impl Mapped for AllocateSnapupSector {
    type Method = venus::AllocateSanpUpSector;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }
    fn params(&self, _: &str) -> (venus::SnapupSpec,) {
        (venus::SnapupSpec { sector: sectors(&self.sector), deals: deals(&self.deals) },)
    }
    fn reply(
        &self,
        result: Option<venus::AllocatedSnapup>,
        at: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        let Some(given) = result else { return Ok(None) };
        Ok(Some(AllocatedSnapupSector {
            sector: allocated(given.sector)?,
            pieces: pieces(given.pieces, at),
            public: public(given.public),
            private: private(given.private),
        }))
    }
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        nothing("a sector to put deals into", code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for SubmitSnapupProof {
    type Method = venus::SubmitSnapUpProof;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::SnapupProof) {
        let proof = venus::SnapupProof {
            comm_r: self.comm_r,
            comm_d: self.comm_d,
            access_instance: self.access_instance.clone(),
            pieces: self.pieces.iter().map(|cid| venus::Cid::from(cid.as_str())).collect(),
            proof: self.proof.clone(),
        };
        (self.sector.into(), proof)
    }
    fn reply(&self, result: venus::SubmitReply, _: &Address) -> Result<SubmitReply, ErrorKind> {
        submitted(result)
    }
    // What was taken before is refused, with these words.
    fn refused(&self, code: i64, message: &str) -> Result<SubmitReply, ErrorKind> {
        match message.contains("duplicate commit job") {
            true => Ok(SubmitReply { res: SubmitResult::DuplicateSubmit, desc: None }),
            false => Err(refusal(Some(self.sector), code, message)),
        }
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for AllocateRebuildSector {
    type Method = venus::AllocateRebuildSector;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }
    fn params(&self, _: &str) -> (venus::SectorSpec,) {
        (sectors(&self.spec),)
    }
    // The old shape of the pieces if it is there, and an upgrade if the chain knows of one.
    fn reply(
        &self,
        result: Option<venus::AllocatedRebuild>,
        at: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        let Some(given) = result else { return Ok(None) };
        let old = given.pieces.filter(|old| !old.is_empty());
        let pieces = match old {
            Some(old) => Some(old.into_iter().map(|given| old_piece(given, at)).collect()),
            None => given.pieces_v2.map(|new| pieces(new, at)),
        };
        Ok(Some(AllocatedRebuildSector {
            sector: allocated(given.sector)?,
            ticket: ticket(given.ticket),
            pieces,
            pieces_v2: None,
            is_snap_up: given.upgrade_public.is_some(),
            upgrade_public: given.upgrade_public.map(public),
        }))
    }
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        nothing("a sector to seal again", code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for AllocateUnsealSector {
    type Method = venus::AllocateUnsealSector;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }
    fn params(&self, _: &str) -> (venus::SectorSpec,) {
        (sectors(&self.spec),)
    }
    fn reply(
        &self,
        result: Option<venus::AllocatedUnseal>,
        _: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        let Some(given) = result else { return Ok(None) };
        Ok(Some(AllocatedUnsealSector {
            sector: allocated(given.sector)?,
            piece_cid: given.piece_cid.cid,
            comm_d: given.comm_d,
            ticket: ticket(given.ticket),
            offset: given.offset,
            size: given.size,
            private_info: private(given.private_info),
        }))
    }
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        nothing("a piece to unseal", code, message)
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for AchieveUnsealSector {
    type Method = venus::AchieveUnsealSector;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::Cid, String) {
        (self.sector.into(), self.piece_cid.as_str().into(), self.error.clone())
    }
    fn reply(&self, (): (), _: &Address) -> Result<(), ErrorKind> {
        Ok(())
    }
    // The task is gone when its end was told before.
    fn refused(&self, code: i64, message: &str) -> Result<(), ErrorKind> {
        match message.contains("task not found") {
            true => Ok(()),
            false => Err(refusal(Some(self.sector), code, message)),
        }
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

impl Mapped for AcquireUnsealDest {
    type Method = venus::AcquireUnsealDest;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, venus::Cid) {
        (self.sector.into(), self.piece_cid.as_str().into())
    }
    fn reply(&self, result: Option<Vec<String>>, at: &Address) -> Result<Vec<String>, ErrorKind> {
        let wanted = result.unwrap_or_default();
        wanted.iter().map(|destination| unseal_destination(destination, at)).collect()
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
}

// A store without a name is the sector manager's own store of pieces. What holds a token stays off
// the bus.
fn unseal_destination(wanted: &str, at: &Address) -> Result<String, ErrorKind> {
    if let Some(piece) = wanted.strip_prefix("store:///") {
        return Ok(piece_url(at, piece));
    }
    match wanted.split_once("://") {
        Some(("http" | "https" | "file" | "store", _)) => Ok(wanted.to_owned()),
        Some((scheme, _)) => Err(ErrorKind::internal(format!(
            "a piece cannot be brought to a destination of {scheme}://… yet: ask for it with --dest http://… or file:///…"
        ))),
        None => Err(unknown("a destination that is no URL")),
    }
}

impl Mapped for AllocateWdpostJob {
    type Method = venus::WdPoStAllocateJobs;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }
    fn params(&self, worker: &str) -> (venus::WdpostSpec, u32, String) {
        let spec = venus::WdpostSpec {
            allowed_miners: self.allowed_miners.clone(),
            allowed_proof_types: self.allowed_proof_types.clone(),
        };
        (spec, self.count, worker.to_owned())
    }
    fn reply(
        &self,
        result: Option<Vec<venus::WdpostJob>>,
        _: &Address,
    ) -> Result<Vec<WdpostJob>, ErrorKind> {
        Ok(result.unwrap_or_default().into_iter().map(wdpost_job).collect())
    }
    fn refused(&self, code: i64, message: &str) -> Result<Self::Reply, ErrorKind> {
        nothing("a window-PoSt job", code, message).map(Option::unwrap_or_default)
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_empty()
    }
}

impl Mapped for WdpostHeartbeat {
    type Method = venus::WdPoStHeartbeatJobs;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, worker: &str) -> (Vec<String>, String) {
        (self.jobs.clone(), worker.to_owned())
    }
    fn reply(&self, (): (), _: &Address) -> Result<(), ErrorKind> {
        Ok(())
    }
    fn refused(&self, code: i64, message: &str) -> Result<(), ErrorKind> {
        Err(job_refusal(&self.jobs.join(", "), code, message))
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
}

impl Mapped for WdpostFinish {
    type Method = venus::WdPoStFinishJob;

    fn request_id(&self) -> Option<Id> {
        Some(self.request_id)
    }
    // Faults are a success: with a text beside them the batch would be lost.
    fn params(&self, _: &str) -> (String, Option<venus::WdpostOutput>, String) {
        let output = self
            .output
            .clone()
            .map(|WdpostOutput { proofs, faults }| venus::WdpostOutput { proofs, faults });
        let error = if output.is_some() { String::new() } else { self.error.clone() };
        (self.job.clone(), output, error)
    }
    fn reply(&self, (): (), _: &Address) -> Result<(), ErrorKind> {
        Ok(())
    }
    fn refused(&self, code: i64, message: &str) -> Result<(), ErrorKind> {
        Err(job_refusal(&self.job, code, message))
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
}

fn job_refusal(job: &str, code: i64, message: &str) -> ErrorKind {
    match message.contains("key not found") {
        true => ErrorKind::JobNotFound { job: job.to_owned() },
        false => refusal(None, code, message),
    }
}

impl Mapped for StoreReserveSpace {
    type Method = venus::StoreReserveSpace;

    // Other candidates with the same id are another question; the same ones get the same store.
    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (venus::SectorId, u64, Vec<String>) {
        (self.sector.into(), self.size, self.candidates.clone())
    }
    fn reply(
        &self,
        result: Option<venus::StoreInfo>,
        _: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        Ok(result.map(store))
    }
    fn sector(&self) -> Option<SectorId> {
        Some(self.sector)
    }
    fn is_nothing(reply: &Self::Reply) -> bool {
        reply.is_none()
    }
}

impl Mapped for GetStoreBasicInfo {
    type Method = venus::StoreBasicInfo;

    fn request_id(&self) -> Option<Id> {
        None
    }
    fn params(&self, _: &str) -> (String,) {
        (self.name.clone(),)
    }
    fn reply(
        &self,
        result: Option<venus::StoreInfo>,
        _: &Address,
    ) -> Result<Self::Reply, ErrorKind> {
        Ok(result.map(store))
    }
    fn sector(&self) -> Option<SectorId> {
        None
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
