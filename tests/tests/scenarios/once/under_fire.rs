//! Commands are given on and on while programs freeze and die; each has acted once in the end.
//!
//! Whoever asks, asks again under the same request id until there is an answer, as the tools do.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper says what went wrong by failing the test"
)]

use std::{collections::BTreeMap, time::Duration};

use damocles_client::call::{CallError, call};
use e2e::{
    bus::{Bus, refused},
    event_log::{EventLog, Stored, assert_exactly_once, of_request},
    leases,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    codec::Encoding,
    command::{BulkReply, CommandReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
    id::Id,
    selector::Selector,
    snapshot::WorkerSnapshot,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

const ANSWER_TIME: Duration = Duration::from_millis(300);
const ASK_AGAIN: Duration = Duration::from_millis(20);
const THREADS: u32 = 2;

// What was asked for under an id, and answered.
type Answered = Vec<(Id, CommandReply)>;

// Gives commands to one thread after the other until it is told to stop; counts questions that had
// no answer.
struct Commander {
    task: JoinHandle<Answered>,
    stop: watch::Sender<bool>,
    answered: watch::Receiver<usize>,
    unanswered: watch::Receiver<usize>,
}

impl Commander {
    fn start(bus: &Bus) -> Commander {
        let (stop, stopped) = watch::channel(false);
        let (count, answered) = watch::channel(0);
        let (missed, unanswered) = watch::channel(0);
        let bus = bus.clone();
        let task = tokio::spawn(async move {
            let mut done = Answered::new();
            for round in 0.. {
                let (verb, index) = (
                    [Verb::Pause, Verb::Resume][round / THREADS as usize % 2],
                    (round as u32) % THREADS,
                );
                if *stopped.borrow() && verb == Verb::Pause && index == 0 {
                    break;
                }
                let id = Id::generate();
                let request = CommandRequest { request_id: Some(id), ..CommandRequest::to(index) };
                loop {
                    match ask(&bus, verb, &request).await {
                        Ok(reply) => break done.push((id, reply)),
                        Err(CallError::Refused(error))
                            if error.kind == ErrorKind::LeaseUnconfirmed => {}
                        Err(CallError::Refused(error)) => {
                            panic!("{verb:?} of thread {index} is refused: {error:?}")
                        }
                        Err(_) => missed.send_modify(|missed| *missed += 1),
                    }
                    sleep(ASK_AGAIN).await;
                }
                count.send_modify(|count| *count += 1);
            }
            done
        });
        Commander { task, stop, answered, unanswered }
    }

    async fn until_answered(&mut self, more: usize) {
        until_more(&mut self.answered, more).await;
    }

    async fn until_unanswered(&mut self, more: usize) {
        until_more(&mut self.unanswered, more).await;
    }

    async fn stop(self) -> Answered {
        self.stop.send_replace(true);
        timeout(e2e::DEADLINE, self.task).await.unwrap().unwrap()
    }
}

async fn ask(bus: &Bus, verb: Verb, request: &CommandRequest) -> Result<CommandReply, CallError> {
    call(&bus.client, &bus.command("w1", verb.name()), Encoding::Json, request, ANSWER_TIME).await
}

async fn until_more(count: &mut watch::Receiver<usize>, more: usize) {
    let goal = *count.borrow() + more;
    assert!(
        timeout(e2e::DEADLINE, count.wait_for(|count| *count >= goal)).await.is_ok(),
        "not {goal} within {:?}",
        e2e::DEADLINE
    );
}

// Each command was carried out once, at the revision that its answer names; and each changed
// something.
fn assert_each_acted_once(answered: &Answered, events: &[Stored]) {
    assert_exactly_once(events);
    let mut revisions: BTreeMap<u32, u64> = BTreeMap::new();
    for (id, reply) in answered {
        let found = of_request(events, *id);
        let [event] = found[..] else {
            panic!("{id}, answered with {reply:?}, is told by {found:?}")
        };
        assert_eq!(
            (event.index, event.revision, event.outcome.as_ref()),
            (Some(reply.index), Some(reply.revision), Some(&reply.outcome))
        );
        assert!(matches!(reply.outcome, Outcome::Paused | Outcome::Resumed { .. }), "{reply:?}");
        let last = revisions.insert(reply.index, reply.revision).unwrap_or(reply.revision - 1);
        assert_eq!(reply.revision, last + 1, "{reply:?}");
    }
}

async fn idle_worker(bed: &mut Testbed) -> Worker {
    let worker = bed.worker(&WorkerConfig::new("w1").threads(THREADS as usize).idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == THREADS).await;
    worker
}

async fn finish(commander: Commander, log: &EventLog, worker: &mut Worker) {
    let answered = commander.stop().await;
    assert!(worker.terminate().await.success());
    assert_each_acted_once(&answered, &log.until_stopped(1).await);
}

#[tokio::test]
async fn while_the_worker_is_frozen_and_killed() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed).await;
    let mut commander = Commander::start(&bed.bus);
    for _ in 0..3 {
        commander.until_answered(3).await;
        worker.process().freeze();
        commander.until_unanswered(1).await;
        worker.process().thaw();
        commander.until_answered(2).await;
        worker.kill9().await;
        worker.start();
    }
    commander.until_answered(3).await;
    finish(commander, &log, &mut worker).await;
}

