//! What every answering side has in common: requests of a queue group, answered side by side in
//! bounded number, each in its own encoding, and refused as [`shared_msgs::error`] has it.
//!
//! Decision 015 in `docs/decisions`.

use std::{collections::VecDeque, time::Duration};

use async_nats::{Client, Message, Subscriber, connection::State};
use bytes::Bytes;
use damocles_daemon::answering;
use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, Texts, decode_request},
    error::{ErrorKind, ErrorReply},
};
use tracing::{debug, warn};

/// Requests in hand at once, of those that are answered soon; the others wait in the subscription.
pub(crate) const PLACES: usize = 64;
// The same of those that may take long, and how many more of them wait here: in the subscription
// they would hold up those behind them.
const MAX_LONG_IN_HAND: usize = 64;
const MAX_LONG_WAITING: usize = 4096;
// After the word to stop: for the requests in hand.
const GRACE: Duration = Duration::from_secs(3);

/// Answers requests until `stop`; then leaves the queue group and finishes what is in hand, within
/// a grace period. At most so many are in hand at once. `handle` gets the subject and the body; a
/// refusal of nothing is silence. Those that may take long, by their subject, have places of their
/// own: nothing else is held up by them.
pub(crate) async fn serve<H, R>(
    client: &Client,
    mut requests: Subscriber,
    places: usize,
    stop: impl Future<Output = ()>,
    takes_long: impl Fn(&str) -> bool,
    handle: H,
) where
    H: AsyncFn(&str, Bytes) -> Result<Vec<u8>, R>,
    R: Into<Option<ErrorKind>>,
{
    let mut stop = std::pin::pin!(stop);
    let mut hands = Hands::default();
    let serve_one = |request, busy| serve_one(client, request, busy, &handle);
    loop {
        tokio::select! {
            () = &mut stop => break,
            request = requests.next(), if hands.quick.len() < places => match request {
                Some(request) => hands.take(request, &takes_long, serve_one),
                None => return,
            },
            () = hands.served(serve_one), if !hands.are_empty() => {}
        }
    }
    if client.connection_state() != State::Connected || requests.drain().await.is_err() {
        return;
    }
    let finish = async {
        while let Some(request) = requests.next().await {
            hands.take(request, &takes_long, serve_one);
        }
        while !hands.are_empty() {
            hands.served(serve_one).await;
        }
    };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        // Nothing was done of what still waits.
        let refusing: FuturesUnordered<_> =
            hands.waiting.drain(..).map(|request| serve_one(request, true)).collect();
        refusing.for_each(|()| std::future::ready(())).await;
        warn!("stopped with requests unanswered");
    }
}

// The requests in hand, being answered by `F`.
struct Hands<F> {
    quick: FuturesUnordered<F>,
    long: FuturesUnordered<F>,
    // For places among the latter.
    waiting: VecDeque<Message>,
}

impl<F> Default for Hands<F> {
    fn default() -> Self {
        Hands {
            quick: FuturesUnordered::new(),
            long: FuturesUnordered::new(),
            waiting: VecDeque::new(),
        }
    }
}

impl<F: Future<Output = ()>> Hands<F> {
    fn are_empty(&self) -> bool {
        self.quick.is_empty() && self.long.is_empty() && self.waiting.is_empty()
    }

    fn take(
        &mut self,
        request: Message,
        takes_long: impl Fn(&str) -> bool,
        serve_one: impl Fn(Message, bool) -> F,
    ) {
        if !takes_long(&request.subject) {
            self.quick.push(serve_one(request, false));
        } else if self.long.len() < MAX_LONG_IN_HAND {
            self.long.push(serve_one(request, false));
        } else if self.waiting.len() < MAX_LONG_WAITING {
            self.waiting.push_back(request);
        } else {
            self.quick.push(serve_one(request, true));
        }
    }

    // Waits until one is answered. May be dropped while it waits.
    async fn served(&mut self, serve_one: impl Fn(Message, bool) -> F) {
        tokio::select! {
            Some(()) = self.quick.next() => {}
            Some(()) = self.long.next() => {
                self.long.extend(self.waiting.pop_front().map(|request| serve_one(request, false)));
            }
        }
    }
}

async fn serve_one<H, R>(client: &Client, request: Message, busy: bool, handle: &H)
where
    H: AsyncFn(&str, Bytes) -> Result<Vec<u8>, R>,
    R: Into<Option<ErrorKind>>,
{
    let Some(inbox) = answering::inbox(&request) else { return };
    let Message { subject, payload, .. } = request;
    let encoding = Encoding::of(&payload).unwrap_or(Encoding::Json);
    let room = answering::room(client);
    let fits = |body: Vec<u8>| match body.len() {
        bytes if bytes > room => Err(ErrorKind::AnswerTooLarge { bytes, max_bytes: room }),
        _ => Ok(body),
    };
    let handled = match busy {
        true => Err(ErrorKind::Busy),
        false => match answering::answered(handle(&subject, payload)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(refusal)) => match refusal.into() {
                Some(kind) => Err(kind),
                None => return,
            },
            Err(panicked) => Err(panicked),
        },
    };
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
    let (encoding, reply) = acted(payload, act).await?;
    encoding.encode(&reply).map_err(ErrorKind::internal)
}

/// The same in at most so many bytes; its texts are cut if need be.
pub(crate) async fn answer_within<Q, R, A>(
    max_bytes: usize,
    payload: &[u8],
    act: A,
) -> Result<Vec<u8>, ErrorKind>
where
    Q: DeserializeOwned,
    R: Texts,
    A: AsyncFnOnce(Q, Encoding) -> Result<R, ErrorKind>,
{
    let (encoding, reply) = acted(payload, act).await?;
    Ok(encoding.encode_within(&reply, max_bytes)?)
}

async fn acted<Q, R, A>(payload: &[u8], act: A) -> Result<(Encoding, R), ErrorKind>
where
    Q: DeserializeOwned,
    A: AsyncFnOnce(Q, Encoding) -> Result<R, ErrorKind>,
{
    let encoding = Encoding::of(payload).map_err(ErrorKind::bad_request)?;
    let request = decode_request(payload).map_err(ErrorKind::bad_request)?;
    Ok((encoding, act(request, encoding).await?))
}
