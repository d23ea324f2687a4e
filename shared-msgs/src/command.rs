//! The verbs a worker answers, their requests and replies.
//!
//! One request for every verb that changes something: `{"index": 0}` for one thread, answered by a
//! [`CommandReply`], or `{"selector": {…}}` for many, answered by a [`BulkReply`]. On
//! `cmd_all.<verb>` every worker hears it, with a selector. A refusal is an
//! [`crate::error::ErrorReply`]; everything here is what success looks like.
//!
//! Decision 020 in `docs/decisions`.

use serde::{Deserialize, Serialize};

use crate::{
    codec::Texts,
    error::{ErrorBody, ErrorKind},
    id::Id,
    selector::Selector,
};

/// The verbs of `cmd.<w>.<verb>` that change nothing; the others are [`Verb`].
pub mod verb {
    /// Answers a [`crate::snapshot::WorkerSnapshot`] taken now.
    pub const LIST: &str = "list";
}

/// What changes something: a verb of `cmd.<w>.<verb>` with a [`CommandRequest`], served on
/// `cmd_all.<verb>` too.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verb {
    /// Pauses: at once while a thread waits, else when its stage ends.
    Pause,
    /// Resumes a paused thread, or takes a pending pause back.
    Resume,
    /// Lets a thread finish what it has in hand and take nothing new.
    Cordon,
    /// Ends a cordon: the thread takes new work again.
    Uncordon,
}

impl Verb {
    /// In the order in which they are declared.
    pub const ALL: &[Verb] = <Verb as strum::VariantArray>::VARIANTS;

    /// Its name, as in subjects.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The verb of that name.
    pub fn named(name: &str) -> Option<Verb> {
        name.parse().ok()
    }
}

/// The request of every verb that changes something. It has either an `index` or a `selector`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandRequest {
    /// To a manager, which gives the command on: the worker's name or Dest. To a worker: its own name,
    /// or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Position of the thread in the configuration, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The threads it is for; each acts only if it fits at the moment it acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// `pause`: stop a running external processor instead of waiting for it.
    #[serde(skip_serializing_if = "is_false")]
    pub now: bool,
    /// `resume`: the state to go on from; the current one if absent. `Aborted` and `Empty` give the
    /// sector up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// With an `index`: acts only on a thread at this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Says what would happen; nothing does.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Until when it may be carried out, Unix milliseconds by the NATS server's clock; whoever reads
    /// it later refuses. Absent: at any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Of this command alone: a repeat gets the first one's result, and does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Id>,
    /// Who asks and from where, e.g. `alice@host`, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl CommandRequest {
    /// A request for one thread.
    pub fn to(index: u32) -> Self {
        CommandRequest { index: Some(index), ..CommandRequest::default() }
    }

    /// A request for the threads that a selector selects.
    pub fn to_all(selector: Selector) -> Self {
        CommandRequest { selector: Some(selector), ..CommandRequest::default() }
    }

    /// Whether its parts make sense together, under this verb.
    pub fn check(&self, verb: Verb) -> Result<(), ErrorKind> {
        let wrong = match self {
            CommandRequest { index: None, selector: None, .. } => {
                "it names neither an index nor a selector"
            }
            CommandRequest { index: Some(_), selector: Some(_), .. } => {
                "it names both an index and a selector: one of them is enough"
            }
            CommandRequest { selector: Some(_), if_revision: Some(_), .. } => {
                "if_revision goes with an index: a revision is one thread's"
            }
            CommandRequest { now: true, .. } if verb != Verb::Pause => "now belongs to pause",
            CommandRequest { state: Some(_), .. } if verb != Verb::Resume => {
                "state belongs to resume; threads are selected by selector.state"
            }
            _ => return Ok(()),
        };
        Err(ErrorKind::bad_request(wrong))
    }
}

/// What a command did, and the thread it did it to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandReply {
    /// Position of the thread in the configuration, from 0.
    pub index: u32,
    /// The sector in hand when the command took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_id: Option<String>,
    /// The thread's revision after the command.
    pub revision: u64,
    /// What happened, or with `dry_run` what would.
    pub outcome: Outcome,
    /// Nothing was done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What a command for many threads did at one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkReply {
    /// Its name as the user wrote it.
    pub worker: String,
    /// The process that answers; a new id for each of its starts.
    pub instance_id: Id,
    /// Whether the outcomes say only what would happen: nothing was done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The selected threads, by index.
    pub threads: Vec<ThreadResult>,
}

