//! The plans, their states, and what a thread does in each: data, as in the damocles documentation,
//! chapter 11.
//!
//! ```text
//!  Plan::rows() : [ Row { state, stage, next: [(event, state)] } ]
//! ```
//! Names print exactly as operators know and type them (`PersistanceSubmitted` included). The
//! worker's planner walks these tables; everybody else shows them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::keys;

/// What a sealing thread does with its sectors.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Plan {
    /// Seals new sectors, with deals or without, by the interactive PoRep.
    #[default]
    Sealer,
    /// Puts deals into sealed sectors without them (FIP-0019).
    Snapup,
    /// Seals a known sector again.
    Rebuild,
    /// Gets a piece out of a sealed sector.
    Unseal,
    /// Generates window-PoSt proofs, which say that sealed sectors are still kept.
    Wdpost,
    /// Seals new sectors with the non-interactive PoRep (FIP-0092).
    Niporep,
}

/// One line of a plan's table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The state that the line is about; each stands once in a table.
    pub state: State,
    /// What a thread does in it; `None` in `Empty`, where it asks for a job, and where a job ends.
    pub stage: Option<Stage>,
    /// Where the events lead.
    pub next: &'static [(PlanEvent, State)],
}

// An enum whose variants have names that people type, with conversion both ways.
macro_rules! named {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[derive(strum::Display, strum::IntoStaticStr, strum::VariantArray)]
        pub enum $enum {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] #[strum(serialize = $name)]
            $variant),*
        }

        impl $enum {
            /// In the order in which they are declared.
            pub const ALL: &[$enum] = <$enum as strum::VariantArray>::VARIANTS;

            /// The name, as operators type it.
            pub fn name(self) -> &'static str {
                self.into()
            }
        }
    };
}

named! {
    /// A state of some plan.
    State {
        Empty = "Empty", Allocated = "Allocated", DealsAcquired = "DealsAcquired", PieceAdded = "PieceAdded",
        TreeDBuilt = "TreeDBuilt", TicketAssigned = "TicketAssigned", Pc1Done = "PC1Done", Pc2Done = "PC2Done",
        SyntheticPoRepNeeded = "SyntheticPoRepNeeded", PcSubmitted = "PCSubmitted", PcLanded = "PCLanded",
        Persisted = "Persisted", PersistanceSubmitted = "PersistanceSubmitted", SeedAssigned = "SeedAssigned",
        C1Done = "C1Done", C2Done = "C2Done", ProofSubmitted = "ProofSubmitted", SnapEncoded = "SnapEncoded",
        SnapProved = "SnapProved", SealedChecked = "SealedChecked", SnapPieceAdded = "SnapPieceAdded",
        SnapTreeDBuilt = "SnapTreeDBuilt", SnapDone = "SnapDone", Unsealed = "Unsealed", Generated = "Generated",
        Finished = "Finished", Aborted = "Aborted",
    }
}

named! {
    /// What a thread does in a state.
    Stage {
        AcquireDeals = "AcquireDeals", AddPieces = "AddPieces", TreeD = "TreeD", AssignTicket = "AssignTicket",
        Pc1 = "PC1", Pc2 = "PC2", SyntheticPoRep = "SyntheticPoRep", SubmitPreCommit = "SubmitPreCommit",
        WaitPcLanded = "WaitPCLanded", PersistFiles = "PersistFiles", SubmitPersisted = "SubmitPersisted",
        WaitSeed = "WaitSeed", C1 = "C1", C2 = "C2", SubmitProof = "SubmitProof",
        WaitProofLanded = "WaitProofLanded", SnapEncode = "SnapEncode", SnapProve = "SnapProve",
        SubmitSnapupProof = "SubmitSnapupProof", PrepareForSnapup = "PrepareForSnapup", Unseal = "Unseal",
        UploadPiece = "UploadPiece", WindowPost = "WindowPoSt", SubmitWindowPost = "SubmitWindowPoSt",
    }
}

