//! Every message, as JSON and with its size in MessagePack; both encodings hold all of it.
//!
//! There is a sample of each type with every field, and one of each variant: a field or variant
//! without a sample does not compile. `Other` is what only a newer version can name.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

mod sector_manager;
pub(super) mod sectors;

use std::{any::type_name, fmt::Write, fs};

use e2e::{contract, repository};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shared_msgs::{
    api::{
        Conflict, Fared, FleetReply, InfoRequest, ListWorkersReply, ListWorkersRequest,
        RemoveReply, RemoveRequest, Unlisted, WorkerRefusal, WorkerReport, WorkerView,
    },
    codec::{Encoding, decode},
    command::{BulkReply, CommandReply, CommandRequest, Outcome, ThreadResult, Verb},
    error::{ErrorKind, ErrorReply, headers},
    event::{Event, EventId, EventKind},
    id::Id,
    lease::Lease,
    sector_manager::{SectorManagerReply, SectorManagerRequest},
    selector::Selector,
    snapshot::{
        PausedBy, Standstill, Summary, ThreadSnapshot, ThreadStatus, WorkerSnapshot, WorkerStatus,
    },
};

const ID: Id = Id::NIL;

// Every variant of an enum; one that is missing does not compile.
macro_rules! every {
    ($($variant:pat => $sample:expr),* $(,)?) => {{
        let samples = [$($sample),*];
        for sample in &samples {
            match sample { $($variant => {}),* }
        }
        samples
    }};
}
use every;

#[derive(Default)]
struct Samples {
    text: String,
    methods: Vec<&'static str>,
}

impl Samples {
    fn add<M: Serialize + DeserializeOwned>(&mut self, message: M) {
        let name = type_name::<M>().rsplit("::").next().unwrap_or_default().to_owned();
        self.add_as(&name, message);
    }

    fn add_as<M: Serialize + DeserializeOwned>(&mut self, name: &str, message: M) {
        let json = serde_json::to_value(&message).unwrap();
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let written = encoding.encode(&message).unwrap();
            let read: M = decode(&written).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), json, "{name} in {encoding:?}");
        }
        let bytes = Encoding::Msgpack.encode(&message).unwrap().len();
        writeln!(self.text, "{name}, {bytes} bytes of MessagePack\n{}\n", shown(&json)).unwrap();
    }

    fn variants<V: Serialize>(&mut self, variants: impl IntoIterator<Item = V>) {
        let name = type_name::<V>().rsplit("::").next().unwrap_or_default();
        writeln!(self.text, "every {name}").unwrap();
        for variant in variants {
            writeln!(self.text, "  {}", serde_json::to_string(&variant).unwrap()).unwrap();
        }
        self.text.push('\n');
    }

    fn method<Q: SectorManagerRequest>(&mut self, request: Q, reply: Q::Reply) {
        self.methods.push(Q::METHOD);
        self.add_as(&format!("request {}", Q::METHOD), request);
        self.add_as(&format!("reply to {}", Q::METHOD), SectorManagerReply { result: reply });
    }

    // There are samples of all methods that a file of the messages declares.
    fn have_all_methods_of(&self, file: &str) {
        let path = repository().join("shared-msgs/src").join(file);
        let text = fs::read_to_string(path).unwrap();
        let declared = text.lines().filter_map(|line| {
            let (_, declared) = line.split_once(" = \"")?;
            Some(declared.split_once("\" -> ")?.0)
        });
        assert_eq!(self.methods, declared.collect::<Vec<_>>());
    }

    #[track_caller]
    fn assert_are(self, file: &str) {
        contract::assert_is(file, &self.text);
    }
}

