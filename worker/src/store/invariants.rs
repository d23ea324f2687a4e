//! What is true of every record that is written. A change that breaks one of these sentences is a
//! fault of the change: nothing else can be trusted to go on from such a record.
//!
//! [`super::database`] asserts them at each commit where debug assertions are on, so every scenario
//! and every simulated world checks them.

use shared_msgs::plan::{Plan, State};

use super::record::{Record, Sector};

type Invariant = (&'static str, fn(&Record) -> bool);

const INVARIANTS: &[Invariant] = &[
    ("its state is one of its plan", |record| record.plan.row(record.state).is_some()),
    ("it has a job in every state but Empty", |record| {
        record.job.is_some() == (record.state != State::Empty)
    }),
    ("its job is one of its plan", |record| match record.plan {
        Plan::Wdpost => record.sector().is_none(),
        _ => record.wdpost().is_none(),
    }),
    ("only plan unseal has a piece to unseal", |record| {
        record.plan == Plan::Unseal || of_sector(record, |sector| sector.unseal.is_none())
    }),
    ("only an upgrade has one", |record| {
        matches!(record.plan, Plan::Snapup | Plan::Rebuild)
            || of_sector(record, |sector| sector.upgrade.is_none())
    }),
    ("nothing runs while it is paused", |record| !record.is_paused() || record.running.is_none()),
    ("what runs is its state's stage", |record| {
        record.running.is_none() || record.running == record.plan.stage(record.state)
    }),
    ("a retry has its error", |record| record.retry == 0 || record.last_err.is_some()),
    ("only a job goes back, or is let go", |record| {
        record.job.is_some() || !(record.went_back || record.let_go.is_some())
    }),
    ("who has given a job up is known of those in Aborted only", |record| {
        record.given_up_by.is_none() || record.state == State::Aborted
    }),
    ("only a job that is given up has a reason for it", |record| {
        record.state == State::Aborted
            || record.job.as_ref().is_none_or(|job| job.abort_reason().is_none())
    }),
    ("only a sector that is given up is being removed", |record| {
        record.state == State::Aborted || of_sector(record, |sector| !sector.removing)
    }),
];

fn of_sector(record: &Record, holds: fn(&Sector) -> bool) -> bool {
    record.sector().is_none_or(holds)
}

impl Record {
    /// The invariants that do not hold, in words.
    pub(super) fn broken(&self) -> Vec<&'static str> {
        INVARIANTS.iter().filter(|(_, holds)| !holds(self)).map(|(says, _)| *says).collect()
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::{
        plan::Stage,
        sector_manager::{AllocatedSector, SealVersion, SectorId, SectorSize},
        snapshot::PausedBy,
    };

    use super::*;
    use crate::store::record::{Control, GivenUpBy, Job, LetGo, Paused, UnsealPiece, Upgrade};

    fn at_pc1() -> Record {
        let id = SectorId { miner: 10000, number: 2 };
        let sector = Sector::new(AllocatedSector {
            id,
            proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
        });
        Record {
            state: State::TicketAssigned,
            running: Some(Stage::Pc1),
            job: Some(sector.into()),
            ..Record::new(Plan::Sealer)
        }
    }

    // What is broken once the record of a running PC1 was changed so.
    fn broken(change: fn(&mut Record)) -> Vec<&'static str> {
        let mut record = at_pc1();
        change(&mut record);
        record.broken()
    }

    fn sector(record: &mut Record) -> &mut Sector {
        let Some(Job::Sector(sector)) = &mut record.job else { panic!("no sector") };
        sector
    }

    #[test]
    fn a_thread_without_a_job_one_at_work_and_one_that_gives_up_hold_them_all() {
        for &plan in Plan::ALL {
            assert!(Record::new(plan).broken().is_empty(), "{plan}");
        }
        assert!(broken(|_| {}).is_empty());
        let gives_up = broken(|record| {
            record.state = State::Aborted;
            record.running = None;
            record.given_up_by = Some(GivenUpBy::Operator);
            sector(record).abort_reason = Some("by an operator".into());
            sector(record).removing = true;
        });
        assert!(gives_up.is_empty(), "{gives_up:?}");
    }

    #[test]
    fn each_is_broken_by_itself() {
        const PAUSED: Paused = Paused { by: PausedBy::Operator, since_ms: 1 };
        let changes: [fn(&mut Record); 12] = [
            |record| (record.state, record.running) = (State::Unsealed, None),
            |record| record.job = None,
            |record| {
                (record.plan, record.state, record.running) =
                    (Plan::Wdpost, State::Allocated, None);
            },
            |record| {
                sector(record).unseal = Some(UnsealPiece {
                    piece_cid: String::new(),
                    comm_d: [0; 32],
                    offset: 0,
                    size: 127,
                    store: String::new(),
                    done: false,
                });
            },
            |record| sector(record).upgrade = Some(Upgrade::default()),
            |record| record.control = Control::Paused(PAUSED),
            |record| record.running = Some(Stage::C2),
            |record| record.retry = 1,
            |record| {
                *record = Record { let_go: Some(LetGo::default()), ..Record::new(Plan::Sealer) };
            },
            |record| record.given_up_by = Some(GivenUpBy::SectorManager),
            |record| sector(record).abort_reason = Some("no reason".into()),
            |record| sector(record).removing = true,
        ];
        let found: Vec<_> = changes.into_iter().map(broken).collect();
        let each: Vec<_> = INVARIANTS.iter().map(|(says, _)| vec![*says]).collect();
        assert_eq!(found, each);
    }
}
