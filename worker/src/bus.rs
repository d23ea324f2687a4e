//! The worker's edge to NATS; nothing else here knows the client's types.
//!
//! - [`role`]: whether this process is the one of its name
//! - [`publish`]: the worker's snapshots; [`serve`]: its commands
//! - [`sector_manager`]: asking the sector manager

pub mod publish;
pub mod role;
pub mod sector_manager;
pub mod serve;

use shared_msgs::connect::Link;
use tokio::sync::watch;

/// Waits until there is a connection; `false` when there will be none any more.
async fn connected(link: &mut watch::Receiver<Link>) -> bool {
    match link.wait_for(|link| *link != Link::Down).await {
        Ok(now) => *now != Link::Closed,
        Err(_) => false,
    }
}