// A line a field.
fn shown(message: &Value) -> String {
    let Value::Object(fields) = message else { return message.to_string() };
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("  {name:?}: {value}")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn statuses() -> [ThreadStatus; 7] {
    every! {
        ThreadStatus::Idle => ThreadStatus::Idle,
        ThreadStatus::Running { .. } => ThreadStatus::Running {
            elapsed_ms: 1500,
            processor: Some("c2-0".into()),
            progress: Some("layer 3 of 11".into()),
        },
        ThreadStatus::Waiting { .. } => {
            ThreadStatus::Waiting { elapsed_ms: 1500, reason: "sector manager".into() }
        },
        ThreadStatus::PausePending { .. } => {
            ThreadStatus::PausePending { elapsed_ms: 1500, progress: Some("layer 3 of 11".into()) }
        },
        ThreadStatus::Paused { .. } => {
            ThreadStatus::Paused { elapsed_ms: 1500, by: PausedBy::Operator }
        },
        ThreadStatus::Unreachable { .. } => {
            ThreadStatus::Unreachable { elapsed_ms: 1500, why: "it cannot be reached".into() }
        },
        ThreadStatus::Other => ThreadStatus::Other,
    }
}

fn outcomes() -> [Outcome; 10] {
    every! {
        Outcome::Paused => Outcome::Paused,
        Outcome::PausePending { .. } => {
            Outcome::PausePending { stage: "C2".into(), why: Some("it is shared".into()) }
        },
        Outcome::AlreadyPaused => Outcome::AlreadyPaused,
        Outcome::Resumed { .. } => {
            Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() }
        },
        Outcome::PauseWithdrawn => Outcome::PauseWithdrawn,
        Outcome::Cordoned => Outcome::Cordoned,
        Outcome::AlreadyCordoned => Outcome::AlreadyCordoned,
        Outcome::Uncordoned => Outcome::Uncordoned,
        Outcome::NotCordoned => Outcome::NotCordoned,
        Outcome::Other => Outcome::Other,
    }
}

fn refusals() -> [ErrorKind; 27] {
    let sector = || "s-t010000-3".to_owned();
    every! {
        ErrorKind::ThreadNotFound { .. } => ErrorKind::ThreadNotFound { index: 9, threads: 3 },
        ErrorKind::NotPaused { .. } => ErrorKind::NotPaused { status: "running".into() },
        ErrorKind::InvalidState { .. } => ErrorKind::InvalidState {
            given: "PC9".into(),
            plan: "sealer".into(),
            allowed: vec!["Empty".into(), "Allocated".into()],
        },
        ErrorKind::StateUnreachable { .. } => ErrorKind::StateUnreachable {
            state: "C2Done".into(),
            missing: vec!["seed".into(), "proof".into()],
        },
        ErrorKind::RevisionMismatch { .. } => {
            ErrorKind::RevisionMismatch { expected: 7, actual: 8 }
        },
        ErrorKind::NotSelected => ErrorKind::NotSelected,
        ErrorKind::TooLate { .. } => ErrorKind::TooLate { late_ms: 1_500 },
        ErrorKind::LeaseUnconfirmed => ErrorKind::LeaseUnconfirmed,
        ErrorKind::ThreadUnusable { .. } => {
            ErrorKind::ThreadUnusable { reason: "its disk is not there".into() }
        },
        ErrorKind::NotSupported { .. } => ErrorKind::NotSupported {
            what: "pause --now".into(),
            why: "a stage that runs there cannot be stopped".into(),
        },
        ErrorKind::RequestIdReused { .. } => ErrorKind::RequestIdReused { request_id: ID },
        ErrorKind::WorkerNotFound { .. } => ErrorKind::WorkerNotFound { worker: "w1".into() },
        ErrorKind::NotDelivered { .. } => {
            ErrorKind::NotDelivered { worker: "w1".into(), last_ping_ms: Some(90_000) }
        },
        ErrorKind::OutcomeUnknown { .. } => {
            ErrorKind::OutcomeUnknown { detail: "worker w1: no answer".into() }
        },
        ErrorKind::Busy => ErrorKind::Busy,
        ErrorKind::NotPermitted { .. } => ErrorKind::NotPermitted { subject: "damocles.v1.cmd.w1.pause".into() },
        ErrorKind::WorkerReports { .. } => {
            ErrorKind::WorkerReports { worker: "w1".into(), last_ping_ms: 900 }
        },
        ErrorKind::SectorNotFound { .. } => ErrorKind::SectorNotFound { sector: sector() },
        ErrorKind::SectorNotFinished { .. } => {
            ErrorKind::SectorNotFinished { sector: sector(), state: "PC1Done".into() }
        },
        ErrorKind::SectorEnded { .. } => {
            ErrorKind::SectorEnded { sector: sector(), state: "aborted".into() }
        },
        ErrorKind::SectorBusy { .. } => {
            ErrorKind::SectorBusy { sector: sector(), job: "unseal".into() }
        },
        ErrorKind::PieceNotFound { .. } => ErrorKind::PieceNotFound {
            sector: sector(),
            piece: Some("baga1".into()),
            deals: vec!["baga2".into()],
        },
        ErrorKind::JobNotFound { .. } => ErrorKind::JobNotFound { job: "j1".into() },
        ErrorKind::BadRequest { .. } => ErrorKind::BadRequest { detail: "no index".into() },
        ErrorKind::Internal { .. } => ErrorKind::Internal { detail: "disk full".into() },
        ErrorKind::AnswerTooLarge { .. } => {
            ErrorKind::AnswerTooLarge { bytes: 2_000_000, max_bytes: 1_048_576 }
        },
        ErrorKind::Other => ErrorKind::Other,
    }
}