named! {
    /// What moves a thread from one state to another.
    PlanEvent {
        Allocate = "Allocate", AcquireDeals = "AcquireDeals", AddPiece = "AddPiece", BuildTreeD = "BuildTreeD",
        AssignTicket = "AssignTicket", Pc1 = "PC1", Pc2 = "PC2", Pc2NeedSyntheticProof = "PC2NeedSyntheticProof",
        SyntheticPoRep = "SyntheticPoRep", SubmitPc = "SubmitPC", ReSubmitPc = "ReSubmitPC", CheckPc = "CheckPC",
        Persist = "Persist", SubmitPersistance = "SubmitPersistance", AssignSeed = "AssignSeed", C1 = "C1", C2 = "C2",
        SubmitProof = "SubmitProof", ReSubmitProof = "ReSubmitProof", Finish = "Finish",
        AllocatedSnapUpSector = "AllocatedSnapUpSector", SnapEncode = "SnapEncode", SnapProve = "SnapProve",
        RePersist = "RePersist", AllocatedRebuildSector = "AllocatedRebuildSector", CheckSealed = "CheckSealed",
        SkipSnap = "SkipSnap", AllocatedUnsealSector = "AllocatedUnsealSector", UnsealDone = "UnsealDone",
        UploadPieceDone = "UploadPieceDone", Allocated = "Allocated", Generate = "Generate",
    }
}

const fn row(state: State, stage: Stage, next: &'static [(PlanEvent, State)]) -> Row {
    Row { state, stage: Some(stage), next }
}

const fn empty(next: &'static [(PlanEvent, State)]) -> Row {
    Row { state: State::Empty, stage: None, next }
}

const FINISHED: Row = Row { state: State::Finished, stage: None, next: &[] };
const ABORTED: Row = Row { state: State::Aborted, stage: None, next: &[] };

use State as S;

const SEALER: &[Row] = &[
    empty(&[(PlanEvent::Allocate, S::Allocated)]),
    row(S::Allocated, Stage::AcquireDeals, &[(PlanEvent::AcquireDeals, S::DealsAcquired)]),
    row(S::DealsAcquired, Stage::AddPieces, &[(PlanEvent::AddPiece, S::PieceAdded)]),
    row(S::PieceAdded, Stage::TreeD, &[(PlanEvent::BuildTreeD, S::TreeDBuilt)]),
    row(S::TreeDBuilt, Stage::AssignTicket, &[(PlanEvent::AssignTicket, S::TicketAssigned)]),
    row(S::TicketAssigned, Stage::Pc1, &[(PlanEvent::Pc1, S::Pc1Done)]),
    row(
        S::Pc1Done,
        Stage::Pc2,
        &[
            (PlanEvent::Pc2, S::Pc2Done),
            (PlanEvent::Pc2NeedSyntheticProof, S::SyntheticPoRepNeeded),
        ],
    ),
    row(S::SyntheticPoRepNeeded, Stage::SyntheticPoRep, &[(PlanEvent::SyntheticPoRep, S::Pc2Done)]),
    row(S::Pc2Done, Stage::SubmitPreCommit, &[(PlanEvent::SubmitPc, S::PcSubmitted)]),
    row(
        S::PcSubmitted,
        Stage::WaitPcLanded,
        &[(PlanEvent::ReSubmitPc, S::Pc2Done), (PlanEvent::CheckPc, S::PcLanded)],
    ),
    row(S::PcLanded, Stage::PersistFiles, &[(PlanEvent::Persist, S::Persisted)]),
    row(
        S::Persisted,
        Stage::SubmitPersisted,
        &[(PlanEvent::SubmitPersistance, S::PersistanceSubmitted)],
    ),
    row(S::PersistanceSubmitted, Stage::WaitSeed, &[(PlanEvent::AssignSeed, S::SeedAssigned)]),
    row(S::SeedAssigned, Stage::C1, &[(PlanEvent::C1, S::C1Done)]),
    row(S::C1Done, Stage::C2, &[(PlanEvent::C2, S::C2Done)]),
    row(S::C2Done, Stage::SubmitProof, &[(PlanEvent::SubmitProof, S::ProofSubmitted)]),
    row(
        S::ProofSubmitted,
        Stage::WaitProofLanded,
        &[(PlanEvent::ReSubmitProof, S::C2Done), (PlanEvent::Finish, S::Finished)],
    ),
    FINISHED,
    ABORTED,
];

