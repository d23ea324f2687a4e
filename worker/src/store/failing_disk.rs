//! A disk in memory that fails for a while.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::StorageBackend;

/// Bytes that outlive the databases over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailingDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    works: Arc<AtomicU64>,
    fails: Arc<AtomicU64>,
    done_all_the_same: Arc<AtomicBool>,
}

impl FailingDisk {
    /// Fails so many times, after so many writes and syncs that work.
    pub(crate) fn fail(&self, after: u64, times: u64) {
        self.works.store(after, Ordering::SeqCst);
        self.fails.store(times, Ordering::SeqCst);
    }

    pub(crate) fn work(&self) {
        self.fail(0, 0);
    }

    /// Whether what fails is done all the same.
    pub(crate) fn do_what_fails(&self, done: bool) {
        self.done_all_the_same.store(done, Ordering::SeqCst);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let take = |count: &AtomicU64| {
            count
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
        };
        let fails = !take(&self.works) && take(&self.fails);
        if !fails || self.done_all_the_same.load(Ordering::SeqCst) {
            change(&mut self.bytes.lock().unwrap());
        }
        if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(
            &self.bytes.lock().unwrap()[offset as usize..offset as usize + out.len()],
        );
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(len as usize, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|bytes| {
            bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data)
        })
    }
}
