//! The client over a played bus: what it sends, how often, and what it makes of what comes back.

use std::{collections::VecDeque, sync::Mutex};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, pending, ready},
    stream::BoxStream,
};
use serde_json::{Value, json};

use super::*;
use crate::bus::{Message, Stored, Unasked};

const WHOLE: Duration = Duration::from_secs(5);

/// Answers what it was told to, one after another; then, and where that is `None`, never.
#[derive(Default)]
struct Played {
    answers: Mutex<VecDeque<Option<Result<Value, Unasked>>>>,
    asked: Mutex<Vec<(String, Value)>>,
    stored: Option<Value>,
    time_ms: Option<i64>,
}

impl Bus for Played {
    fn ask(&self, subject: String, request: Bytes) -> BoxFuture<'_, Result<Bytes, Unasked>> {
        let request = serde_json::from_slice(&request).unwrap();
        self.asked.lock().unwrap().push((subject, request));
        match self.answers.lock().unwrap().pop_front().flatten() {
            Some(answer) => ready(answer.map(|answer| answer.to_string().into())).boxed(),
            None => pending().boxed(),
        }
    }

    fn inbox(&self) -> String {
        "_INBOX.x".into()
    }

    fn listen(&self, _: String) -> BoxFuture<'_, Result<BoxStream<'static, Message>, String>> {
        ready(Ok(futures::stream::pending().boxed())).boxed()
    }

    fn send(&self, _: String, _: String, _: Bytes) -> BoxFuture<'_, Result<(), String>> {
        ready(Ok(())).boxed()
    }

    fn stored<'a>(
        &'a self,
        _: &'a Prefix,
        worker: Option<&'a WorkerName>,
    ) -> BoxFuture<'a, Result<Vec<(WorkerName, Stored)>, String>> {
        let stored = |body: &Value| {
            let body = body.to_string().into();
            let stored = Stored { body, age: Duration::from_secs(7), revision: 3 };
            (worker.unwrap().clone(), stored)
        };
        ready(Ok(self.stored.iter().map(stored).collect())).boxed()
    }

    fn server_time_ms<'a>(&'a self, _: &'a Prefix) -> BoxFuture<'a, Result<i64, String>> {
        ready(self.time_ms.ok_or_else(|| "there is no JetStream".into())).boxed()
    }

    fn holder<'a>(
        &'a self,
        _: &'a Prefix,
        _: &'a WorkerName,
    ) -> BoxFuture<'a, Result<Option<Id>, String>> {
        ready(Err("there is no JetStream".into())).boxed()
    }

    fn state_bucket_trouble<'a>(&'a self, _: &'a Prefix) -> BoxFuture<'a, Option<String>> {
        ready(None).boxed()
    }
}

fn played(
    answers: impl IntoIterator<Item = Option<Result<Value, Unasked>>>,
) -> (Arc<Played>, WorkerClient) {
    played_at(None, answers)
}

fn played_at(
    time_ms: Option<i64>,
    answers: impl IntoIterator<Item = Option<Result<Value, Unasked>>>,
) -> (Arc<Played>, WorkerClient) {
    let answers = Mutex::new(answers.into_iter().collect());
    let stored = Some(json!({"instance_id": Id::NIL, "seq": 1, "host": "h7"}));
    let bus = Arc::new(Played { answers, stored, time_ms, ..Played::default() });
    let client = WorkerClient {
        bus: bus.clone(),
        prefix: Prefix::default(),
        worker: "w1".parse().unwrap(),
        via: Via::Worker,
        timeout: WHOLE,
    };
    (bus, client)
}

fn done() -> Value {
    json!({"index": 0, "revision": 8, "outcome": {"kind": "paused"}})
}

