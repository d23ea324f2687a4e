//! A process's connection: it can be cut, and the process notices that sooner or later, or never.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use damocles_client::connect::Link;
use tokio::{sync::watch, time::sleep};

use super::world::World;

/// The connection of one process.
pub struct Line {
    /// The process, as the world counts them.
    pub process: usize,
    /// The name it goes by.
    pub name: usize,
    connections: AtomicU64,
    cut: AtomicBool,
    link: watch::Sender<Link>,
}

impl Line {
    /// One that is there.
    pub fn new(process: usize, name: usize) -> Self {
        Line {
            process,
            name,
            connections: AtomicU64::new(1),
            cut: AtomicBool::new(false),
            link: watch::Sender::new(Link::Up(1)),
        }
    }

    /// What the process knows of it.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Whether nothing gets through.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Cuts it; the process notices after a while, if it is not back by then.
    pub async fn cut_off(&self, world: &World, unnoticed: Duration, noticed: Duration) {
        world.say(|| format!("p{} is cut off for {unnoticed:?} + {noticed:?}", self.process));
        self.cut.store(true, Ordering::Relaxed);
        sleep(unnoticed).await;
        if noticed.is_zero() {
            self.cut.store(false, Ordering::Relaxed);
        } else {
            self.link.send_replace(Link::Down);
            sleep(noticed).await;
            self.cut.store(false, Ordering::Relaxed);
            let connections = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
            self.link.send_replace(Link::Up(connections));
        }
        world.say(|| format!("p{} is back", self.process));
    }

    /// Waits until it is whole.
    pub async fn whole(&self) {
        while self.is_cut() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}
