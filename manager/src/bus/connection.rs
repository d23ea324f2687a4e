//! Work that is done at every connection, and again when it fails. The same trouble is said once,
//! until it is over.

use std::time::Duration;

use damocles_client::{connect::Link, jetstream::JetStreamError};
use tokio::{sync::watch, time::sleep};
use tracing::warn;

const RETRY_WITHOUT_JETSTREAM: Duration = Duration::from_secs(30);

/// How work is done again.
pub(crate) struct AtEachConnection {
    /// What a failure means.
    pub trouble: &'static str,
    /// What it means that there is no JetStream, if that has to be said.
    pub without_jetstream: Option<&'static str>,
    /// How soon after a failure.
    pub retry: Duration,
}

/// What was said last.
#[derive(Default)]
pub(crate) struct Trouble {
    said: String,
}

impl Trouble {
    /// If it comes again, it is said again.
    pub(crate) fn is_over(&mut self) {
        self.said.clear();
    }

    fn say(&mut self, text: String) {
        if self.said != text {
            warn!("{text}");
            self.said = text;
        }
    }
}

impl AtEachConnection {
    /// Does it until the connection is closed for good. Work that ends well is done again at the
    /// next connection; a connection that is lost cuts it off.
    pub(crate) async fn run(
        &self,
        mut link: watch::Receiver<Link>,
        mut work: impl AsyncFnMut(&mut Trouble) -> Result<(), JetStreamError>,
    ) {
        let mut trouble = Trouble::default();
        while link.wait_for(|link| matches!(link, Link::Up(_))).await.is_ok() {
            let done = tokio::select! {
                done = work(&mut trouble) => done,
                _ = link.changed() => continue,
            };
            let retry = match done {
                Ok(()) => Duration::MAX,
                Err(JetStreamError::Absent) => {
                    self.without_jetstream
                        .into_iter()
                        .for_each(|text| trouble.say(text.to_owned()));
                    RETRY_WITHOUT_JETSTREAM
                }
                Err(JetStreamError::Failed(text)) => {
                    trouble.say(format!("{}: {text}", self.trouble));
                    self.retry
                }
            };
            tokio::select! {
                () = sleep(retry) => {}
                _ = link.changed() => {}
            }
        }
    }
}