/// What a command for many threads did to one of them: it has either an outcome or an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadResult {
    /// Position of the thread in the configuration, from 0.
    pub index: u32,
    /// The sector in hand when it acted; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sector_id: Option<String>,
    /// The thread's revision after the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What happened, or with `dry_run` what would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why the command did nothing to the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl Texts for CommandReply {
    fn texts(&mut self) -> Vec<&mut String> {
        self.outcome.texts().collect()
    }
}

impl Texts for BulkReply {
    fn texts(&mut self) -> Vec<&mut String> {
        self.threads.iter_mut().flat_map(ThreadResult::texts).collect()
    }
}

impl ThreadResult {
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        self.outcome
            .iter_mut()
            .flat_map(Outcome::texts)
            .chain(self.error.iter_mut().flat_map(ErrorBody::texts))
    }
}

/// What a command did, or with `dry_run` would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The thread is paused: it does nothing until it is resumed.
    Paused,
    /// The thread will be paused when its stage ends.
    PausePending {
        /// The stage that has to end first.
        #[serde(default)]
        stage: String,
        /// Why it was not stopped `now`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The thread was paused already; the pause is the operator's now.
    AlreadyPaused,
    /// The thread goes on from `to`.
    Resumed {
        /// The state it was paused in.
        #[serde(default)]
        from: String,
        /// The state it goes on from.
        #[serde(default)]
        to: String,
    },
    /// A pause that had not taken effect yet was taken back.
    PauseWithdrawn,
    /// The thread takes nothing new.
    Cordoned,
    /// The thread takes nothing new from now on; it finishes what it has in hand.
    AlreadyCordoned,
    /// The thread took nothing new already: nothing changed.
    Uncordoned,
    /// The thread took new work already: nothing changed.
    NotCordoned,
    /// An outcome of a newer version.
    #[serde(other)]
    Other,
}

