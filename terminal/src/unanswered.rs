//! Why an order has no result, in words, and with which exit code.

use damocles_client::{
    bus::Denial,
    call::CallError,
    state_bucket::LastReport,
    worker_client::{Absence, OrderError},
};
use shared_msgs::{
    duration::human,
    error::{ErrorBody, ErrorKind},
    keys,
    name::WorkerName,
    snapshot::WorkerStatus,
};

use crate::{CliError, Exit, exit_of, exit_of_refusal};

/// What it means that answers cannot be heard.
pub const NOT_HEARD: &str = "no answer can be heard: the command may have been carried out";

/// The failure of an order, or of a question, to this worker.
pub fn unanswered(worker: &WorkerName, error: &OrderError) -> CliError {
    match error {
        OrderError::NotDelivered(absence) => not_delivered(worker, absence),
        OrderError::Refused(body) => refused(worker, body),
        OrderError::Failed(error) => {
            let no_manager = matches!(error, CallError::NoResponders(_));
            let is_deaf = matches!(error, CallError::Denied(Denial::Subscribe(_)));
            let timed_out = matches!(error, CallError::TimedOut { .. });
            let error = CliError::new(exit_of(error), format!("worker {worker}: {error}"));
            let hint =
                "the worker hangs or is not reachable: see its log, or wait longer with --timeout";
            match (timed_out, no_manager) {
                _ if is_deaf => error.hint(NOT_HEARD),
                (true, _) => error.hint(hint),
                (_, true) => error.hint("no manager is there to give it on: start `damocles-manager daemon`, or leave --via out"),
                _ => error,
            }
        }
        OrderError::Unknown { why, waited } => {
            let (exit, what) = match why {
                CallError::BadReply(..) => (Exit::Failed, why.to_string()),
                _ => (Exit::NoAnswer, format!("no answer within {}", human(*waited))),
            };
            let unknown =
                "the outcome is unknown: the command may have been carried out, or may still be";
            CliError::new(exit, format!("worker {worker}: {what}; {unknown}"))
                .hint("look at the thread again before you repeat the command")
        }
        OrderError::NotSent(error) => {
            let error = unanswered(worker, error);
            CliError { message: format!("{}; the command was not sent", error.message), ..error }
        }
    }
}

fn refused(worker: &WorkerName, body: &ErrorBody) -> CliError {
    let error =
        CliError::new(exit_of_refusal(&body.kind), format!("worker {worker}: {}", body.message));
    let meant = match &body.kind {
        ErrorKind::InvalidState { given, allowed, .. } => {
            keys::nearest(given, allowed.iter().map(String::as_str))
        }
        _ => None,
    };
    if let Some(state) = meant {
        return error.hint(format!("did you mean {state}?"));
    }
    let hint = match &body.kind {
        ErrorKind::NotPaused { .. } => Some("only a paused thread can be resumed: pause it first"),
        ErrorKind::RevisionMismatch { .. } => {
            Some("somebody else acted on it meanwhile: look at it again before you go on")
        }
        ErrorKind::NotPermitted { .. } => {
            Some("permit it in the nats-server's configuration, or leave --via out")
        }
        ErrorKind::LeaseUnconfirmed => Some(
            "it may have lost NATS for a while, or a second worker has its name: see `util worker list`",
        ),
        _ => None,
    };
    hint.into_iter().fold(error, |error, hint| error.hint(hint))
}

// Nobody serves the worker's subject. What it last said tells whether there is such a worker.
fn not_delivered(worker: &WorkerName, absence: &Absence) -> CliError {
    let mut error = match &absence.last {
        Ok(None) => CliError::new(
            Exit::NotFound,
            format!("no such worker: nobody answers for {worker}, and it never reported"),
        )
        .hint("`damocles-manager util worker list` shows the workers there are"),
        Ok(Some(LastReport { snapshot, age, .. })) => {
            let host = &snapshot.host;
            let (what, hint) = match snapshot.status {
                WorkerStatus::Stopped => {
                    ("was stopped", format!("start damocles-worker on host {host:?} again"))
                }
                _ => (
                    "does not answer",
                    format!("is damocles-worker running on host {host:?}, and does it reach NATS?"),
                ),
            };
            CliError::new(
                Exit::NoAnswer,
                format!("worker {worker} {what}: its last report is {} old", human(*age)),
            )
            .hint(hint)
        }
        Err(reason) => CliError::new(
            Exit::NoAnswer,
            format!(
                "worker {worker} does not answer, and its last report cannot be read: {reason}"
            ),
        )
        .hint("is the name right, is the worker running, and does it reach NATS?"),
    };
    if let Some(trouble) = &absence.bucket_trouble {
        // Then what is known of it may be old, or nothing.
        let hint = error.hint.take().map(|hint| format!("; {hint}")).unwrap_or_default();
        error = error.hint(format!("{trouble}{hint}"));
    }
    error
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared_msgs::id::Id;

    use super::*;

    fn last(status: &str) -> LastReport {
        let json =
            format!(r#"{{"instance_id":"{}","seq":1,"host":"h7","status":"{status}"}}"#, Id::NIL);
        LastReport {
            snapshot: serde_json::from_str(&json).unwrap(),
            age: Duration::from_secs(822),
            revision: 3,
        }
    }

    #[test]
    fn a_worker_that_nobody_serves_is_told_from_one_that_never_was() {
        let said = |last| {
            let absence = Absence { last, bucket_trouble: None };
            let error = OrderError::NotDelivered(Box::new(absence));
            let revision = error.last_report().map(|last| last.revision);
            (unanswered(&"w1".parse().unwrap(), &error), revision)
        };
        let (absent, revision) = said(Ok(None));
        assert!(absent.exit == Exit::NotFound && revision.is_none());
        let (gone, revision) = said(Ok(Some(last("running"))));
        assert_eq!(gone.exit, Exit::NoAnswer);
        assert_eq!(gone.message, "worker w1 does not answer: its last report is 13m42s old");
        assert_eq!(revision, Some(3));
        let (stopped, _) = said(Ok(Some(last("stopped"))));
        assert_eq!(stopped.message, "worker w1 was stopped: its last report is 13m42s old");
        assert_eq!(said(Err("no JetStream".into())).0.exit, Exit::NoAnswer);
    }

    #[test]
    fn what_is_known_of_a_worker_may_be_old_where_the_bucket_is_in_trouble() {
        let absence = Absence { last: Ok(None), bucket_trouble: Some("mend it".into()) };
        let error = not_delivered(&"w1".parse().unwrap(), &absence);
        assert!(error.hint.unwrap().starts_with("mend it; `damocles-manager util worker list`"));
    }

    #[test]
    fn a_resume_that_could_not_read_the_thread_was_not_sent() {
        let absent = ErrorKind::ThreadNotFound { index: 7, threads: 3 };
        let error = OrderError::NotSent(Box::new(OrderError::Refused(absent.into())));
        let error = unanswered(&"w1".parse().unwrap(), &error);
        assert_eq!(error.exit, Exit::NotFound);
        assert!(error.message.ends_with("; the command was not sent"), "{}", error.message);
    }
}
