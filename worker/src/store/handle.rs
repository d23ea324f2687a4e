//! A redb database that is opened again after it has failed: redb itself refuses everything after
//! one failed write.
//!
//! ```text
//!  open --work--> done
//!   ^      | it failed: the database is closed; if the disk is full, the reserve is given up
//!   +------+ once more; then the error is returned, and the next work opens it
//! ```
//!
//! Decisions 036, 037 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::{Database, DatabaseError};

use super::{files::require_space, outbox::Numbers};

/// What is given up when the disk is full: enough for some hundred changes of a record.
const RESERVE_BYTES: u64 = 1 << 20;
// So much more must be free before it is taken again.
const ROOM_FOR_RESERVE: u64 = 4 * RESERVE_BYTES;

/// How a database is opened, made if that is asked for.
pub(super) type Opener = Box<dyn Fn(Missing) -> Result<Database, DatabaseError> + Send + Sync>;

/// What becomes of a database that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

/// A database, open or not.
pub(super) struct Handle {
    opener: Opener,
    reserve: Option<Reserve>,
    state: Mutex<State>,
    // Beside the state, for that is held for as long as a disk takes.
    in_doubt: AtomicBool,
    openings: AtomicU64,
}

struct State {
    /// It may be opened again: it was, and nobody has closed it.
    usable: bool,
    open: Option<Open>,
    reserve_held: bool,
}

/// A database that is open, and the numbers of what is written in this opening.
pub(super) struct Open {
    pub(super) database: Database,
    pub(super) numbers: Numbers,
}

impl Handle {
    pub(super) fn new(opener: Opener, reserve: Option<PathBuf>) -> Handle {
        let state = Mutex::new(State { usable: false, open: None, reserve_held: false });
        Handle {
            opener,
            reserve: reserve.map(Reserve),
            state,
            in_doubt: AtomicBool::new(false),
            openings: AtomicU64::new(0),
        }
    }

    /// Opens the database, if it is not.
    pub(super) fn open(&self, missing: Missing) -> Result<(), redb::Error> {
        let mut state = self.state();
        self.twice(&mut state, missing, |_| Ok(()))?;
        state.usable = true;
        self.hold_reserve(&mut state);
        Ok(())
    }

    /// Closes it, until it is opened by name.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.usable = false;
        state.open = None;
    }

    /// Reads. What has failed is done once more in a new opening.
    pub(super) fn read<T>(
        &self,
        work: impl FnMut(&mut Open) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut state = self.state();
        if !state.usable {
            return Err(redb::Error::DatabaseClosed);
        }
        self.twice(&mut state, Missing::Refuse, work)
    }

    /// Writes. `committing` is true for as long as it is not known whether the work was done.
    pub(super) fn write<T>(
        &self,
        mut work: impl FnMut(&mut Open, &mut bool) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let mut state = self.state();
        if !state.usable {
            return Err(redb::Error::DatabaseClosed);
        }
        let mut committing = false;
        let worked = self.twice(&mut state, Missing::Refuse, |open| work(open, &mut committing));
        match &worked {
            Ok(_) => self.hold_reserve(&mut state),
            Err(_) => drop(self.in_doubt.fetch_or(committing, Ordering::SeqCst)),
        }
        worked
    }

    /// Whether it is not known if a write that failed took place.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    /// How often the database was opened.
    pub(super) fn openings(&self) -> u64 {
        self.openings.load(Ordering::SeqCst)
    }

    /// Nobody doubts any more.
    pub(super) fn settled(&self) {
        self.in_doubt.store(false, Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.is_poisoned() {
            // Something panicked in the database: what it has in memory is worth nothing.
            self.state.clear_poison();
            self.in_doubt.store(true, Ordering::SeqCst);
            state.open = None;
        }
        state
    }

    fn twice<T>(
        &self,
        state: &mut State,
        missing: Missing,
        mut work: impl FnMut(&mut Open) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        match self.once(state, missing, &mut work) {
            Err(error) if may_be_mended(&error) => {
                if is_full(&error) {
                    self.give_up_reserve(state);
                }
                self.once(state, missing, &mut work)
            }
            done => done,
        }
    }

    fn once<T>(
        &self,
        state: &mut State,
        missing: Missing,
        work: &mut impl FnMut(&mut Open) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let open = match &mut state.open {
            Some(open) => open,
            closed => {
                let database = (self.opener)(missing)?;
                self.openings.fetch_add(1, Ordering::SeqCst);
                closed.insert(Open { database, numbers: Numbers::new() })
            }
        };
        let worked = work(open);
        if worked.is_err() {
            state.open = None;
        }
        worked
    }

    // Where there is no room for one, there is none.
    fn hold_reserve(&self, state: &mut State) {
        if let Some(reserve) = self.reserve.as_ref().filter(|_| !state.reserve_held) {
            state.reserve_held = reserve
                .make()
                .inspect_err(|error| tracing::debug!(%error, "no reserve is held"))
                .is_ok();
        }
    }

    fn give_up_reserve(&self, state: &mut State) {
        state.reserve_held = false;
        if let Some(Reserve(path)) = &self.reserve
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "there is no reserve to give up");
        }
    }
}

/// A file that takes space, for as long as there is some.
struct Reserve(PathBuf);

impl Reserve {
    fn make(&self) -> io::Result<()> {
        let Reserve(path) = self;
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() >= RESERVE_BYTES) {
            return Ok(());
        }
        require_space(path.parent().unwrap_or(Path::new(".")), ROOM_FOR_RESERVE)?;
        allocate(path).inspect_err(|_| drop(fs::remove_file(path)))
    }
}

fn allocate(path: &Path) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let allocated =
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES);
    match allocated {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::Write::write_all(&mut file, &vec![0; RESERVE_BYTES as usize])
        }
        allocated => Ok(allocated?),
    }
}

// What the next opening may do better.
fn may_be_mended(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo)
}

/// Whether the disk has no room.
pub(super) fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