impl Outcome {
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        match self {
            Outcome::PausePending { why, .. } => why.as_mut(),
            _ => None,
        }
        .into_iter()
    }

    /// Whether the thread was so already, and nothing changed but who holds it.
    pub fn is_unchanged(&self) -> bool {
        matches!(self, Outcome::AlreadyPaused | Outcome::AlreadyCordoned | Outcome::NotCordoned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode, decode_request};

    #[test]
    fn replies_are_pinned_in_json() {
        let reply = CommandReply {
            index: 1,
            sector_id: Some("s-t010000-3".into()),
            revision: 15,
            outcome: Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() },
            dry_run: false,
        };
        let expected = json!({
            "index": 1, "sector_id": "s-t010000-3", "revision": 15,
            "outcome": {"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"},
        });
        assert_eq!(serde_json::to_value(&reply).unwrap(), expected);
        for (outcome, expected) in [
            (Outcome::Paused, json!({"kind": "paused"})),
            (
                Outcome::PausePending { stage: "C2".into(), why: None },
                json!({"kind": "pause_pending", "stage": "C2"}),
            ),
            (
                Outcome::PausePending { stage: "C2".into(), why: Some("x".into()) },
                json!({"kind": "pause_pending", "stage": "C2", "why": "x"}),
            ),
            (Outcome::AlreadyPaused, json!({"kind": "already_paused"})),
            (Outcome::PauseWithdrawn, json!({"kind": "pause_withdrawn"})),
            (Outcome::Cordoned, json!({"kind": "cordoned"})),
            (Outcome::AlreadyCordoned, json!({"kind": "already_cordoned"})),
            (Outcome::Uncordoned, json!({"kind": "uncordoned"})),
            (Outcome::NotCordoned, json!({"kind": "not_cordoned"})),
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), expected);
        }
    }

    #[test]
    fn the_reply_of_many_threads_is_pinned_in_both_encodings() {
        let refused = ErrorKind::NotPaused { status: "running".into() };
        let reply = BulkReply {
            worker: "w1".into(),
            instance_id: Id::NIL,
            dry_run: false,
            threads: vec![
                ThreadResult {
                    index: 0,
                    revision: Some(7),
                    outcome: Some(Outcome::Paused),
                    ..ThreadResult::default()
                },
                ThreadResult {
                    index: 2,
                    sector_id: Some("s-t010000-3".into()),
                    error: Some(ErrorBody { message: refused.to_string(), kind: refused }),
                    ..ThreadResult::default()
                },
            ],
        };
        let expected = json!({
            "worker": "w1", "instance_id": Id::NIL,
            "threads": [
                {"index": 0, "revision": 7, "outcome": {"kind": "paused"}},
                {"index": 2, "sector_id": "s-t010000-3",
                 "error": {"kind": "not_paused", "status": "running", "message": "the thread is not paused, it is running"}},
            ],
        });
        assert_eq!(serde_json::to_value(&reply).unwrap(), expected);
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert_eq!(decode::<BulkReply>(&encoding.encode(&reply).unwrap()).unwrap(), reply);
        }
    }

    #[test]
    fn the_reply_of_many_threads_fits_with_whatever_errors() {
        let failed = |index| ThreadResult {
            index,
            error: Some(ErrorKind::internal("x".repeat(4096)).into()),
            ..ThreadResult::default()
        };
        let reply = BulkReply {
            worker: "w1".into(),
            instance_id: Id::NIL,
            dry_run: false,
            threads: (0..64).map(failed).collect(),
        };
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let written = encoding.encode_within(&reply, 60_000).unwrap();
            let read: BulkReply = decode(&written).unwrap();
            assert!(written.len() <= 60_000 && read.threads.len() == 64);
            let error = read.threads[63].error.as_ref().unwrap();
            assert!(
                error.message.starts_with("internal error: xxx")
                    && matches!(error.kind, ErrorKind::Internal { .. })
            );
        }
    }

    #[test]
    fn requests_are_pinned_and_written_by_hand_with_little() {
        let request = |text: &str| decode_request::<CommandRequest>(text.as_bytes());
        assert_eq!(request(r#"{"index":0}"#).unwrap(), CommandRequest::to(0));
        for (text, named) in [
            (r#"{"index":1,"dryrun":true}"#, "`dryrun`; did you mean `dry_run`?"),
            (r#"{"if_revison":9999}"#, "`if_revison`; did you mean `if_revision`?"),
            (r#"{"selector":{"statuss":["paused"]}}"#, "did you mean `selector.status`?"),
            (r#"{"index":-1}"#, "field `index`: "),
        ] {
            let refused = request(text).unwrap_err().to_string();
            assert!(refused.contains(named), "{refused}");
        }
        let full = CommandRequest {
            selector: Some(Selector { error: Some("x".into()), ..Selector::default() }),
            now: true,
            dry_run: true,
            request_id: Some(Id::NIL),
            by: Some("a@h".into()),
            reason: Some("disk".into()),
            ..CommandRequest::default()
        };
        let expected = json!({
            "selector": {"error": "x"}, "now": true, "dry_run": true, "request_id": Id::NIL, "by": "a@h", "reason": "disk",
        });
        assert_eq!(serde_json::to_value(&full).unwrap(), expected);
        assert_eq!(
            decode::<CommandRequest>(&Encoding::Msgpack.encode(&full).unwrap()).unwrap(),
            full
        );
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let request = |text: &str| decode::<CommandRequest>(text.as_bytes()).unwrap();
        for (verb, text) in [
            (Verb::Pause, "{}"),
            (Verb::Cordon, r#"{"index":0,"selector":{"all":true}}"#),
            (Verb::Resume, r#"{"selector":{"all":true},"if_revision":3}"#),
            (Verb::Resume, r#"{"index":0,"now":true}"#),
            (Verb::Pause, r#"{"index":0,"state":"C1Done"}"#),
        ] {
            assert!(
                matches!(request(text).check(verb), Err(ErrorKind::BadRequest { .. })),
                "{text}"
            );
        }
        assert_eq!(
            request(r#"{"index":0,"state":"C1Done","if_revision":3}"#).check(Verb::Resume),
            Ok(())
        );
        assert_eq!(request(r#"{"selector":{"all":true},"now":true}"#).check(Verb::Pause), Ok(()));
    }

    #[test]
    fn what_a_stream_acknowledges_is_no_reply() {
        let ack = br#"{"stream":"S","seq":1}"#;
        assert!(decode::<CommandReply>(ack).is_err() && decode::<BulkReply>(ack).is_err());
    }
}
