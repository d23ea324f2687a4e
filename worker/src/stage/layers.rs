//! The layers of a PC1 on the disk, and which of them its next run keeps.
//!
//! The proofs library writes a layer under another name, renames it, and goes on behind layers of
//! the right size that it finds, whatever they were made from. So a note beside the cache says
//! that, and only from what is there for certain anything is kept:
//!
//! ```text
//!  the note                        layers that stay: from the first on, of the right size, and …
//!  of this boot of the machine       all: what was written is there, on the disk or in memory
//!  of an earlier boot                those that it calls synced
//!  of other data or another ticket   none
//!  missing or unreadable             none
//! ```
//! While PC1 runs, wherever it runs, each layer is synced and noted as soon as it has its name.
//!
//! Decision 033 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shared_msgs::sector_manager::Commitment;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::on_disk;
use crate::{
    activity::Activity,
    clock::boot_id,
    failure::Failure,
    store::{
        durable::{replace, sync_dir, sync_file},
        files::{at, fresh_dir, remove_path},
    },
};

// How often is looked for a new layer.
const LOOK: Duration = Duration::from_millis(500);

/// All that the layers are made from (Filecoin spec, SDR: the replica id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeFrom {
    pub(super) registered_proof: String,
    /// The miner's address as 32 bytes.
    pub(super) prover_id: [u8; 32],
    pub(super) sector_id: u64,
    pub(super) ticket: [u8; 32],
    pub(super) comm_d: Commitment,
}

/// The layers of one PC1.
pub(super) struct Layers {
    cache: PathBuf,
    note: PathBuf,
    count: u64,
    /// In bytes, of each layer.
    size: u64,
    made_from: MadeFrom,
    synced: Mutex<Synced>,
}

// What a run of PC1 may say of its layers.
enum Synced {
    /// So many, from the first on.
    Layers(u64),
    /// None: the next run begins anew, for this reason.
    Doubtful(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    made_from: MadeFrom,
    /// The boot of the machine, if it can be told.
    boot: Option<String>,
    /// So many layers, from the first on, outlive the end of the machine.
    synced: u64,
}

impl Layers {
    pub(super) fn new(
        cache: &Path,
        note: &Path,
        count: u64,
        size: u64,
        made_from: MadeFrom,
    ) -> Layers {
        Layers {
            cache: cache.to_owned(),
            note: note.to_owned(),
            count,
            size,
            made_from,
            synced: Mutex::new(Synced::Layers(0)),
        }
    }

    /// Removes what an earlier run left, but for the layers that may stay, and says how many these
    /// are.
    pub(super) fn prepare(&self) -> io::Result<u64> {
        let boot = boot_id();
        let kept = self
            .read_note()
            .map_or(0, |note| kept(&note, boot.as_deref(), &self.made_from, self.whole()));
        self.remove_others(kept)?;
        for layer in 1..=kept {
            // The disk says once that it could not keep what was written: then nothing is certain
            // any more.
            sync_file(&self.path(layer)).inspect_err(|_| drop(remove_path(&self.note)))?;
        }
        sync_dir(&self.cache)?;
        self.write_note(boot, kept)?;
        *self.synced() = Synced::Layers(kept);
        Ok(kept)
    }

    /// Waits for PC1, shows how far it is, and keeps for its next run what is whole. `kept` layers
    /// were there before.
    pub(super) async fn follow<T>(
        self: Arc<Self>,
        kept: u64,
        activity: &Activity,
        making: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let look = || {
            let (layers, activity) = (self.clone(), activity.clone());
            on_disk(move || layers.look(kept, &activity))
        };
        let looking = async {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if let Err(failure) = look().await {
                    warn!("a layer may be lost, PC1 will begin anew: {}", failure.message);
                    break;
                }
            }
            std::future::pending().await
        };
        let made = tokio::select! {
            made = making => made,
            never = looking => never,
        };
        match made {
            Ok(made) => look().await.map(|()| made),
            Err(failure) if failure.is_temporary() => Err(failure),
            Err(failure) => {
                let (layers, why) = (self.clone(), failure.message.clone());
                on_disk(move || layers.doubt(why)).await?;
                Err(failure)
            }
        }
    }

    // Syncs and notes new layers.
    fn look(&self, kept: u64, activity: &Activity) -> io::Result<()> {
        let mut synced = self.synced();
        let from = match &*synced {
            Synced::Layers(layers) => *layers,
            Synced::Doubtful(why) => return Err(io::Error::other(why.clone())),
        };
        let whole = self.whole();
        activity.progress(
            format!("layer {} of {}", (whole + 1).min(self.count), self.count),
            whole > kept,
        );
        for layer in from + 1..=whole {
            if let Err(error) = sync_file(&self.path(layer)).and_then(|()| sync_dir(&self.cache)) {
                *synced = Synced::Doubtful(error.to_string());
                remove_path(&self.note)?;
                return Err(error);
            }
            *synced = Synced::Layers(layer);
            // The older note still holds until the machine ends.
            if let Err(error) = self.write_note(boot_id(), layer) {
                warn!(
                    layer,
                    "after a loss of power it will be made again, for it cannot be noted: {error}"
                );
            }
        }
        Ok(())
    }

    // Nothing of this run is kept.
    fn doubt(&self, why: String) -> io::Result<()> {
        *self.synced() = Synced::Doubtful(why);
        remove_path(&self.note)
    }

    fn synced(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // How many layers, from the first on, have their name and the right size.
    fn whole(&self) -> u64 {
        let is_whole = |layer: &u64| {
            fs::metadata(self.path(*layer))
                .is_ok_and(|file| file.is_file() && file.len() == self.size)
        };
        (1..=self.count).take_while(is_whole).count() as u64
    }

    fn remove_others(&self, kept: u64) -> io::Result<()> {
        if kept == 0 {
            return fresh_dir(&self.cache);
        }
        let stay: Vec<_> = (1..=kept).map(|layer| self.path(layer)).collect();
        for entry in fs::read_dir(&self.cache).map_err(|error| at(&self.cache, error))? {
            let path = entry.map_err(|error| at(&self.cache, error))?.path();
            if !stay.contains(&path) {
                remove_path(&path)?;
            }
        }
        Ok(())
    }

    // The proofs library's name for it (`CacheKey::label_layer`).
    fn path(&self, layer: u64) -> PathBuf {
        self.cache.join(format!("sc-02-data-layer-{layer}.dat"))
    }

    fn read_note(&self) -> Option<Note> {
        serde_json::from_slice(&fs::read(&self.note).ok()?).ok()
    }

    fn write_note(&self, boot: Option<String>, synced: u64) -> io::Result<()> {
        let note = Note { made_from: self.made_from.clone(), boot, synced };
        replace(&self.note, &serde_json::to_vec(&note).map_err(io::Error::other)?)
    }
}

// How many of so many whole layers may stay.
fn kept(note: &Note, boot: Option<&str>, made_from: &MadeFrom, whole: u64) -> u64 {
    match &note.boot {
        _ if note.made_from != *made_from => 0,
        Some(noted) if Some(noted.as_str()) == boot => whole,
        _ => whole.min(note.synced),
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
