//! What every answering side has in common: requests of a queue group, answered side by side in
//! bounded number, each in its own encoding, and refused as [`shared_msgs::error`] has it.
//!
//! Decision 015 in `docs/decisions`.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber, connection::State};
use bytes::Bytes;
use damocles_daemon::answering;
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode_request},
    error::{ErrorKind, ErrorReply},
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
    let Some(inbox) = answering::inbox(&request) else { return };
    let Message { subject, payload, .. } = request;
    let encoding = Encoding::of(&payload).unwrap_or(Encoding::Json);
    let room = answering::room(client);
    let fits = |body: Vec<u8>| match body.len() {
        bytes if bytes > room => Err(ErrorKind::AnswerTooLarge { bytes, max_bytes: room }),
        _ => Ok(body),
    };
    let handled = answering::answered(handle(&subject, payload)).await.flatten();
    let (body, refusal) = match handled.and_then(fits) {
        Ok(body) => (body, None),
        Err(kind) => {
            debug!(%subject, error = %kind, "refused");
            // A refusal holds texts and numbers only, and the texts can be cut: it can be written.
            let reply = ErrorReply::from(kind.clone());
            (encoding.encode_within(&reply, room).unwrap_or_default(), Some(kind))
        }
    };
    if let Err(error) = answering::send(client, inbox, body.into(), refusal.as_ref()).await {
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
    let request = decode_request(payload).map_err(ErrorKind::bad_request)?;
    let reply = act(request, encoding).await?;
    encoding.encode(&reply).map_err(ErrorKind::internal)
}
