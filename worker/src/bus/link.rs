//! Waiting for the connection to NATS.

use damocles_client::connect::Link;
use tokio::sync::watch;

/// Waits until there is a connection; `false` when there will be none any more.
pub(super) async fn connected(link: &mut watch::Receiver<Link>) -> bool {
    match link.wait_for(|link| *link != Link::Down).await {
        Ok(now) => *now != Link::Closed,
        Err(_) => false,
    }
}
