//! What a stage yields and later ones need.

use std::path::PathBuf;

use shared_msgs::sector_manager::SealVersion;

use crate::store::{
    location::SectorFiles,
    record::{Job, Record, Sector, Upgrade, Wdpost},
};

/// Something that a stage yields and later ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The deals, possibly none.
    Deals,
    /// The pieces in the unsealed file.
    Pieces,
    CommD,
    Ticket,
    /// The output of pre-commit phase 1.
    Pc1Out,
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
    UpgradeCommD,
    UpgradeCommR,
    /// The proof of an upgrade.
    UpgradeProof,
    UnsealedPiece,
    /// The proofs of a partition.
    WindowProofs,
}

/// All that is known of one.
struct Row {
    name: &'static str,
    holds: Holds,
    /// What it leaves in the thread's location, to be removed when a job goes back behind it.
    files: fn(&SectorFiles) -> Vec<&PathBuf>,
}

/// Where the record has it: whether it is there, and how it is forgotten.
enum Holds {
    Sector(fn(&Sector) -> bool, fn(&mut Sector)),
    Upgrade(fn(&Upgrade) -> bool, fn(&mut Upgrade)),
    Wdpost(fn(&Wdpost) -> bool, fn(&mut Wdpost)),
    /// In the record itself, and never forgotten.
    Record(fn(&Record) -> bool),
}

use Holds::{Record as OfRecord, Sector as OfSector, Upgrade as OfUpgrade, Wdpost as OfWdpost};

impl Row {
    fn new(name: &'static str, holds: Holds) -> Row {
        Row { name, holds, files: |_| vec![] }
    }

    fn with(self, files: fn(&SectorFiles) -> Vec<&PathBuf>) -> Row {
        Row { files, ..self }
    }
}

impl Input {
    fn row(self) -> Row {
        match self {
            Input::Deals => {
                Row::new("acquired deals", OfSector(|s| s.deals.is_some(), |s| s.deals = None))
            }
            Input::Pieces => {
                Row::new("pieces", OfSector(|s| s.pieces.is_some(), |s| s.pieces = None))
                    .with(|files| vec![&files.unsealed])
            }
            Input::CommD => {
                Row::new("tree-d", OfSector(|s| s.comm_d.is_some(), |s| s.comm_d = None))
                    .with(|files| vec![&files.tree_d])
            }
            Input::Ticket => {
                Row::new("ticket", OfSector(|s| s.ticket.is_some(), |s| s.ticket = None))
            }
            Input::Pc1Out => {
                Row::new("PC1 output", OfSector(|s| s.pc1_done, |s| s.pc1_done = false))
                    .with(|files| vec![&files.layers, &files.cache])
            }
            // The trees in the cache are made anew by PC2, which needs the layers beside them.
            Input::CommR => {
                Row::new("replica (commR)", OfSector(|s| s.comm_r.is_some(), |s| s.comm_r = None))
                    .with(|files| vec![&files.sealed])
            }
            // No output of a stage.
            Input::SyntheticProofType => Row::new(
                "synthetic proof type",
                OfSector(|s| s.allocated.proof_type.version == SealVersion::Synthetic, |_| {}),
            ),
            // What the sector manager was told stays true.
            Input::PreCommit => {
                Row::new("submitted pre-commit", OfSector(|s| s.pre_commit_sent, |_| {}))
            }
            // What lies in a store does until it is removed there, see [`super::tidy`]; on the way
            // back it may be half removed already.
            Input::PersistedFiles => Row::new(
                "persisted files",
                OfRecord(|r| !r.went_back && r.sector().is_some_and(|s| s.persisted.is_some())),
            ),
            Input::Seed => Row::new("seed", OfSector(|s| s.seed.is_some(), |s| s.seed = None)),
            Input::C1Out => Row::new("C1 output", OfSector(|s| s.c1_done, |s| s.c1_done = false)),
            Input::Proof => Row::new("proof", OfSector(|s| s.proof.is_some(), |s| s.proof = None)),
            Input::SubmittedProof => {
                Row::new("submitted proof", OfSector(|s| s.proof_sent, |_| {}))
            }
            Input::CheckedReplica => Row::new(
                "checked replica",
                OfSector(|s| s.sealed_checked, |s| s.sealed_checked = false),
            ),
            Input::UpgradePieces => Row::new(
                "pieces of the upgrade",
                OfUpgrade(|u| u.pieces.is_some(), |u| u.pieces = None),
            )
            .with(|files| vec![&files.update_unsealed]),
            Input::UpgradeCommD => Row::new(
                "tree-d of the upgrade",
                OfUpgrade(|u| u.comm_d.is_some(), |u| u.comm_d = None),
            )
            .with(|files| vec![&files.update_tree_d]),
            Input::UpgradeCommR => {
                Row::new("upgraded replica", OfUpgrade(|u| u.comm_r.is_some(), |u| u.comm_r = None))
                    .with(|files| vec![&files.update, &files.update_cache])
            }
            Input::UpgradeProof => Row::new(
                "proof of the upgrade",
                OfUpgrade(|u| u.proof.is_some(), |u| u.proof = None),
            ),
            Input::UnsealedPiece => Row::new(
                "unsealed piece",
                OfSector(
                    |s| s.unseal.as_ref().is_some_and(|piece| piece.done),
                    |s| s.unseal.iter_mut().for_each(|piece| piece.done = false),
                ),
            )
            .with(|files| vec![&files.piece, &files.unseal_cache]),
            Input::WindowProofs => Row::new(
                "window-PoSt proofs",
                OfWdpost(|wdpost| wdpost.output.is_some(), |wdpost| wdpost.output = None),
            ),
        }
    }

    /// What an operator reads when it is missing.
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether it belongs to the upgrade of a sector.
    pub(super) fn is_of_upgrade(self) -> bool {
        matches!(self.row().holds, OfUpgrade(..))
    }

    pub(super) fn is_held(self, record: &Record) -> bool {
        let sector = record.sector();
        match self.row().holds {
            OfRecord(is_held) => is_held(record),
            OfWdpost(is_held, _) => record.wdpost().is_some_and(is_held),
            OfSector(is_held, _) => sector.is_some_and(is_held),
            OfUpgrade(is_held, _) => {
                sector.and_then(|sector| sector.upgrade.as_ref()).is_some_and(is_held)
            }
        }
    }

    pub(super) fn forget(self, record: &mut Record) {
        match (self.row().holds, &mut record.job) {
            (OfSector(_, forget), Some(Job::Sector(sector))) => forget(sector),
            (OfUpgrade(_, forget), Some(Job::Sector(sector))) => {
                sector.upgrade.iter_mut().for_each(forget);
            }
            (OfWdpost(_, forget), Some(Job::Wdpost(wdpost))) => forget(wdpost),
            (OfRecord(_) | OfSector(..) | OfUpgrade(..) | OfWdpost(..), _) => {}
        }
    }

    /// What it leaves in the thread's location.
    pub(super) fn files(self, files: &SectorFiles) -> Vec<&PathBuf> {
        (self.row().files)(files)
    }
}
