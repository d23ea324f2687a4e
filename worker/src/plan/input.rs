//! What a stage yields and later ones need.

use crate::store::record::{Job, Record, Upgrade};

/// Something that a stage yields and later ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The deals, possibly none.
    Deals,
    /// The pieces in the unsealed file.
    Pieces,
    /// The data's commitment.
    CommD,
    Ticket,
    /// The output of pre-commit phase 1.
    Pc1Out,
    /// The replica's commitment.
    CommR,
    /// A proof type with synthetic proofs.
    SyntheticProofType,
    /// A pre-commit that was handed in.
    PreCommit,
    /// The files in an attached store.
    PersistedFiles,
    Seed,
    /// The output of commit phase 1.
    C1Out,
    Proof,
    /// A proof that was handed in.
    SubmittedProof,
    /// A replica whose vanilla proofs could be made.
    CheckedReplica,
    /// The new pieces of an upgrade.
    UpgradePieces,
    /// The new data's commitment.
    UpgradeCommD,
    /// The new replica's commitment.
    UpgradeCommR,
    /// The proof of an upgrade.
    UpgradeProof,
    /// A piece's bytes.
    UnsealedPiece,
    /// The proofs of a partition.
    WindowProofs,
}

impl Input {
    /// What an operator reads when it is missing.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Input::Deals => "acquired deals",
            Input::Pieces => "pieces",
            Input::CommD => "tree-d",
            Input::Ticket => "ticket",
            Input::Pc1Out => "PC1 output",
            Input::CommR => "replica (commR)",
            Input::SyntheticProofType => "synthetic proof type",
            Input::PreCommit => "submitted pre-commit",
            Input::PersistedFiles => "persisted files",
            Input::Seed => "seed",
            Input::C1Out => "C1 output",
            Input::Proof => "proof",
            Input::SubmittedProof => "submitted proof",
            Input::CheckedReplica => "checked replica",
            Input::UpgradePieces => "pieces of the upgrade",
            Input::UpgradeCommD => "tree-d of the upgrade",
            Input::UpgradeCommR => "upgraded replica",
            Input::UpgradeProof => "proof of the upgrade",
            Input::UnsealedPiece => "unsealed piece",
            Input::WindowProofs => "window-PoSt proofs",
        }
    }

    /// Whether it belongs to the upgrade of a sector.
    pub(super) fn is_of_upgrade(self) -> bool {
        matches!(
            self,
            Input::UpgradePieces | Input::UpgradeCommD | Input::UpgradeCommR | Input::UpgradeProof
        )
    }

    pub(super) fn is_held(self, record: &Record) -> bool {
        if self == Input::WindowProofs {
            return record.wdpost().is_some_and(|wdpost| wdpost.output.is_some());
        }
        let Some(sector) = record.sector() else { return false };
        let upgrade = |holds: fn(&Upgrade) -> bool| sector.upgrade.as_ref().is_some_and(holds);
        match self {
            Input::Deals => sector.deals.is_some(),
            Input::Pieces => sector.pieces.is_some(),
            Input::CommD => sector.comm_d.is_some(),
            Input::Ticket => sector.ticket.is_some(),
            Input::Pc1Out => sector.pc1_done,
            Input::CommR => sector.comm_r.is_some(),
            Input::SyntheticProofType => sector.allocated.proof_type.is_synthetic(),
            Input::PreCommit => sector.pre_commit_sent,
            // On the way back they may be half removed already.
            Input::PersistedFiles => sector.persisted.is_some() && !record.went_back,
            Input::Seed => sector.seed.is_some(),
            Input::C1Out => sector.c1_done,
            Input::Proof => sector.proof.is_some(),
            Input::SubmittedProof => sector.proof_sent,
            Input::CheckedReplica => sector.sealed_checked,
            Input::UpgradePieces => upgrade(|upgrade| upgrade.pieces.is_some()),
            Input::UpgradeCommD => upgrade(|upgrade| upgrade.comm_d.is_some()),
            Input::UpgradeCommR => upgrade(|upgrade| upgrade.comm_r.is_some()),
            Input::UpgradeProof => upgrade(|upgrade| upgrade.proof.is_some()),
            Input::UnsealedPiece => sector.unseal.as_ref().is_some_and(|piece| piece.done),
            Input::WindowProofs => false,
        }
    }

    pub(super) fn forget(self, record: &mut Record) {
        let sector = match &mut record.job {
            Some(Job::Sector(sector)) => sector,
            Some(Job::Wdpost(wdpost)) if self == Input::WindowProofs => {
                wdpost.output = None;
                return;
            }
            Some(Job::Wdpost(_)) | None => return,
        };
        let mut upgrade = |forget: fn(&mut Upgrade)| sector.upgrade.iter_mut().for_each(forget);
        match self {
            Input::UpgradePieces => upgrade(|upgrade| upgrade.pieces = None),
            Input::UpgradeCommD => upgrade(|upgrade| upgrade.comm_d = None),
            Input::UpgradeCommR => upgrade(|upgrade| upgrade.comm_r = None),
            Input::UpgradeProof => upgrade(|upgrade| upgrade.proof = None),
            Input::Deals => sector.deals = None,
            Input::Pieces => sector.pieces = None,
            Input::CommD => sector.comm_d = None,
            Input::Ticket => sector.ticket = None,
            Input::Pc1Out => sector.pc1_done = false,
            Input::CommR => sector.comm_r = None,
            Input::Seed => sector.seed = None,
            Input::C1Out => sector.c1_done = false,
            Input::Proof => sector.proof = None,
            Input::CheckedReplica => sector.sealed_checked = false,
            Input::UnsealedPiece => sector.unseal.iter_mut().for_each(|piece| piece.done = false),
            // The proof type is no output of a stage. What the sector manager was told stays true,
            // and what lies in a store does until it is removed there, see [`super::tidy`].
            Input::SyntheticProofType
            | Input::PreCommit
            | Input::SubmittedProof
            | Input::PersistedFiles => {}
            Input::WindowProofs => {}
        }
    }
}
