//! The process groups that a worker has started and not seen the end of. They are written down, for
//! the worker may be killed: its next start ends what is left of them before its first stage, or
//! two generations would write into one sector.
//!
//! ```text
//!  start --> left by an earlier run? --none lives--> cleared: stages run, processors and daemons start
//!               |        ^
//!               `- KILL -'
//! ```
//! Two things tell our own processes from all others, and neither is their number alone, which may
//! be somebody else's by now: the mark in their environment, which those have too that have left
//! their group, and the written group as long as its leader is there, for those that were started
//! with an environment of their own.
//!
//! A mark names the directories of all locations of the worker. Whoever has opened the store of one
//! of them is the only worker there, so whoever works for an earlier one has been left behind. A
//! copy of a location is another directory, and finds nobody.
//!
//! Decision 032 in `docs/decisions`.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use damocles_client::backoff::Backoff;
use damocles_daemon::tasks::Tasks;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use shared_msgs::id::Id;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::warn;

use super::processes::Process;
use crate::{
    clock::boot_id,
    store::{files::at, location::Location},
};

/// The mark in the environment of all that a worker starts.
pub(crate) const MARK: &str = "DAMOCLES_WORKER_PROCESSOR";
const LOOK_AGAIN: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
const FIRST_SAID: Duration = Duration::from_secs(1);
/// How often a process that does not end is spoken of.
pub(crate) const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A group that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The number of its leader, and so its own.
    pub leader: i32,
    /// When its leader started, see [`Process::started`].
    pub started: u64,
    /// What it runs, for messages.
    pub program: String,
}

// What is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Numbers and times are those of one boot.
    boot_id: Option<String>,
    locations: BTreeSet<String>,
    groups: Vec<Started>,
}

/// The groups of one worker.
pub(crate) struct Groups {
    locations: BTreeSet<String>,
    /// Where they are written down: beside the first thread.
    file: Option<PathBuf>,
    started: Mutex<Vec<Started>>,
    cleared: watch::Sender<bool>,
}

impl Groups {
    /// The groups of the worker that has opened the stores of these locations. Nothing of an
    /// earlier one is looked for where there are none.
    pub(crate) fn new(tasks: &Tasks, locations: &[Location]) -> Arc<Self> {
        let directory = |location: &Location| match fs::metadata(location.path()) {
            Ok(metadata) => Some(format!("{}:{}", metadata.dev(), metadata.ino())),
            Err(error) => {
                warn!(location = %location.path().display(), %error, "processors cannot be marked as this location's");
                None
            }
        };
        let groups = Arc::new(Groups {
            locations: locations.iter().filter_map(directory).collect(),
            file: locations.first().map(Location::processors_file),
            started: Mutex::default(),
            cleared: watch::Sender::new(locations.is_empty()),
        });
        if !locations.is_empty() {
            let files: Vec<_> = locations.iter().map(Location::processors_file).collect();
            let clearing = groups.clone().clear(files);
            tasks.spawn("ends what an earlier run has left", async {
                clearing.await;
                std::future::pending().await
            });
        }
        groups
    }

    /// Whether nothing of an earlier run is left.
    pub(crate) fn are_cleared(&self) -> bool {
        *self.cleared.borrow()
    }

    /// Waits until nothing of an earlier run is left.
    pub(crate) async fn cleared(&self) {
        self.cleared.subscribe().wait_for(|cleared| *cleared).await.map(drop).ok();
    }

    /// A mark for one more group, unlike all others.
    pub(crate) fn mark(&self) -> String {
        let locations: Vec<_> = self.locations.iter().map(String::as_str).collect();
        format!("{} {}", Id::generate(), locations.join(","))
    }