const SNAPUP: &[Row] = &[
    empty(&[(PlanEvent::AllocatedSnapUpSector, S::Allocated)]),
    row(S::Allocated, Stage::AddPieces, &[(PlanEvent::AddPiece, S::PieceAdded)]),
    row(S::PieceAdded, Stage::TreeD, &[(PlanEvent::BuildTreeD, S::TreeDBuilt)]),
    row(S::TreeDBuilt, Stage::SnapEncode, &[(PlanEvent::SnapEncode, S::SnapEncoded)]),
    row(S::SnapEncoded, Stage::SnapProve, &[(PlanEvent::SnapProve, S::SnapProved)]),
    row(S::SnapProved, Stage::PersistFiles, &[(PlanEvent::Persist, S::Persisted)]),
    row(
        S::Persisted,
        Stage::SubmitSnapupProof,
        &[(PlanEvent::RePersist, S::SnapProved), (PlanEvent::Finish, S::Finished)],
    ),
    FINISHED,
    ABORTED,
];

const REBUILD: &[Row] = &[
    empty(&[(PlanEvent::AllocatedRebuildSector, S::Allocated)]),
    row(S::Allocated, Stage::AddPieces, &[(PlanEvent::AddPiece, S::PieceAdded)]),
    row(S::PieceAdded, Stage::TreeD, &[(PlanEvent::BuildTreeD, S::TreeDBuilt)]),
    row(S::TreeDBuilt, Stage::Pc1, &[(PlanEvent::Pc1, S::Pc1Done)]),
    row(
        S::Pc1Done,
        Stage::Pc2,
        &[
            (PlanEvent::Pc2, S::Pc2Done),
            (PlanEvent::Pc2NeedSyntheticProof, S::SyntheticPoRepNeeded),
        ],
    ),
    row(S::SyntheticPoRepNeeded, Stage::SyntheticPoRep, &[(PlanEvent::SyntheticPoRep, S::Pc2Done)]),
    row(S::Pc2Done, Stage::C1, &[(PlanEvent::CheckSealed, S::SealedChecked)]),
    row(
        S::SealedChecked,
        Stage::PrepareForSnapup,
        &[(PlanEvent::SkipSnap, S::SnapDone), (PlanEvent::AddPiece, S::SnapPieceAdded)],
    ),
    row(S::SnapPieceAdded, Stage::TreeD, &[(PlanEvent::BuildTreeD, S::SnapTreeDBuilt)]),
    row(S::SnapTreeDBuilt, Stage::SnapEncode, &[(PlanEvent::SnapEncode, S::SnapEncoded)]),
    row(S::SnapEncoded, Stage::SnapProve, &[(PlanEvent::SnapProve, S::SnapDone)]),
    row(S::SnapDone, Stage::PersistFiles, &[(PlanEvent::Persist, S::Persisted)]),
    row(S::Persisted, Stage::SubmitPersisted, &[(PlanEvent::SubmitPersistance, S::Finished)]),
    FINISHED,
    ABORTED,
];

const UNSEAL: &[Row] = &[
    empty(&[(PlanEvent::AllocatedUnsealSector, S::Allocated)]),
    row(S::Allocated, Stage::Unseal, &[(PlanEvent::UnsealDone, S::Unsealed)]),
    row(S::Unsealed, Stage::UploadPiece, &[(PlanEvent::UploadPieceDone, S::Finished)]),
    FINISHED,
    ABORTED,
];

