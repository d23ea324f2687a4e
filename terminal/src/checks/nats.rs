//! What both daemons need of NATS.

use async_nats::{
    Client,
    jetstream::{self, stream::Stream},
};
use damocles_client::{
    bus::Denial,
    connect::{ConnectError, NatsSettings},
    jetstream::{JetStreamError, is_missing, present},
    lease,
    nats::Connection,
    state_bucket,
};
use shared_msgs::subject::Prefix;

use super::Checks;
use crate::CliError;

const JETSTREAM: &str = "JetStream";

impl Checks {
    /// Whether NATS can be reached and lets this program in; and whether it keeps what is to be
    /// kept. Returns the connection.
    pub async fn nats(&mut self, settings: &NatsSettings, name: &str) -> Option<Client> {
        let check = format!("NATS at {}", settings.servers());
        let connection = match settings.connect_once(name).await {
            Ok(connection) => connection,
            Err(error) => {
                self.refused(check, error);
                return None;
            }
        };
        let server = connection.client.server_info();
        self.fine(
            check,
            format!("connected to {} (version {})", server.server_name, server.version),
        );
        self.kept(&connection, &settings.prefix).await;
        Some(connection.client)
    }

    /// What is wrong with the way to NATS.
    pub fn refused(&mut self, check: impl Into<String>, error: ConnectError) {
        let CliError { message, hint, .. } = error.into();
        self.failed(check, message, hint.as_deref());
    }

    async fn kept(&mut self, connection: &Connection, prefix: &Prefix) {
        let jetstream = &jetstream::new(connection.client.clone());
        let denied = |denial: Denial| JetStreamError::Failed(format!("no permission: {denial}"));
        let asked = connection.permitted(&prefix.state_stream(), present(jetstream)).await;
        match asked.map_err(denied).flatten() {
            Ok(()) => self.fine(JETSTREAM, "is there"),
            Err(error @ JetStreamError::Absent) => {
                let way_out = "without it nothing is kept: no last states, no leases, no history; start nats-server with -js";
                return self.failed(JETSTREAM, error, Some(way_out));
            }
            Err(error) => return self.failed(JETSTREAM, error, None),
        }
        let state = format!("state bucket {}", prefix.state_bucket());
        if let Some(stream) = self.stream(connection, &state, prefix.state_stream()).await {
            match state_bucket::trouble(prefix, &stream.cached_info().config) {
                Some(trouble) => self.failed(state, trouble, None),
                None => self.readable(state, &stream),
            }
        }
        let leases = format!("lease bucket {}", prefix.lease_bucket());
        let bucket = lease::existing_bucket(jetstream, prefix);
        let bucket = connection.permitted(&prefix.lease_stream(), bucket).await;
        match bucket.map_err(denied).flatten() {
            Ok(Some((bucket, ttl))) => {
                let ttl = shared_msgs::duration::human(ttl);
                let leases_now = bucket.stream.cached_info().state.messages;
                self.fine(leases, format!("leases last {ttl}; {leases_now} there now"));
            }
            Ok(None) => self.fine(leases, "is not there yet: the first worker makes it"),
            Err(error) => self.failed(leases, error, None),
        }
        let events = format!("stream of events {}", prefix.events_stream());
        if let Some(stream) = self.stream(connection, &events, prefix.events_stream()).await {
            self.readable(events, &stream);
        }
    }

    fn readable(&mut self, check: String, stream: &Stream) {
        let state = &stream.cached_info().state;
        self.fine(check, format!("{} messages, {} bytes", state.messages, state.bytes));
    }

    async fn stream(
        &mut self,
        connection: &Connection,
        check: &str,
        name: String,
    ) -> Option<Stream> {
        let jetstream = jetstream::new(connection.client.clone());
        match connection.permitted(&name, jetstream.get_stream(&name)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) if is_missing(&error.kind()) => {
                self.fine(check, "is not there yet: the first manager makes it");
            }
            Ok(Err(error)) => self.failed(check, format!("cannot be read: {error}"), None),
            Err(denial) => {
                self.failed(check, format!("cannot be read: no permission: {denial}"), None);
            }
        }
        None
    }
}