    /// Writes down that a group was started.
    pub(crate) fn add(&self, group: Started) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.push(group);
        self.write(&started);
    }

    /// Nothing of a group lives any more.
    pub(crate) fn remove(&self, group: &Started) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|known| known != group);
        self.write(&started);
    }

    /// Those whose end was not seen yet, in words.
    pub(crate) fn left(&self) -> Vec<String> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.iter().map(|group| format!("{} (pid {})", group.program, group.leader)).collect()
    }

    // The file need not survive the machine, so it is not synced; its mark is what a group without
    // a line in it has.
    fn write(&self, started: &[Started]) {
        let Some(file) = &self.file else { return };
        let written = Written {
            boot_id: boot_id(),
            locations: self.locations.clone(),
            groups: started.to_vec(),
        };
        let new = file.with_extension("new");
        let result = serde_json::to_vec(&written)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&new, json))
            .map_err(|error| at(&new, error));
        if let Err(error) =
            result.and_then(|()| fs::rename(&new, file).map_err(|error| at(file, error)))
        {
            warn!(%error, "the processes of the processors cannot be written down");
        }
    }

    // Ends what earlier runs have left.
    async fn clear(self: Arc<Self>, files: Vec<PathBuf>) {
        let groups = self.clone();
        let read = move || files.iter().flat_map(|file| groups.read(file)).collect::<Vec<_>>();
        let written = Arc::new(tokio::task::spawn_blocking(read).await.unwrap_or_default());
        let (mut left, mut backoff) = (vec![], LOOK_AGAIN);
        let mut say = Instant::now() + FIRST_SAID;
        loop {
            let (groups, written) = (self.clone(), written.clone());
            let look = move || groups.end_left(left, &written);
            left = match tokio::task::spawn_blocking(look).await {
                Ok(left) if left.is_empty() => break,
                Ok(left) => left,
                // The runtime ends.
                Err(_) => return,
            };
            if Instant::now() >= say {
                say = Instant::now() + SAY_AGAIN;
                for process in &left {
                    let (pid, program, error) =
                        (process.pid, &process.name, process.signal(Signal::KILL).err());
                    warn!(
                        pid,
                        program,
                        ?error,
                        "what an earlier run has left does not end though it was killed: no stage runs before it has"
                    );
                }
            }
            sleep(backoff.pause()).await;
        }
        self.cleared.send_replace(true);
    }

    // Kills what is left of earlier runs; returns what has not ended yet. What was found once stays
    // known, for it is not recognised any more when the leader of its group has ended before it.
    fn end_left(&self, mut known: Vec<Process>, written: &[Started]) -> Vec<Process> {
        let own = process::id().try_into().ok();
        known.retain(Process::lives);
        for process in &known {
            process.signal(Signal::KILL).ok();
        }
        for process in Process::all() {
            let is_known = known.iter().any(|known| known.is(&process));
            if is_known || Some(process.pid) == own || !self.owns(&process, written) {
                continue;
            }
            // Whoever cannot be killed is spoken of with what does not end.
            if process.signal(Signal::KILL).is_ok() {
                warn!(
                    pid = process.pid,
                    program = process.name,
                    "a process that an earlier run of this worker has left is killed"
                );
            }
            known.push(process);
        }
        known
    }

    fn owns(&self, process: &Process, written: &[Started]) -> bool {
        let is_leader = |group: &Started| {
            Process::find(group.leader).is_some_and(|leader| leader.started == group.started)
        };
        written.iter().any(|group| group.leader == process.group && is_leader(group))
            || process.variable(MARK).is_some_and(|mark| self.has_made(&mark))
    }

    fn has_made(&self, mark: &str) -> bool {
        mark.split_once(' ').is_some_and(|(_, locations)| {
            locations.split(',').any(|location| self.locations.contains(location))
        })
    }

    // The groups that a file names, if they can still be there and were started from one of our
    // locations.
    fn read(&self, file: &Path) -> Vec<Started> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
            Err(error) => {
                warn!(file = %file.display(), %error, "what an earlier run has started is found by its environment only");
                return vec![];
            }
        };
        match serde_json::from_slice::<Written>(&text) {
            Ok(written)
                if written.boot_id == boot_id()
                    && !written.locations.is_disjoint(&self.locations) =>
            {
                written.groups
            }
            Ok(_) => vec![],
            Err(error) => {
                warn!(file = %file.display(), %error, "what an earlier run has started is found by its environment only");
                vec![]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Child, Command},
    };

    use tempfile::TempDir;

    use super::*;

    // Somebody in a group of its own; ended with the test.
    struct Somebody(Child);

    impl Somebody {
        fn with(mark: Option<&str>) -> Somebody {
            let mut command = Command::new("sleep");
            command.arg("60").process_group(0).envs(mark.map(|mark| (MARK, mark)));
            Somebody(command.spawn().unwrap())
        }

        fn group(&self) -> Started {
            let leader = self.0.id().try_into().unwrap();
            Started {
                leader,
                started: Process::find(leader).unwrap().started,
                program: "sleep".into(),
            }
        }

        fn lives(&self) -> bool {
            Process::find(self.group().leader).unwrap().lives()
        }
    }

    impl Drop for Somebody {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn location() -> (TempDir, Location) {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::at(directory.path()).unwrap();
        (directory, location)
    }

    // The groups of a worker that starts now, and has ended what was left.
    async fn cleared(locations: &[&Location]) -> Arc<Groups> {
        let locations: Vec<_> = locations.iter().map(|location| (*location).clone()).collect();
        let groups = Groups::new(&Tasks::new().0, &locations);
        groups.cleared().await;
        groups
    }

    #[tokio::test]
    async fn whoever_works_for_one_of_the_locations_is_ended_and_nobody_else() {
        let [(_a, a), (_b, b), (_c, c), (_d, d)] = [location(), location(), location(), location()];
        let marked = Somebody::with(Some(&cleared(&[&a, &b]).await.mark()));
        let others = [
            Some(cleared(&[&c]).await.mark()),
            Some(Groups::new(&Tasks::new().0, &[]).mark()),
            None,
            Some("x".into()),
            Some(" ".into()),
        ];
        let others = others.map(|mark| Somebody::with(mark.as_deref()));
        cleared(&[&d]).await;
        assert!(marked.lives());
        cleared(&[&b, &d]).await;
        assert!(!marked.lives() && others.iter().all(Somebody::lives));
    }

    #[tokio::test]
    async fn a_group_that_was_written_down_is_ended_if_it_is_still_that_group() {
        let [(_a, a), (_b, b)] = [location(), location()];
        let (left, reused, removed) =
            (Somebody::with(None), Somebody::with(None), Somebody::with(None));
        let before = cleared(&[&a]).await;
        before.add(left.group());
        before.add(Started { started: reused.group().started - 1, ..reused.group() });
        before.add(removed.group());
        before.remove(&removed.group());
        assert_eq!(before.left().len(), 2);
        // A copy of the location is no second owner.
        fs::copy(a.processors_file(), b.processors_file()).unwrap();
        cleared(&[&b]).await;
        assert!(left.lives());
        // Whichever of the locations is the first one now.
        cleared(&[&b, &a]).await;
        assert!(!left.lives() && reused.lives() && removed.lives());
    }

    #[tokio::test]
    async fn what_was_written_before_the_machine_started_or_cannot_be_read_means_nobody() {
        let (_directory, location) = location();
        let somebody = Somebody::with(None);
        cleared(&[&location]).await.add(somebody.group());
        let file = location.processors_file();
        let written = fs::read_to_string(&file).unwrap();
        for text in
            [written.replace(&boot_id().unwrap(), "another boot"), "{".into(), String::new()]
        {
            fs::write(&file, text).unwrap();
            cleared(&[&location]).await;
            assert!(somebody.lives());
        }
        fs::write(&file, written).unwrap();
        cleared(&[&location]).await;
        assert!(!somebody.lives());
    }
}