const WDPOST: &[Row] = &[
    empty(&[(PlanEvent::Allocated, S::Allocated)]),
    row(S::Allocated, Stage::WindowPost, &[(PlanEvent::Generate, S::Generated)]),
    row(S::Generated, Stage::SubmitWindowPost, &[(PlanEvent::Finish, S::Finished)]),
    FINISHED,
    ABORTED,
];

const NIPOREP: &[Row] = &[
    empty(&[(PlanEvent::Allocate, S::Allocated)]),
    row(S::Allocated, Stage::AcquireDeals, &[(PlanEvent::AcquireDeals, S::DealsAcquired)]),
    row(S::DealsAcquired, Stage::AddPieces, &[(PlanEvent::AddPiece, S::PieceAdded)]),
    row(S::PieceAdded, Stage::TreeD, &[(PlanEvent::BuildTreeD, S::TreeDBuilt)]),
    row(S::TreeDBuilt, Stage::AssignTicket, &[(PlanEvent::AssignTicket, S::TicketAssigned)]),
    row(S::TicketAssigned, Stage::Pc1, &[(PlanEvent::Pc1, S::Pc1Done)]),
    row(S::Pc1Done, Stage::Pc2, &[(PlanEvent::Pc2, S::Pc2Done)]),
    row(S::Pc2Done, Stage::PersistFiles, &[(PlanEvent::Persist, S::Persisted)]),
    row(
        S::Persisted,
        Stage::SubmitPersisted,
        &[(PlanEvent::SubmitPersistance, S::PersistanceSubmitted)],
    ),
    row(S::PersistanceSubmitted, Stage::WaitSeed, &[(PlanEvent::AssignSeed, S::SeedAssigned)]),
    row(S::SeedAssigned, Stage::C1, &[(PlanEvent::C1, S::C1Done)]),
    row(S::C1Done, Stage::C2, &[(PlanEvent::C2, S::C2Done)]),
    row(S::C2Done, Stage::SubmitProof, &[(PlanEvent::SubmitProof, S::ProofSubmitted)]),
    row(
        S::ProofSubmitted,
        Stage::WaitProofLanded,
        &[(PlanEvent::ReSubmitProof, S::C2Done), (PlanEvent::Finish, S::Finished)],
    ),
    FINISHED,
    ABORTED,
];

impl Plan {
    /// In the order in which they are declared.
    pub const ALL: &[Plan] = <Plan as strum::VariantArray>::VARIANTS;

    /// The plan's name in configuration files and snapshots.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The plan's table, in the order a sector walks it.
    pub fn rows(self) -> &'static [Row] {
        match self {
            Plan::Sealer => SEALER,
            Plan::Snapup => SNAPUP,
            Plan::Rebuild => REBUILD,
            Plan::Unseal => UNSEAL,
            Plan::Wdpost => WDPOST,
            Plan::Niporep => NIPOREP,
        }
    }

    /// The line of a state; `None` if the plan does not know it.
    pub fn row(self, state: State) -> Option<&'static Row> {
        self.rows().iter().find(|row| row.state == state)
    }

    /// The state that an operator typed; `None` if the plan does not know it.
    pub fn state_named(self, name: &str) -> Option<State> {
        self.rows().iter().map(|row| row.state).find(|state| state.name() == name)
    }

    /// What a thread does in a state.
    pub fn stage(self, state: State) -> Option<Stage> {
        self.row(state).and_then(|row| row.stage)
    }

    /// Whether its sectors are brought into an attached store.
    pub fn persists(self) -> bool {
        self.rows().iter().any(|row| row.stage == Some(Stage::PersistFiles))
    }

    /// Where an event leads; `None` if it means nothing in that state.
    pub fn next(self, state: State, event: PlanEvent) -> Option<State> {
        self.row(state)?.next.iter().find(|(known, _)| *known == event).map(|(_, next)| *next)
    }
}

