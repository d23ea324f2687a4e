//! The state of a worker's connection to the bus, as its adapter tells it.

use damocles_client::connect::Link;
use tokio::sync::watch;

/// Waits until there is a connection; `false` when there will be none any more.
pub(crate) async fn connected(link: &mut watch::Receiver<Link>) -> bool {
    match link.wait_for(|link| *link != Link::Down).await {
        Ok(now) => *now != Link::Closed,
        Err(_) => false,
    }
}