fn refusal(kind: ErrorKind) -> Value {
    serde_json::to_value(shared_msgs::error::ErrorReply::from(kind)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_answered_is_sent_again_under_the_same_id() {
    let unconfirmed = refusal(ErrorKind::LeaseUnconfirmed);
    let (bus, client) = played([None, Some(Ok(unconfirmed)), Some(Ok(done()))]);
    let reply = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap();
    assert_eq!(reply.revision, 8);
    let asked = bus.asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].1["request_id"].is_string() && asked[0] == asked[1] && asked[1] == asked[2]);
    assert_eq!(asked[0].0, "damocles.v1.cmd.w1.pause");
}

#[tokio::test(start_paused = true)]
async fn a_command_says_by_the_servers_clock_until_when_somebody_waits_for_it() {
    let (bus, client) = played_at(Some(1_700_000_000_000), [None, Some(Ok(done()))]);
    client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap();
    for (_, request) in &*bus.asked.lock().unwrap() {
        assert_eq!(request["until_ms"], 1_700_000_000_000_i64 + WHOLE.as_millis() as i64);
    }
    let (bus, client) = played([Some(Ok(done()))]);
    client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap();
    assert!(bus.asked.lock().unwrap()[0].1.get("until_ms").is_none(), "nobody tells the time");
}

#[tokio::test(start_paused = true)]
async fn silence_is_unknown_when_the_time_is_up_and_nobody_there_is_not_delivered() {
    let (bus, client) = played([]);
    let began = Instant::now();
    let silence = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap_err();
    assert!(matches!(silence, OrderError::Unknown { waited: WHOLE, .. }), "{silence}");
    assert!(began.elapsed() <= WHOLE && bus.asked.lock().unwrap().len() > 1);

    let (bus, client) = played([Some(Err(Unasked::NoResponders))]);
    let nobody = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap_err();
    let last = nobody.last_report().unwrap();
    assert_eq!((last.snapshot.host.as_str(), last.revision), ("h7", 3));
    assert_eq!(bus.asked.lock().unwrap().len(), 1);

    let (_, client) = played([None, Some(Err(Unasked::NoResponders))]);
    let lost_before = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap_err();
    assert!(matches!(lost_before, OrderError::Unknown { .. }), "{lost_before}");
}

#[tokio::test(start_paused = true)]
async fn a_resume_sends_the_revision_that_it_has_read_and_is_not_sent_without() {
    let seen = json!({"instance_id": Id::NIL, "seq": 1, "threads": [{"index": 0, "revision": 7}]});
    let (bus, client) = played([Some(Ok(seen.clone())), Some(Ok(done()))]);
    client.order(Verb::Resume, CommandRequest::to(0)).await.unwrap();
    assert_eq!(bus.asked.lock().unwrap()[1].1["if_revision"], 7);

    let (bus, client) = played([Some(Ok(seen))]);
    let absent = client.order(Verb::Resume, CommandRequest::to(1)).await.unwrap_err();
    assert_eq!(absent.refusal(), Some(&ErrorKind::ThreadNotFound { index: 1, threads: 1 }));
    assert_eq!(bus.asked.lock().unwrap().len(), 1);

    let (_, client) = played([Some(Err(Unasked::NoResponders))]);
    let unread = client.order(Verb::Resume, CommandRequest::to(0)).await.unwrap_err();
    assert!(matches!(unread, OrderError::NotSent(_)), "{unread}");
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_an_answer_that_cannot_be_read_tells_nothing() {
    let (_, client) = played([Some(Ok(refusal(ErrorKind::NotSelected)))]);
    let refused = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&ErrorKind::NotSelected));

    let (_, client) = played([Some(Ok(json!({"stream": "S", "seq": 1})))]);
    let unreadable = client.order(Verb::Pause, CommandRequest::to(0)).await.unwrap_err();
    let why_unreadable =
        matches!(unreadable, OrderError::Unknown { why: CallError::BadReply(..), .. });
    assert!(why_unreadable, "{unreadable}");
}

#[test]
fn every_command_has_an_id_of_its_own_and_says_who_gives_it() {
    let (one, other) = (signed(CommandRequest::to(0)), signed(CommandRequest::to(0)));
    assert!(one.request_id.is_some() && one.request_id != other.request_id);
    assert_eq!(one.by, Some(caller()));
}