/// This is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no plan; {}", keys::instead(given, <Plan as strum::VariantNames>::VARIANTS))]
pub struct PlanError {
    /// What was given.
    pub given: String,
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let named = Plan::ALL.iter().copied().find(|plan| plan.name() == text);
        named.ok_or_else(|| PlanError { given: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_whole() {
        for &plan in Plan::ALL {
            let rows = plan.rows();
            assert_eq!(rows.first().unwrap().state, State::Empty, "{plan}");
            assert_eq!(rows.last().unwrap().state, State::Aborted, "{plan}");
            for row in rows {
                assert_eq!(
                    rows.iter().filter(|other| other.state == row.state).count(),
                    1,
                    "{plan} {}",
                    row.state
                );
                let ends = matches!(row.state, State::Finished | State::Aborted);
                assert_eq!(row.next.is_empty(), ends, "{plan} {}", row.state);
                assert_eq!(
                    row.stage.is_none(),
                    ends || row.state == State::Empty,
                    "{plan} {}",
                    row.state
                );
                for (event, next) in row.next {
                    assert!(plan.row(*next).is_some(), "{plan}: {} --{event}--> {next}", row.state);
                    assert_eq!(plan.next(row.state, *event), Some(*next));
                }
            }
        }
    }

    #[test]
    fn every_state_can_be_reached() {
        for &plan in Plan::ALL {
            for row in
                plan.rows().iter().filter(|row| !matches!(row.state, State::Empty | State::Aborted))
            {
                let reached = plan
                    .rows()
                    .iter()
                    .any(|from| from.next.iter().any(|(_, next)| *next == row.state));
                assert!(reached, "{plan}: nothing leads to {}", row.state);
            }
        }
    }

    #[test]
    fn the_states_of_the_sealer_are_those_that_operators_type() {
        let names: Vec<_> = Plan::Sealer.rows().iter().map(|row| row.state.name()).collect();
        let expected = "Empty Allocated DealsAcquired PieceAdded TreeDBuilt TicketAssigned PC1Done \
                        SyntheticPoRepNeeded PC2Done PCSubmitted PCLanded Persisted PersistanceSubmitted SeedAssigned C1Done \
                        C2Done ProofSubmitted Finished Aborted";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn what_is_only_read_needs_no_store_to_write_to() {
        let reads: Vec<_> = Plan::ALL.iter().copied().filter(|plan| !plan.persists()).collect();
        assert_eq!(reads, [Plan::Unseal, Plan::Wdpost]);
    }

    #[test]
    fn resubmissions_go_back() {
        assert_eq!(
            Plan::Sealer.next(State::PcSubmitted, PlanEvent::ReSubmitPc),
            Some(State::Pc2Done)
        );
        assert_eq!(
            Plan::Sealer.next(State::ProofSubmitted, PlanEvent::ReSubmitProof),
            Some(State::C2Done)
        );
        assert_eq!(
            Plan::Snapup.next(State::Persisted, PlanEvent::RePersist),
            Some(State::SnapProved)
        );
        assert_eq!(Plan::Sealer.next(State::Empty, PlanEvent::C2), None);
    }

    #[test]
    fn names_are_typed_exactly() {
        assert_eq!(
            Plan::Sealer.state_named("PersistanceSubmitted"),
            Some(State::PersistanceSubmitted)
        );
        assert_eq!(Plan::Sealer.state_named("PersistenceSubmitted"), None);
        assert_eq!(Plan::Sealer.state_named("SnapEncoded"), None);
        assert_eq!("sealer".parse(), Ok(Plan::Sealer));
        let refused = |text: &str| text.parse::<Plan>().unwrap_err().to_string();
        assert!(refused("seal").ends_with("did you mean sealer?"));
        assert!(refused("x").contains("niporep"));
    }
}