#[tokio::test]
async fn while_the_server_is_frozen_and_killed() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed).await;
    let mut commander = Commander::start(&bed.bus);
    for _ in 0..3 {
        commander.until_answered(3).await;
        bed.nats.process().freeze();
        commander.until_unanswered(1).await;
        bed.nats.process().thaw();
        commander.until_answered(2).await;
        bed.nats.kill9().await;
        bed.nats.restart().await;
    }
    commander.until_answered(3).await;
    finish(commander, &log, &mut worker).await;
}

#[tokio::test]
async fn while_the_manager_is_frozen_and_killed_which_no_command_notices() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let mut manager = bed.mock_manager().await;
    let mut worker = idle_worker(&mut bed).await;
    let mut commander = Commander::start(&bed.bus);
    for _ in 0..2 {
        manager.process().freeze();
        commander.until_answered(10).await;
        manager.process().thaw();
        bed.bus
            .listed("the manager knows the worker", |workers| {
                workers.iter().any(|worker| worker.name == "w1")
            })
            .await;
        manager.kill9().await;
        commander.until_answered(10).await;
        manager.restart();
        manager.answers(&bed.bus).await;
    }
    bed.bus
        .listed("the manager knows the worker", |workers| {
            workers.iter().any(|worker| worker.name == "w1" && !worker.lost)
        })
        .await;
    finish(commander, &log, &mut worker).await;
}

#[tokio::test]
async fn a_bulk_that_is_repeated_until_all_have_answered_acts_once_on_each_thread() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed).await;
    let mut asked = vec![];
    for round in 0..6 {
        let verb = [Verb::Cordon, Verb::Uncordon][round % 2];
        let id = Id::generate();
        let selector = Selector { worker: vec!["w*".into()], ..Selector::default() };
        let request = CommandRequest { request_id: Some(id), ..CommandRequest::to_all(selector) };
        let subject = bed.bus.prefix.command_of_all(verb.name());
        let client = bed.bus.client.clone();
        let asking = async {
            loop {
                match call::<_, BulkReply>(
                    &client,
                    &subject,
                    Encoding::Msgpack,
                    &request,
                    ANSWER_TIME,
                )
                .await
                {
                    Ok(reply) => return reply,
                    Err(_) => sleep(ASK_AGAIN).await,
                }
            }
        };
        let disturbing = async {
            match round % 3 {
                0 => {
                    worker.kill9().await;
                    worker.start();
                }
                1 => {
                    bed.nats.kill9().await;
                    bed.nats.restart().await;
                }
                _ => {
                    worker.process().freeze();
                    worker.process().thaw();
                }
            }
        };
        let (reply, ()) =
            timeout(e2e::DEADLINE, async { tokio::join!(asking, disturbing) }).await.unwrap();
        assert_eq!(reply.threads.len(), THREADS as usize);
        let expected = [Outcome::Cordoned, Outcome::Uncordoned][round % 2].clone();
        assert!(
            reply.threads.iter().all(|thread| thread.outcome.as_ref() == Some(&expected)),
            "{reply:?}"
        );
        asked.push(id);
    }
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert!(asked.iter().all(|id| of_request(&events, *id).len() == THREADS as usize));
}

#[tokio::test]
async fn a_holder_that_was_frozen_while_another_took_over_does_nothing_it_was_told_meanwhile() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let log = EventLog::make(&bed.bus).await;
    leases::make(&bed.bus, Duration::from_secs(1)).await;
    let config = WorkerConfig::new("w1").idle();
    let mut first = bed.prepare_worker("first", &config);
    let mut second = bed.prepare_worker("second", &config);
    first.start();
    let old = bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    second.start();
    leases::standing_by(&bed.bus, "w1", 1).await;

    first.process().freeze();
    let pid = second.pid();
    let taken_over =
        |snapshot: &WorkerSnapshot| snapshot.pid == pid && snapshot.summary.waiting == 1;
    let new = bed.states.until("w1", "the second one has taken over", taken_over).await;
    assert!(new.epoch > old.epoch);
    // Both are told; one is there to hear it.
    let id = Id::generate();
    let request = CommandRequest { request_id: Some(id), ..CommandRequest::to(0) };
    assert_eq!(bed.bus.order("w1", Verb::Pause, &request).await.unwrap().outcome, Outcome::Paused);
    first.process().thaw();
    first.log().line_with(&["WARN", "another worker of this name", &new.pid.to_string()]).await;
    // The first one holds the lease again, and its thread is as it was.
    assert!(second.terminate().await.success());
    let again = bed
        .states
        .until("w1", "the first one is back", |snapshot| snapshot.epoch > new.epoch)
        .await;
    assert_eq!(again.instance_id, old.instance_id);
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    let threads = bed.bus.list("w1").await.threads;
    assert_eq!(
        (threads[0].status.is_paused(), threads[0].revision),
        (false, old.threads[0].revision)
    );
    let stale =
        CommandRequest { if_revision: Some(old.threads[0].revision + 1), ..CommandRequest::to(0) };
    let refusal = refused(bed.bus.order("w1", Verb::Pause, &stale).await);
    assert!(matches!(refusal, ErrorKind::RevisionMismatch { .. }), "{refusal:?}");
    assert!(first.terminate().await.success());
    let events = log.until_stopped(2).await;
    assert_eq!(of_request(&events, id).len(), 1);
}
