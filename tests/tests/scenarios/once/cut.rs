//! The network fails around a command: it is refused, or acts once and its repeat is answered.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use e2e::{
    event_log::{EventLog, assert_exactly_once, of_request},
    testbed::Testbed,
    worker::WorkerConfig,
};
use futures::StreamExt;
use shared_msgs::{
    codec::decode,
    command::{CommandReply, CommandRequest, Outcome, Verb},
    error::{ErrorKind, ErrorReply},
    id::Id,
};
use tokio::time::timeout;

use crate::bus::cut::{until_back, until_expired, worker_behind_a_proxy};

// Sends a command and waits for nothing; its answers come to the inbox.
async fn send(bed: &Testbed, request: &CommandRequest) -> (String, async_nats::Subscriber) {
    let inbox = bed.bus.client.new_inbox();
    let answers = bed.bus.client.subscribe(inbox.clone()).await.unwrap();
    let body = serde_json::to_vec(request).unwrap();
    bed.bus
        .client
        .publish_with_reply(bed.bus.command("w1", "pause"), inbox.clone(), body.into())
        .await
        .unwrap();
    bed.bus.client.flush().await.unwrap();
    (inbox, answers)
}

fn pause() -> CommandRequest {
    CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(0) }
}

#[tokio::test]
async fn a_command_that_arrives_while_the_lease_cannot_be_renewed_is_refused_and_does_nothing() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    bed.keep_states().await;
    let (mut worker, proxy, before) = worker_behind_a_proxy(&mut bed).await;
    proxy.hold_requests();
    until_expired(&bed).await;
    let (one, many) =
        (pause(), CommandRequest { index: None, selector: Some(selector()), ..pause() });
    let mut asked = [send(&bed, &one).await, send(&bed, &many).await];
    for (inbox, _) in &asked {
        proxy.until_held(inbox).await;
    }
    proxy.heal();
    for (_, answers) in &mut asked {
        let answer = timeout(e2e::DEADLINE, answers.next()).await.unwrap().unwrap();
        assert_eq!(
            decode::<ErrorReply>(&answer.payload).unwrap().error.kind,
            ErrorKind::LeaseUnconfirmed
        );
    }
    let back = until_back(&mut bed, &before).await;
    assert_eq!((back.summary.paused, back.threads[0].revision), (0, before.threads[0].revision));

    // Nothing was decided: the same command can be given again.
    assert_eq!(bed.bus.order("w1", Verb::Pause, &one).await.unwrap().outcome, Outcome::Paused);
    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert_eq!(
        (
            of_request(&events, one.request_id.unwrap()).len(),
            of_request(&events, many.request_id.unwrap()).len()
        ),
        (1, 0)
    );
}

fn selector() -> shared_msgs::selector::Selector {
    shared_msgs::selector::Selector { all: true, ..Default::default() }
}

#[tokio::test]
async fn a_command_that_was_held_up_for_longer_than_the_lease_acts_once_or_is_refused() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    bed.keep_states().await;
    let (mut worker, proxy, before) = worker_behind_a_proxy(&mut bed).await;
    proxy.hold_answers();
    let request = pause();
    let (_, mut answers) = send(&bed, &request).await;
    let stale = CommandRequest { if_revision: Some(before.threads[0].revision + 7), ..pause() };
    let (_, mut stale_answers) = send(&bed, &stale).await;
    until_expired(&bed).await;
    proxy.heal();
    let answer = timeout(e2e::DEADLINE, answers.next()).await.unwrap().unwrap();
    let done = decode::<CommandReply>(&answer.payload).is_ok();
    let stale_answer = timeout(e2e::DEADLINE, stale_answers.next()).await.unwrap().unwrap();
    assert!(decode::<ErrorReply>(&stale_answer.payload).is_ok());
    until_back(&mut bed, &before).await;
    assert_eq!(bed.bus.list("w1").await.summary.paused, u32::from(done));
    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_eq!(
        (
            of_request(&events, request.request_id.unwrap()).len(),
            of_request(&events, stale.request_id.unwrap()).len()
        ),
        (usize::from(done), 0)
    );
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_to_the_repeat() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let proxy = bed.proxy().await;
    bed.keep_states().await;
    let mut worker = bed.prepare_worker_behind(&proxy, "worker", &WorkerConfig::new("w1").idle());
    worker.start();
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    proxy.hold_requests();
    let request = pause();
    drop(send(&bed, &request).await);
    // It was carried out, and nobody hears of it: the connection ends before.
    proxy.until_held("\"outcome\":{\"kind\":\"paused\"}").await;
    proxy.cut();
    proxy.heal();
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    let repeated = bed.bus.order("w1", Verb::Pause, &request).await.unwrap();
    assert_eq!(repeated.outcome, Outcome::Paused);
    assert!(worker.terminate().await.success());
    assert_eq!(of_request(&log.until_stopped(1).await, request.request_id.unwrap()).len(), 1);
}
