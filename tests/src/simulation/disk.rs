//! Disks in memory. What a process wrote stays when it is killed; what it would have written after
//! that is lost.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, StorageBackend};

/// A disk: its bytes outlive the processes that use it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Vec<u8>>>);

/// Whether a process still has its power.
#[derive(Clone, Default)]
pub struct Power(pub(super) Arc<AtomicBool>);

/// A disk in the hands of one process.
pub struct Attached {
    disk: Disk,
    power: Power,
}

impl Disk {
    /// A disk with an empty store on it: making one costs more than copying it.
    pub fn formatted() -> Disk {
        let disk = Disk::default();
        drop(Database::builder().create_with_backend(disk.attach(&Power::default())).unwrap());
        disk
    }

    /// Another disk with the same bytes.
    pub fn copy(&self) -> Disk {
        Disk(Arc::new(Mutex::new(self.bytes().clone())))
    }

    /// Gives it to a process.
    pub fn attach(&self, power: &Power) -> Attached {
        Attached { disk: self.clone(), power: power.clone() }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Power {
    /// Whether nothing is written any more.
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Nothing is written from now on.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Attached {
    fn powered(&self) -> io::Result<()> {
        if self.power.is_cut() { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }
}

// Its bytes say nothing to anybody.
impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}

impl StorageBackend for Attached {
    fn len(&self) -> io::Result<u64> {
        self.powered()?;
        Ok(self.disk.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.powered()?;
        let bytes = self.disk.bytes();
        let from = offset as usize;
        let read = bytes
            .get(from..from + out.len())
            .ok_or_else(|| io::Error::other("beyond the end of the disk"))?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.powered()?;
        self.disk.bytes().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.powered()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.powered()?;
        let from = offset as usize;
        let mut bytes = self.disk.bytes();
        let written = bytes
            .get_mut(from..from + data.len())
            .ok_or_else(|| io::Error::other("beyond the end of the disk"))?;
        written.copy_from_slice(data);
        Ok(())
    }
}
