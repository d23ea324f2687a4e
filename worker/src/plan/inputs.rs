//! What a job must hold for each state: the same data says which state an operator can resume to,
//! what is forgotten on the way back, and which files go with it.

use shared_msgs::plan::{Plan, State};

use super::{input::Input, niporep, rebuild, sealer, snapup, unseal, wdpost};
use crate::store::record::Record;

fn table(plan: Plan) -> &'static [(State, &'static [Input])] {
    match plan {
        Plan::Sealer => sealer::INPUTS,
        Plan::Snapup => snapup::INPUTS,
        Plan::Rebuild => rebuild::INPUTS,
        Plan::Unseal => unseal::INPUTS,
        Plan::Wdpost => wdpost::INPUTS,
        Plan::Niporep => niporep::INPUTS,
    }
}

/// Everything that a state needs; `None` for a state without a job.
pub(crate) fn inputs_of(plan: Plan, state: State) -> Option<Vec<Input>> {
    if state == State::SyntheticPoRepNeeded {
        plan.row(state)?;
        let mut inputs = inputs_of(plan, State::Pc2Done)?;
        inputs.push(Input::SyntheticProofType);
        return Some(inputs);
    }
    let table = table(plan);
    let end = table.iter().position(|(known, _)| *known == state)?;
    Some(table[..=end].iter().flat_map(|(_, inputs)| inputs.iter().copied()).collect())
}

/// What the job lacks for a state, as operators read it; empty if it can go on from there.
pub(crate) fn missing(plan: Plan, state: State, record: &Record) -> Vec<String> {
    let Some(inputs) = inputs_of(plan, state) else {
        return vec![format!("way there in plan {plan}")];
    };
    let upgraded = record.sector().is_some_and(|sector| sector.upgrade.is_some());
    // Both ways of a rebuild lead to these states; the others of an upgrade are on one of them
    // only.
    let on_both_ways = matches!(state, State::SnapDone | State::Persisted | State::Finished);
    let needed =
        inputs.into_iter().filter(|input| upgraded || !on_both_ways || !input.is_of_upgrade());
    needed.filter(|input| !input.is_held(record)).map(|input| input.name().to_owned()).collect()
}

/// What the states after `state` yield.
pub(crate) fn later(plan: Plan, state: State) -> Vec<Input> {
    let Some(kept) = inputs_of(plan, state) else { return vec![] };
    let all = inputs_of(plan, State::Finished).unwrap_or_default();
    all.into_iter().filter(|input| !kept.contains(input)).collect()
}

/// Forgets what the states after `state` yielded: a job that goes back yields it anew.
pub(crate) fn forget_later(plan: Plan, state: State, record: &mut Record) {
    for input in later(plan, state) {
        input.forget(record);
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::sector_manager::{
        AllocatedSector, Base64Bytes, Randomness, SealVersion, SectorId, SectorSize, Seed, Ticket,
    };

    use super::*;
    use crate::store::record::{Sector, Upgrade};

    fn record(plan: Plan, sector: Sector) -> Record {
        Record { job: Some(sector.into()), ..Record::new(plan) }
    }

    fn new_sector() -> Sector {
        Sector::new(AllocatedSector {
            id: SectorId { miner: 10000, number: 2 },
            proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
        })
    }

    fn at_c1_done() -> Record {
        let sector = Sector {
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
            ..new_sector()
        };
        record(Plan::Sealer, sector)
    }

    fn missing_for(record: &Record, state: &str) -> Vec<String> {
        missing(record.plan, record.plan.state_named(state).unwrap(), record)
    }

    #[test]
    fn every_table_knows_every_state_with_a_job() {
        for &plan in Plan::ALL {
            for row in plan.rows() {
                let without = matches!(row.state, State::Empty | State::Aborted);
                assert_eq!(inputs_of(plan, row.state).is_none(), without, "{plan} {}", row.state);
            }
        }
    }

    #[test]
    fn every_stage_after_the_first_needs_what_the_one_before_it_yields() {
        for &plan in Plan::ALL {
            for pair in table(plan).windows(2) {
                let (before, after) =
                    (inputs_of(plan, pair[0].0).unwrap(), inputs_of(plan, pair[1].0).unwrap());
                assert!(after.starts_with(&before), "{plan} {}", pair[1].0);
            }
        }
    }

    #[test]
    fn a_sector_without_a_proof_can_go_back_and_not_forward() {
        let record = at_c1_done();
        for state in
            ["Allocated", "TreeDBuilt", "PC1Done", "PC2Done", "PersistanceSubmitted", "C1Done"]
        {
            assert!(missing_for(&record, state).is_empty(), "{state}");
        }
        assert_eq!(missing_for(&record, "C2Done"), ["proof"]);
        assert_eq!(missing_for(&record, "Finished"), ["proof", "submitted proof"]);
        assert_eq!(missing_for(&record, "SyntheticPoRepNeeded"), ["synthetic proof type"]);
    }

    #[test]
    fn going_back_forgets_what_is_yielded_anew_and_nothing_else() {
        let with_proof =
            Sector { proof: Some(Base64Bytes(vec![1])), ..at_c1_done().sector().unwrap().clone() };
        let mut record = record(Plan::Sealer, with_proof);
        forget_later(Plan::Sealer, State::TreeDBuilt, &mut record);
        record.went_back = true;
        let sector = record.sector().unwrap();
        assert!(sector.comm_d.is_some() && sector.pieces.is_some());
        assert!(
            sector.ticket.is_none()
                && !sector.pc1_done
                && sector.comm_r.is_none()
                && sector.seed.is_none()
        );
        assert!(!sector.c1_done && sector.proof.is_none());
        assert!(sector.pre_commit_sent, "what the sector manager was told stays true");
        assert!(missing_for(&record, "Persisted").contains(&"persisted files".to_owned()));
    }

    #[test]
    fn a_rebuild_has_two_ways() {
        let sealed = Sector {
            pieces: Some(vec![]),
            comm_d: Some([1; 32]),
            pc1_done: true,
            comm_r: Some([3; 32]),
            sealed_checked: true,
            ..new_sector()
        };
        let plain = record(Plan::Rebuild, sealed.clone());
        assert!(missing_for(&plain, "SnapDone").is_empty());
        assert_eq!(missing_for(&plain, "SnapPieceAdded"), ["pieces of the upgrade"]);
        assert_eq!(missing_for(&plain, "Persisted"), ["persisted files"]);
        let upgraded =
            record(Plan::Rebuild, Sector { upgrade: Some(Upgrade::default()), ..sealed });
        assert_eq!(
            missing_for(&upgraded, "SnapDone"),
            ["pieces of the upgrade", "tree-d of the upgrade", "upgraded replica"]
        );
    }

    #[test]
    fn a_rebuild_keeps_its_ticket_on_the_way_back() {
        let mut record = at_c1_done();
        record.plan = Plan::Rebuild;
        forget_later(Plan::Rebuild, State::Allocated, &mut record);
        let sector = record.sector().unwrap();
        assert!(
            sector.ticket.is_some()
                && sector.deals.is_some()
                && sector.pieces.is_none()
                && sector.comm_r.is_none()
        );
    }
}
