//! What a sector must hold for each state: the same data says which state an operator can resume to, and what is
//! forgotten on the way back.

use shared_msgs::plan::{Plan, State};

use crate::store::record::Sector;

/// Something that a stage yields and later ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The deals, possibly none.
    Deals,
    /// The pieces in the unsealed file.
    Pieces,
    /// The data's commitment.
    CommD,
    /// The ticket.
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
    /// The seed.
    Seed,
    /// The output of commit phase 1.
    C1Out,
    /// The proof.
    Proof,
    /// A proof that was handed in.
    SubmittedProof,
}

impl Input {
    /// What an operator reads when it is missing.
    pub fn name(self) -> &'static str {
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
        }
    }

    fn is_held(self, sector: &Sector) -> bool {
        match self {
            Input::Deals => sector.deals.is_some(),
            Input::Pieces => sector.pieces.is_some(),
            Input::CommD => sector.comm_d.is_some(),
            Input::Ticket => sector.ticket.is_some(),
            Input::Pc1Out => sector.pc1_done,
            Input::CommR => sector.comm_r.is_some(),
            Input::SyntheticProofType => sector.allocated.proof_type.is_synthetic(),
            Input::PreCommit => sector.pre_commit_sent,
            Input::PersistedFiles => sector.persisted.is_some(),
            Input::Seed => sector.seed.is_some(),
            Input::C1Out => sector.c1_done,
            Input::Proof => sector.proof.is_some(),
            Input::SubmittedProof => sector.proof_sent,
        }
    }

    fn forget(self, sector: &mut Sector) {
        match self {
            Input::Deals => sector.deals = None,
            Input::Pieces => sector.pieces = None,
            Input::CommD => sector.comm_d = None,
            Input::Ticket => sector.ticket = None,
            Input::Pc1Out => sector.pc1_done = false,
            Input::CommR => sector.comm_r = None,
            Input::Seed => sector.seed = None,
            Input::C1Out => sector.c1_done = false,
            Input::Proof => sector.proof = None,
            // The proof type is no output of a stage. What the sector manager was told and what lies in a store are
            // facts: they are replaced or removed later, and never become untrue by going back.
            Input::SyntheticProofType | Input::PreCommit | Input::SubmittedProof | Input::PersistedFiles => {}
        }
    }
}

// Each state of the sealer with what its stage needs beyond what the states before it need.
const SEALER: &[(State, &[Input])] = &[
    (State::Allocated, &[]),
    (State::DealsAcquired, &[Input::Deals]),
    (State::PieceAdded, &[Input::Pieces]),
    (State::TreeDBuilt, &[Input::CommD]),
    (State::TicketAssigned, &[Input::Ticket]),
    (State::Pc1Done, &[Input::Pc1Out]),
    (State::Pc2Done, &[Input::CommR]),
    (State::PcSubmitted, &[Input::PreCommit]),
    (State::PcLanded, &[]),
    (State::Persisted, &[Input::PersistedFiles]),
    (State::PersistanceSubmitted, &[]),
    (State::SeedAssigned, &[Input::Seed]),
    (State::C1Done, &[Input::C1Out]),
    (State::C2Done, &[Input::Proof]),
    (State::ProofSubmitted, &[Input::SubmittedProof]),
    (State::Finished, &[]),
];

/// Everything that a state needs; `None` for a state without a sector, or of a plan that does not run yet.
pub fn inputs_of(plan: Plan, state: State) -> Option<Vec<Input>> {
    let table = match plan {
        Plan::Sealer => SEALER,
        _ => return None,
    };
    if state == State::SyntheticPoRepNeeded {
        let mut inputs = inputs_of(plan, State::Pc2Done)?;
        inputs.push(Input::SyntheticProofType);
        return Some(inputs);
    }
    let end = table.iter().position(|(known, _)| *known == state)?;
    Some(table[..=end].iter().flat_map(|(_, inputs)| inputs.iter().copied()).collect())
}

/// What the sector lacks for a state, as operators read it; empty if it can go on from there.
pub fn missing(plan: Plan, state: State, sector: &Sector) -> Vec<String> {
    match inputs_of(plan, state) {
        Some(inputs) => inputs.into_iter().filter(|input| !input.is_held(sector)).map(|input| input.name().to_owned()).collect(),
        None => vec![format!("way there in plan {plan}")],
    }
}

/// Forgets what the states after `state` yielded: a sector that goes back yields it anew.
pub fn forget_later(plan: Plan, state: State, sector: &mut Sector) {
    let Some(kept) = inputs_of(plan, state) else { return };
    let all = inputs_of(plan, State::Finished).unwrap_or_default();
    for input in all.into_iter().filter(|input| !kept.contains(input)) {
        input.forget(sector);
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::sealer::{AllocatedSector, Base64Bytes, Randomness, SealProofType, SectorId, Seed, Ticket};

    use super::*;

    fn sector_at_c1_done() -> Sector {
        let allocated = AllocatedSector { id: SectorId { miner: 10000, number: 2 }, proof_type: SealProofType(5) };
        Sector {
            deals: Some(vec![]),
            pieces: Some(vec![]),
            comm_d: Some([1; 32]),
            ticket: Some(Ticket { ticket: Randomness([2; 32]), epoch: 1 }),
            pc1_done: true,
            comm_r: Some([3; 32]),
            pre_commit_sent: true,
            persisted: Some("remote".into()),
            seed: Some(Seed { seed: Randomness([4; 32]), epoch: 2 }),
            c1_done: true,
            ..Sector::new(allocated)
        }
    }

    #[test]
    fn the_sealers_table_knows_every_state_with_a_sector() {
        for row in Plan::Sealer.rows() {
            let without = matches!(row.state, State::Empty | State::Aborted);
            assert_eq!(inputs_of(Plan::Sealer, row.state).is_none(), without, "{}", row.state);
        }
    }

    #[test]
    fn a_sector_without_a_proof_can_go_back_and_not_forward() {
        let sector = sector_at_c1_done();
        for state in ["Allocated", "TreeDBuilt", "PC1Done", "PC2Done", "PersistanceSubmitted", "C1Done"] {
            let state = Plan::Sealer.state_named(state).unwrap();
            assert!(missing(Plan::Sealer, state, &sector).is_empty(), "{state}");
        }
        assert_eq!(missing(Plan::Sealer, State::C2Done, &sector), ["proof"]);
        assert_eq!(missing(Plan::Sealer, State::Finished, &sector), ["proof", "submitted proof"]);
        assert_eq!(missing(Plan::Sealer, State::SyntheticPoRepNeeded, &sector), ["synthetic proof type"]);
    }

    #[test]
    fn going_back_forgets_what_is_yielded_anew_and_nothing_else() {
        let mut sector = Sector { proof: Some(Base64Bytes(vec![1])), ..sector_at_c1_done() };
        forget_later(Plan::Sealer, State::TreeDBuilt, &mut sector);
        assert!(sector.comm_d.is_some() && sector.pieces.is_some());
        assert!(sector.ticket.is_none() && !sector.pc1_done && sector.comm_r.is_none() && sector.seed.is_none());
        assert!(!sector.c1_done && sector.proof.is_none());
        assert!(sector.pre_commit_sent, "the next pre-commit replaces the one that was handed in");
    }
}
