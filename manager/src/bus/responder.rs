//! What every answering side has in common: requests of a queue group, answered side by side in
//! bounded number, each in its own encoding, and refused as [`shared_msgs::error`] has it.
//!
//! Decision 015 in `docs/decisions`.

use std::{panic::AssertUnwindSafe, time::Duration};

use async_nats::{Client, Message, Subscriber, connection::State};
use bytes::Bytes;
use damocles_client::nats::answer_room;
use damocles_daemon::{answer::headers, tasks::panicked};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ErrorKind, ErrorReply},
    subject::INBOX_PREFIX,
};
use tracing::{debug, warn};

// Requests in hand at once; the others wait in the subscription.
const MAX_IN_HAND: usize = 64;
// After the word to stop: for the requests in hand.
const GRACE: Duration = Duration::from_secs(3);

/// Answers requests until `stop`; then leaves the queue group and finishes what is in hand, within
/// a grace period. `handle` gets the subject and the body.
pub(crate) async fn serve<H>(
    client: &Client,
    mut requests: Subscriber,
    stop: impl Future<Output = ()>,
    handle: H,
) where
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
    let room = answer_room(client);
    let fits = |body: Vec<u8>| match body.len() {
        bytes if bytes > room => Err(ErrorKind::AnswerTooLarge { bytes, max_bytes: room }),
        _ => Ok(body),
    };
    // Silence would look like a manager that hangs.
    let handled = AssertUnwindSafe(handle(&subject, payload)).catch_unwind().await;
    let handled = handled.unwrap_or_else(|panic| {
        Err(ErrorKind::internal(format!("answering it {}", panicked(&*panic))))
    });
    let sent = match handled.and_then(fits) {
        Ok(body) => client.publish(reply, body.into()).await,
        Err(kind) => {
            debug!(%subject, error = %kind, "refused");
            let headers = headers(&kind);
            // A refusal holds texts and numbers only, and the texts can be cut: it can be written.
            let body = encoding.encode_within(&ErrorReply::from(kind), room).unwrap_or_default();
            client.publish_with_headers(reply, headers, body.into()).await
        }
    };
    if let Err(error) = sent {
        warn!(%subject, %error, "could not answer");
    }
}

/// Reads a request, acts on it, and writes the result in the request's encoding.
pub(crate) async fn answer<Q, R, A>(payload: &[u8], act: A) -> Result<Vec<u8>, ErrorKind>
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
