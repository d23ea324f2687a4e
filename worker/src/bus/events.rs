//! The stream of events over NATS: appends that are refused unless nothing came in between
//! (`Nats-Expected-Last-Subject-Sequence` with a filter), and reads from the stream's leader.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{self, stream::LastRawMessageErrorKind},
};
use damocles_client::hedged::{ASK_AGAIN, hedged};
use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use shared_msgs::event::{Event, EventId};
use tokio::time::timeout;

use super::NatsBus;
use crate::{events::EventStream, link::connected};

const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const PATIENCE: Duration = Duration::from_secs(5);

impl EventStream for NatsBus {
    fn last(&self) -> BoxFuture<'_, Result<u64, String>> {
        Box::pin(self.answered(move || async move {
            match self
                .stream()
                .await?
                .get_last_raw_message_by_subject(&self.prefix.events_of(&self.worker))
                .await
            {
                Ok(message) => Ok(message.sequence),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
                Err(error) => Err(error.to_string()),
            }
        }))
    }

    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>> {
        #[derive(Deserialize)]
        struct Identified {
            id: EventId,
        }
        Box::pin(self.answered(move || async move {
            let filter = self.prefix.events_of(&self.worker);
            let found = self
                .stream()
                .await?
                .raw_message_builder()
                .sequence(sequence + 1)
                .next_by_subject(filter)
                .send()
                .await;
            match found {
                Ok(message) => {
                    let Identified { id } = serde_json::from_slice(&message.payload)
                        .map_err(|error| error.to_string())?;
                    Ok(Some((message.sequence, id)))
                }
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        }))
    }

    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>> {
        Box::pin(self.answered(move || async move {
            let payload = serde_json::to_vec(event).map_err(|error| error.to_string())?;
            let mut headers = HeaderMap::new();
            headers.insert(EXPECTED_SEQUENCE, last.to_string());
            headers.insert(EXPECTED_FILTER, self.prefix.events_of(&self.worker));
            let subject = self.prefix.event(&self.worker, event.kind);
            let jetstream = jetstream::new(self.client.clone());
            let sent = jetstream
                .publish_with_headers(subject, headers, payload.into())
                .await
                .map_err(|error| error.to_string())?;
            Ok(sent.await.map_err(|error| error.to_string())?.sequence)
        }))
    }
}

impl NatsBus {
    async fn stream(&self) -> Result<jetstream::stream::Stream<()>, String> {
        let jetstream = jetstream::new(self.client.clone());
        jetstream
            .get_stream_no_info(self.prefix.events_stream())
            .await
            .map_err(|error| error.to_string())
    }

    // Asks again while nobody answers, which may be done with all of it: an event that is stored
    // already is refused behind itself. What was asked over a connection that is lost is answered
    // no more.
    async fn answered<T, F: Future<Output = Result<T, String>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, String> {
        let mut link = self.link.clone();
        if !connected(&mut link).await {
            return Err("the connection is closed".into());
        }
        link.borrow_and_update();
        tokio::select! {
            answered = timeout(PATIENCE, hedged(ASK_AGAIN, || ask().map(Some))) => {
                answered.unwrap_or_else(|_| Err("no answer".into()))
            }
            _ = link.changed() => Err("the connection was lost".into()),
        }
    }
}
