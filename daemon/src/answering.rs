//! What every answering side has in common: answers go to inboxes only, a panic is an answer too,
//! a refusal has the headers of the services convention (ADR-32), and a list goes out in pages.
//!
//! Decision 015 in `docs/decisions`.

use std::panic::AssertUnwindSafe;

use async_nats::{Client, HeaderMap, Message, Subject, client::PublishError};
use bytes::Bytes;
use futures::FutureExt;
use serde::Serialize;
use shared_msgs::{
    codec::Encoding,
    error::{self, ErrorKind, HEADERS_ROOM},
    subject::INBOX_PREFIX,
};
use tracing::{debug, warn};

use crate::tasks::panicked;

/// How large the body of an answer may be on this connection.
pub fn room(client: &Client) -> usize {
    client.max_payload().saturating_sub(HEADERS_ROOM)
}

/// Where the answer goes. `None`, which is logged, for a request that wants none, or wants it
/// somewhere else than in an inbox: a caller could make us publish wherever we are allowed to.
pub fn inbox(request: &Message) -> Option<Subject> {
    let subject = &request.subject;
    match &request.reply {
        Some(reply) if reply.starts_with(INBOX_PREFIX) => Some(reply.clone()),
        Some(reply) => {
            warn!(%subject, %reply, "a request that wants its answer somewhere else than an inbox is ignored");
            None
        }
        None => {
            debug!(%subject, "a request that wants no answer is ignored");
            None
        }
    }
}

/// Answers. A panic is a refusal: silence would look like a process that hangs.
pub async fn answered<T>(answering: impl Future<Output = T>) -> Result<T, ErrorKind> {
    AssertUnwindSafe(answering).catch_unwind().await.map_err(|panic| {
        let panicked = panicked(&*panic);
        ErrorKind::internal(format!(
            "answering it {panicked}: nobody knows how far the command came"
        ))
    })
}

/// The headers of an answer: those of its refusal.
pub fn headers(refusal: Option<&ErrorKind>) -> HeaderMap {
    let lines = refusal.map(error::headers);
    lines.into_iter().flatten().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.insert(name, value);
        headers
    })
}

/// Publishes an answer to the inbox of whoever asked, with the headers of its refusal.
pub async fn send(
    client: &Client,
    inbox: Subject,
    body: Bytes,
    refusal: Option<&ErrorKind>,
) -> Result<(), PublishError> {
    match refusal {
        None => client.publish(inbox, body).await,
        Some(refusal) => client.publish_with_headers(inbox, headers(Some(refusal)), body).await,
    }
}

/// As many of the views as fit, one at least, and where the next page goes on.
///
/// `bytes` is what the message has without them.
pub fn page<K, V: Serialize>(
    views: impl Iterator<Item = (K, V)>,
    limit: usize,
    mut bytes: usize,
    max_bytes: usize,
    encoding: Encoding,
) -> Result<(Vec<V>, Option<K>), ErrorKind> {
    let (mut page, mut last) = (Vec::new(), None);
    for (key, view) in views {
        // One more for the comma.
        bytes += encoding.encode(&view).map_err(ErrorKind::internal)?.len() + 1;
        if last.is_some() && (page.len() >= limit || bytes > max_bytes) {
            return Ok((page, last));
        }
        page.push(view);
        last = Some(key);
    }
    Ok((page, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reply: Option<&str>) -> Message {
        Message {
            subject: "damocles.v1.api.list".into(),
            reply: reply.map(Subject::from),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn answers_go_to_inboxes_only() {
        assert_eq!(inbox(&request(Some("_INBOX.a.b"))), Some("_INBOX.a.b".into()));
        assert_eq!(inbox(&request(Some("damocles.v1.state.w1"))), None);
        assert_eq!(inbox(&request(None)), None);
    }

    #[tokio::test]
    async fn a_panic_is_a_refusal() {
        let refused = answered(async { panic!("at {}", 7) }).await;
        let refused = refused.map(|()| String::new()).unwrap_err().to_string();
        assert!(refused.contains("panicked: at 7"), "{refused}");
        assert_eq!(answered(async { 7 }).await, Ok(7));
    }

    #[test]
    fn a_refusal_has_headers_and_what_was_done_has_none() {
        let headers_of = headers(Some(&ErrorKind::NotSelected));
        assert_eq!(headers_of.get(error::ERROR_CODE_HEADER).unwrap().as_str(), "412");
        assert!(headers(None).is_empty());
    }
}
