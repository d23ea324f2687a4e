//! What every answering side has in common: requests of a queue group, answered side by side in bounded number, each
//! in its own encoding, and refused as [`shared_msgs::error`] has it.

use std::{panic::AssertUnwindSafe, time::Duration};

use async_nats::{Client, HeaderMap, Message, Subscriber, connection::State};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ERROR_CODE_HEADER, ERROR_HEADER, ErrorKind, ErrorReply},
    snapshot::cut_text,
    subject::INBOX_PREFIX,
    tasks::panicked,
};
use tracing::{debug, warn};

// Requests in hand at once; the others wait in the subscription.
const MAX_IN_HAND: usize = 64;
// After the word to stop: for the requests in hand.
const GRACE: Duration = Duration::from_secs(3);
const MAX_HEADER_BYTES: usize = 1024;

/// Answers requests until `stop`; then leaves the queue group and finishes what is in hand, within a grace period.
/// `handle` gets the last token of the subject, and the body.
pub async fn serve<H>(client: &Client, mut requests: Subscriber, stop: impl Future<Output = ()>, handle: H)
where
    H: AsyncFn(&str, Bytes) -> Result<Vec<u8>, ErrorKind>,
{
    let mut stop = std::pin::pin!(stop);
    let mut in_hand = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            request = requests.next(), if in_hand.len() < MAX_IN_HAND => match request {
                Some(request) => in_hand.push(serve_one(client, request, &handle)),
                None => return,
            },
            Some(()) = in_hand.next() => {}
        }
    }
    if client.connection_state() != State::Connected || requests.drain().await.is_err() {
        return;
    }
    let finish = async {
        while let Some(request) = requests.next().await {
            in_hand.push(serve_one(client, request, &handle));
        }
        while in_hand.next().await.is_some() {}
    };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        warn!("stopped with requests unanswered");
    }
}

async fn serve_one<H>(client: &Client, request: Message, handle: &H)
where
    H: AsyncFn(&str, Bytes) -> Result<Vec<u8>, ErrorKind>,
{
    let Message { subject, reply: Some(reply), payload, .. } = request else { return };
    // Or a caller could make us publish wherever we are allowed to.
    if !reply.starts_with(INBOX_PREFIX) {
        debug!(%subject, %reply, "ignored a request whose reply subject is no inbox");
        return;
    }
    let encoding = Encoding::of(&payload).unwrap_or(Encoding::Json);
    let verb = subject.rsplit('.').next().unwrap_or_default();
    // Silence would look like a manager that hangs.
    let handled = AssertUnwindSafe(handle(verb, payload)).catch_unwind().await;
    let sent = match handled.unwrap_or_else(|panic| Err(ErrorKind::internal(format!("answering it {}", panicked(&*panic))))) {
        Ok(body) => client.publish(reply, body.into()).await,
        Err(kind) => {
            let refusal = ErrorReply::from(kind);
            debug!(%subject, error = refusal.error.message, "refused");
            // A refusal holds texts and numbers only: it can be written.
            let body = encoding.encode(&refusal).unwrap_or_default();
            client.publish_with_headers(reply, headers(&refusal), body.into()).await
        }
    };
    if let Err(error) = sent {
        warn!(%subject, %error, "could not answer");
    }
}

// A header is one line.
fn headers(refusal: &ErrorReply) -> HeaderMap {
    let line: String = refusal.error.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut headers = HeaderMap::new();
    headers.insert(ERROR_HEADER, cut_text(&line, MAX_HEADER_BYTES));
    headers.insert(ERROR_CODE_HEADER, refusal.error.kind.code().to_string());
    headers
}

/// Reads a request, acts on it, and writes the result in the request's encoding.
pub async fn answer<Q, R, A>(payload: &[u8], act: A) -> Result<Vec<u8>, ErrorKind>
where
    Q: DeserializeOwned,
    R: Serialize,
    A: AsyncFnOnce(Q, Encoding) -> Result<R, ErrorKind>,
{
    let encoding = Encoding::of(payload).map_err(ErrorKind::bad_request)?;
    let request = decode(payload).map_err(ErrorKind::bad_request)?;
    let reply = act(request, encoding).await?;
    encoding.encode(&reply).map_err(ErrorKind::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_go_into_headers_of_one_line() {
        let refusal = ErrorReply::from(ErrorKind::bad_request(format!("a\r\nb{}", "x".repeat(5_000))));
        let headers = headers(&refusal);
        let text = headers.get(ERROR_HEADER).unwrap().as_str();
        assert!(text.starts_with("bad request: a  b") && text.len() <= MAX_HEADER_BYTES, "{text}");
        assert_eq!(headers.get(ERROR_CODE_HEADER).unwrap().as_str(), "400");
    }
}
