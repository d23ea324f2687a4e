//! Bringing files to another place. A file counts as there only once it is whole: it is copied under another name,
//! synced, renamed, and its directory is synced. It has the time of the file that it was copied from: one that is there with
//! its size and time was brought by an earlier run, and is not copied again.

use std::{fs, io, path::Path};

use super::task::Transfer;
use crate::store::{
    durable::{partial, sync_dir},
    location::at,
};

/// Copies what the routes say, in their order.
pub fn run(transfer: &Transfer) -> io::Result<()> {
    for route in &transfer.routes {
        let (from, to) = (&route.src.uri, &route.dest.uri);
        if route.opt.is_some_and(|option| option.is_dir) { copy_directory(from, to)? } else { copy_file(from, to)? }
    }
    Ok(())
}

/// Copies one file, whole or not at all.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
    }
    if has_arrived(from, to)? {
        return to.parent().map_or(Ok(()), sync_dir);
    }
    let partial = partial(to);
    let copied = copy_and_sync(from, to, &partial);
    if copied.is_err() {
        // What is left of it would only fill the disk.
        fs::remove_file(&partial).ok();
    }
    copied?;
    to.parent().map_or(Ok(()), sync_dir)
}

// Another attempt of the sector has files of the same sizes, but not of the same times.
fn has_arrived(from: &Path, to: &Path) -> io::Result<bool> {
    let sent = fs::metadata(from).map_err(|error| at(from, error))?;
    let Ok(there) = fs::metadata(to) else { return Ok(false) };
    Ok(there.is_file() && there.len() == sent.len() && there.modified()? == sent.modified()?)
}

fn copy_and_sync(from: &Path, to: &Path, partial: &Path) -> io::Result<()> {
    let source = fs::metadata(from).map_err(|error| at(from, error))?;
    let size = source.len();
    let copied = fs::copy(from, partial).map_err(|error| at(partial, error))?;
    let synced = fs::File::open(partial).and_then(|file| {
        // Where a store keeps no times, the file would only be copied again.
        source.modified().and_then(|time| file.set_modified(time)).ok();
        file.sync_all().and(file.metadata())
    });
    let written = synced.map_err(|error| at(partial, error))?.len();
    if copied != size || written != size {
        let short = format!("{}: {written} bytes arrived of {size}", partial.display());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
    }
    fs::rename(partial, to).map_err(|error| at(to, error))
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to).map_err(|error| at(to, error))?;
    for entry in fs::read_dir(from).map_err(|error| at(from, error))? {
        let entry = entry.map_err(|error| at(from, error))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(|error| at(&entry.path(), error))?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    sync_dir(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::task::{TransferItem, TransferOption, TransferRoute};

    #[test]
    fn files_and_directories_arrive_whole_and_replace_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("from/inner")).unwrap();
        fs::write(path("from/a"), [1; 3000]).unwrap();
        fs::write(path("from/inner/b"), "b").unwrap();
        fs::write(path("single"), "old").unwrap();
        let item = |name: &str| TransferItem { store_name: None, uri: path(name) };
        let option = |is_dir| Some(TransferOption { is_dir, allow_link: false });
        let routes = vec![
            TransferRoute { src: item("from"), dest: item("to"), opt: option(true) },
            TransferRoute { src: item("from/a"), dest: item("single"), opt: None },
        ];
        run(&Transfer { stores: Default::default(), routes }).unwrap();
        assert_eq!(fs::read(path("to/a")).unwrap(), [1; 3000]);
        assert_eq!(fs::read(path("to/inner/b")).unwrap(), b"b");
        assert_eq!(fs::read(path("single")).unwrap(), [1; 3000]);
        assert!(!path("single.partial").exists());
    }

    #[test]
    fn what_has_arrived_is_not_copied_again_and_what_another_attempt_left_is() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let inode = || fs::metadata(&to).unwrap().ino();
        fs::write(&to, "stale").unwrap();
        fs::write(&from, "whole").unwrap();
        let time = |path| fs::metadata(path).unwrap().modified().unwrap();
        while time(&from) == time(&to) {
            fs::write(&from, "whole").unwrap();
        }
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"whole");
        let arrived = inode();
        copy_file(&from, &to).unwrap();
        assert_eq!(inode(), arrived);
        while time(&from) == time(&to) {
            fs::write(&from, "other").unwrap();
        }
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"other");
        // Cut off, by whatever did that.
        fs::write(&to, "oth").unwrap();
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"other");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let error = copy_file(&directory.path().join("missing"), &directory.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("missing"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