pub(super) fn event_kinds() -> Vec<EventKind> {
    let kinds = every! {
        EventKind::Transition => EventKind::Transition,
        EventKind::Failure => EventKind::Failure,
        EventKind::Paused => EventKind::Paused,
        EventKind::Command(_) => EventKind::Command(Verb::Pause),
        EventKind::WorkerStarted => EventKind::WorkerStarted,
        EventKind::WorkerStopped => EventKind::WorkerStopped,
        EventKind::EventsDropped => EventKind::EventsDropped,
        EventKind::Other => EventKind::Other,
    };
    let of_each_verb = |kind| match kind {
        EventKind::Command(_) => Verb::ALL.iter().map(|verb| EventKind::Command(*verb)).collect(),
        kind => vec![kind],
    };
    kinds.into_iter().flat_map(of_each_verb).collect()
}

fn worker_statuses() -> [WorkerStatus; 4] {
    every! {
        WorkerStatus::Running => WorkerStatus::Running,
        WorkerStatus::Stopping => WorkerStatus::Stopping,
        WorkerStatus::Stopped => WorkerStatus::Stopped,
        WorkerStatus::Other => WorkerStatus::Other,
    }
}

fn pausers() -> [PausedBy; 3] {
    every! {
        PausedBy::Operator => PausedBy::Operator,
        PausedBy::Error => PausedBy::Error,
        PausedBy::Other => PausedBy::Other,
    }
}

pub(super) fn snapshot() -> WorkerSnapshot {
    let threads = vec![ThreadSnapshot {
        index: 0,
        location: "/mnt/nvme1/store".into(),
        plan: "sealer".into(),
        sector_id: Some("s-t010000-3".into()),
        state: "C1Done".into(),
        stage: Some("C2".into()),
        cordoned: true,
        status: ThreadStatus::Paused { elapsed_ms: 1500, by: PausedBy::Error },
        revision: 17,
        retry: 2,
        end_pending: Some("removed by the sector manager".into()),
        last_err: Some("critical: no GPU".into()),
    }];
    WorkerSnapshot {
        name: "w1".into(),
        instance_id: ID,
        epoch: Some(5),
        seq: 42,
        version: "0.1.0".into(),
        dest: "damocles.v1.cmd.w1".into(),
        host: "rack1".into(),
        pid: 4711,
        location_id: Some(ID),
        started_at: 1_700_000_000_000,
        taken_at: 1_700_000_001_500,
        ping_interval_ms: 10_000,
        status: WorkerStatus::Running,
        history_stands_still: Some(standstill()),
        unreachable: Some(Standstill { elapsed_ms: 5_000, why: "it cannot be reached".into() }),
        summary: Summary::of(&threads),
        threads,
    }
}

fn standstill() -> Standstill {
    Standstill { elapsed_ms: 60_000, why: "no stream".into() }
}

fn lease() -> Lease {
    Lease { worker_id: ID, instance_id: ID, epoch: Some(5), host: "rack1".into(), pid: 4711 }
}

pub(super) fn workers() -> ListWorkersReply {
    let report: WorkerReport = WorkerReport::new(&snapshot(), "damocles.v1.cmd.w1".into());
    let view = WorkerView {
        name: "w1".into(),
        last_ping_ms: 1500,
        duplicate: true,
        lost: true,
        standing_by: vec![lease()],
        unstored_ms: Some(60_000),
        report,
    };
    ListWorkersReply {
        workers: vec![view],
        next: Some("w1".into()),
        notes: vec!["states do not get into their bucket".into()],
    }
}

