//! A record of format 1: a pause was two fields, and so was what is in hand.

use serde::Deserialize;
use shared_msgs::{
    id::Id,
    plan::{Plan, Stage, State},
};

use super::{Control, FORMAT, GivenUpBy, Job, LetGo, Paused, Sector, Wdpost};

#[derive(Deserialize)]
pub(super) struct Record {
    revision: u64,
    plan: Plan,
    state: State,
    request_id: Id,
    paused: Option<Paused>,
    pause_pending: bool,
    #[serde(default)]
    cordoned: bool,
    retry: u32,
    last_err: Option<String>,
    running: Option<Stage>,
    deaths: u32,
    #[serde(default)]
    went_back: bool,
    given_up_by: Option<GivenUpBy>,
    let_go: Option<LetGo>,
    sector: Option<Sector>,
    wdpost: Option<Wdpost>,
}

impl From<Record> for super::Record {
    fn from(record: Record) -> Self {
        super::Record {
            format: FORMAT,
            revision: record.revision,
            plan: record.plan,
            state: record.state,
            request_id: record.request_id,
            control: match (record.paused, record.pause_pending) {
                (Some(paused), _) => Control::Paused(paused),
                (None, true) => Control::PausePending,
                (None, false) => Control::Working,
            },
            cordoned: record.cordoned,
            retry: record.retry,
            last_err: record.last_err,
            running: record.running,
            deaths: record.deaths,
            went_back: record.went_back,
            given_up_by: record.given_up_by,
            let_go: record.let_go,
            job: record.sector.map(Job::from).or(record.wdpost.map(Job::from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared_msgs::snapshot::PausedBy;

    use super::*;

    // As those versions wrote them; the third is of one that knew neither cordons, nor notes of
    // ends, nor other plans than those of sealing.
    fn written(name: &str) -> super::super::Record {
        let all: Value = serde_json::from_str(include_str!("format1.json")).unwrap();
        super::super::Record::read(all[name].to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_record_of_format_1_is_read() {
        let record = written("given_up");
        let paused = Paused { by: PausedBy::Error, since_ms: 1_700_000_000_123 };
        assert_eq!((record.format, record.revision, record.retry), (FORMAT, 14, 2));
        assert_eq!((record.control, record.cordoned), (Control::Paused(paused), true));
        assert_eq!(record.given_up_by, Some(GivenUpBy::Operator));
        assert_eq!(record.let_go, Some(LetGo { reason: "y".into(), since_ms: 7 }));
        let sector = record.sector().unwrap();
        assert_eq!((sector.comm_r, sector.c1_done), (Some([3; 32]), true));
        assert_eq!(record.job.unwrap().abort_reason(), Some("bad disk"));

        let record = written("pause_pending");
        assert_eq!((record.control, record.job), (Control::PausePending, None));
        assert_eq!((record.running, record.went_back), (Some(Stage::C2), true));

        let record = written("before_cordons");
        assert_eq!((record.control, record.cordoned), (Control::Working, false));
        assert_eq!((&record.let_go, record.given_up_by), (&None, None));
        assert_eq!(record.job_name().as_deref(), Some("s-t010000-2"));

        assert_eq!(written("wdpost").wdpost().unwrap().job.id, "j1");
    }

    #[test]
    fn what_was_read_is_written_in_the_new_format_and_read_again() {
        for name in ["given_up", "pause_pending", "before_cordons", "wdpost"] {
            let record = written(name);
            let bytes = serde_json::to_vec(&record).unwrap();
            assert_eq!(super::super::Record::read(&bytes).unwrap(), record, "{name}");
        }
    }
}
