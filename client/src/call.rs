//! Asking over the bus: one request, one deadline, and an answer that is told apart from a refusal,
//! from silence and from nobody being there.
//!
//! ```text
//!  call   one request: for what changes something
//!  read   asked again while nobody answers, and over another server if this one says nothing at all
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{CodecError, Encoding, decode},
    duration::human,
    error::ErrorBody,
};
use tokio::time::timeout;

use crate::{
    bus::{Bus, Denial, Unasked},
    hedged::{ASK_AGAIN, hedged},
};

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody serves the subject: the request was not delivered.
    #[error("nobody answers on {0}")]
    NoResponders(String),
    /// No answer in time: whether the request was carried out is unknown.
    #[error("no answer on {subject} within {}", human(*deadline))]
    TimedOut {
        /// The subject of the request.
        subject: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// It was answered with a refusal; nothing was changed.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The answer makes no sense.
    #[error("the answer on {0} cannot be read: {1}")]
    BadReply(String, String),
    /// The server does not let this login do it.
    #[error("no permission: {0}")]
    Denied(Denial),
    /// The request could not be sent.
    #[error("the request on {0} could not be sent: {1}")]
    NotSent(String, String),
    /// What is published cannot be listened to.
    #[error("cannot subscribe {0}: {1}")]
    NotHeard(String, String),
}

/// Sends one request and reads its answer. `deadline` covers everything, the wait for a lost
/// connection included.
pub async fn call<Q: Serialize, R: DeserializeOwned>(
    bus: &dyn Bus,
    subject: &str,
    encoding: Encoding,
    request: &Q,
    deadline: Duration,
) -> Result<R, CallError> {
    let body = encoding
        .encode(request)
        .map_err(|error| CallError::NotSent(subject.into(), error.to_string()))?;
    // What is refused meanwhile concerns this request, and what was before may be allowed by now.
    let denied = bus.denied(subject);
    let asking = timeout(deadline, bus.ask(subject.to_owned(), body.into()));
    let answered = tokio::select! {
        biased;
        answered = asking => answered,
        denial = denied => return Err(CallError::Denied(denial)),
    };
    match answered {
        Ok(Ok(answer)) => answer_in(subject, &answer),
        Ok(Err(Unasked::NoResponders)) => Err(CallError::NoResponders(subject.into())),
        Ok(Err(Unasked::NotSent(why))) => Err(CallError::NotSent(subject.into(), why)),
        Ok(Err(Unasked::Lost)) | Err(_) => {
            Err(CallError::TimedOut { subject: subject.into(), deadline })
        }
    }
}

/// Asks for something that changes nothing. `deadline` covers everything.
pub async fn read<Q: Serialize, R: DeserializeOwned>(
    bus: &dyn Bus,
    subject: &str,
    encoding: Encoding,
    request: &Q,
    deadline: Duration,
) -> Result<R, CallError> {
    let asking = || call(bus, subject, encoding, request, deadline);
    let silent = || Err(CallError::TimedOut { subject: subject.into(), deadline });
    asked_again(bus, deadline, asking).await.unwrap_or_else(silent)
}

/// Asks again while nobody answers, over another server if this one says nothing at all. For what
/// may be asked twice; `None` if there is no answer in time.
pub async fn asked_again<T, F: Future<Output = T>>(
    bus: &dyn Bus,
    deadline: Duration,
    ask: impl Fn() -> F,
) -> Option<T> {
    let asking = timeout(deadline, hedged(ASK_AGAIN, || async { Some(ask().await) }));
    over_a_living_server(bus, asking).await.ok()
}

/// Does something over this connection. Until it is done, a server that says nothing at all is left
/// for another one: by its pings alone the connection would notice that only after 15 seconds.
pub async fn over_a_living_server<T>(bus: &dyn Bus, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = bus.leave_silent_servers() => match never {},
    }
}

/// What an answer says; a refusal is an error.
pub fn answer_in<R: DeserializeOwned>(subject: &str, answer: &[u8]) -> Result<R, CallError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<ErrorBody>,
    }
    let unreadable = |error: CodecError| CallError::BadReply(subject.into(), error.to_string());
    let refusal: Refusal = decode(answer).map_err(unreadable)?;
    match refusal.error {
        Some(error) => Err(CallError::Refused(error)),
        None => decode(answer).map_err(unreadable),
    }
}
