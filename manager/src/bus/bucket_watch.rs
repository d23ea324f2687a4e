//! Whether the workers' states still get into the state bucket: looked at now and then, for nobody
//! tells when a stream is edited.

use std::time::Duration;

use async_nats::{Client, jetstream};
use damocles_client::{connect::Link, entries::in_time, state_bucket};
use shared_msgs::subject::Prefix;
use tokio::{sync::watch, time::sleep};
use tracing::{debug, info, warn};

const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Looks at every connection and from then on, and says what has changed; `trouble` has what is so
/// at the moment.
pub(crate) async fn watch(
    client: &Client,
    prefix: &Prefix,
    mut link: watch::Receiver<Link>,
    trouble: watch::Sender<Option<String>>,
) {
    let jetstream = jetstream::new(client.clone());
    while link.wait_for(|link| matches!(link, Link::Up(_))).await.is_ok() {
        match in_time("the state bucket", jetstream.get_stream(prefix.state_stream())).await {
            Ok(stream) => {
                say(&trouble, state_bucket::trouble(prefix, &stream.cached_info().config))
            }
            // Whoever reads the bucket says it, and makes one that is missing.
            Err(error) => debug!(%error, "the state bucket cannot be looked at"),
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            _ = link.changed() => {}
        }
    }
}

fn say(said: &watch::Sender<Option<String>>, now: Option<String>) {
    said.send_if_modified(|before| {
        let changed = *before != now;
        match &now {
            Some(trouble) if changed => warn!("{trouble}"),
            None if changed => info!("the state bucket receives the workers' states again"),
            _ => {}
        }
        *before = now;
        changed
    });
}