fn selector() -> Selector {
    Selector {
        all: true,
        worker: vec!["w*".into()],
        index: vec![0, 2],
        state: vec!["C1Done".into()],
        plan: vec!["sealer".into()],
        status: vec!["paused".into()],
        error: Some("no GPU".into()),
        sector: vec!["s-t010000-3".into()],
    }
}

fn request() -> CommandRequest {
    CommandRequest {
        worker: Some("w1".into()),
        index: Some(0),
        selector: Some(selector()),
        now: true,
        state: Some("TreeDBuilt".into()),
        if_revision: Some(17),
        dry_run: true,
        until_ms: Some(1_700_000_005_000),
        request_id: Some(ID),
        by: Some("alice@rack1".into()),
        reason: Some("new GPU".into()),
    }
}

fn results() -> Vec<ThreadResult> {
    vec![
        ThreadResult {
            index: 0,
            sector_id: Some("s-t010000-3".into()),
            revision: Some(18),
            outcome: Some(Outcome::Paused),
            error: None,
        },
        ThreadResult {
            index: 2,
            sector_id: None,
            revision: None,
            outcome: None,
            error: Some(ErrorKind::NotSelected.into()),
        },
    ]
}

pub(super) fn event() -> Event {
    Event {
        id: EventId { store: ID, n: 7 },
        at: 1_700_000_000_000,
        kind: EventKind::Command(Verb::Resume),
        epoch: Some(5),
        instance_id: ID,
        index: Some(0),
        sector_id: Some("s-t010000-3".into()),
        from: Some("C1Done".into()),
        to: Some("TreeDBuilt".into()),
        revision: Some(18),
        error: Some("critical: no GPU".into()),
        outcome: Some(Outcome::Paused),
        by: Some("alice@rack1".into()),
        reason: Some("new GPU".into()),
        request_id: Some(ID),
        dropped: Some(3),
    }
}

#[test]
fn what_workers_and_managers_say_is_as_it_was() {
    let mut samples = Samples::default();
    samples.add(snapshot());
    samples.variants(statuses());
    samples.variants(worker_statuses());
    samples.variants(pausers());
    samples.add(event());
    samples.variants(event_kinds());
    samples.add(lease());
    samples.add(ListWorkersRequest { after: Some("w1".into()), limit: Some(100) });
    samples.add(workers());
    samples.add(InfoRequest { worker: "w1".into() });
    samples.add(FleetReply {
        request_id: Some(ID),
        dry_run: false,
        workers: vec![BulkReply {
            worker: "w1".into(),
            instance_id: ID,
            dry_run: false,
            threads: results(),
        }],
        refused: vec![WorkerRefusal {
            worker: Some("w2".into()),
            error: ErrorKind::LeaseUnconfirmed.into(),
        }],
        missing: vec!["w3".into()],
        conflicts: vec![Conflict { worker: "w1".into(), instance_id: ID }],
        unlisted: Unlisted {
            workers: 2,
            threads: vec![
                Fared { count: 2, outcome: Some(Outcome::Paused), error: None },
                Fared { count: 1, outcome: None, error: Some(ErrorKind::NotSelected.into()) },
            ],
            refused: 3,
            missing: 4,
            conflicts: 5,
        },
        complete: false,
    });
    samples.add(RemoveRequest { worker: "w1".into() });
    samples.add(RemoveReply { removed: "w1".into() });
    samples.assert_are("workers.txt");
}

#[test]
fn commands_and_their_answers_are_as_they_were() {
    let mut samples = Samples::default();
    samples.add(request());
    samples.add(CommandReply {
        index: 0,
        sector_id: Some("s-t010000-3".into()),
        revision: 18,
        outcome: Outcome::Paused,
        dry_run: true,
    });
    samples.variants(outcomes());
    samples.add(BulkReply {
        worker: "w1".into(),
        instance_id: ID,
        dry_run: true,
        threads: results(),
    });
    for refusal in refusals() {
        let [.., (header, code)] = headers(&refusal);
        writeln!(samples.text, "{header}: {code}").unwrap();
        samples.add(ErrorReply::from(refusal));
    }
    samples.assert_are("commands.txt");
}
