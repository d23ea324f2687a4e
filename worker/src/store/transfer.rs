//! Bringing files to another place. A file counts as there only once it is whole: it is copied
//! under another name, synced, renamed, and its directory is synced. That other name is never a
//! link to some other file: it is made anew. A file has the time of the one that it was copied
//! from: one that is there with its size and time was brought by an earlier run, and is not copied
//! again.
//!
//! Decisions 035, 041 in `docs/decisions`.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use super::durable::{partial, sync_dir};

use super::files::at;

/// Copies one file, whole or not at all.
pub(crate) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
    }
    if has_arrived(from, to)? {
        return to.parent().map_or(Ok(()), sync_dir);
    }
    let partial = partial(to);
    remove_file(&partial)?;
    let mut source = fs::File::open(from).map_err(|error| at(from, error))?;
    let metadata = source.metadata().map_err(|error| at(from, error))?;
    // Whatever comes there meanwhile, a link above all, is not written to.
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .mode(metadata.mode());
    let mut copy = options.open(&partial).map_err(|error| at(&partial, error))?;
    let written = io::copy(&mut source, &mut copy).and_then(|written| {
        // Where a store keeps no times, the file would only be copied again.
        metadata.modified().and_then(|time| copy.set_modified(time)).ok();
        copy.sync_all().map(|()| written)
    });
    let whole = match written.map_err(|error| at(&partial, error)) {
        Ok(written) if written == metadata.len() => rename(&copy, &partial, to),
        Ok(written) => {
            let short =
                format!("{}: {written} bytes arrived of {}", partial.display(), metadata.len());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, short))
        }
        Err(error) => Err(error),
    };
    if whole.is_err() && is_at(&copy, &partial) {
        // What is left of it would only fill the disk.
        fs::remove_file(&partial).ok();
    }
    whole?;
    to.parent().map_or(Ok(()), sync_dir)
}

// Another attempt of the sector has files of the same sizes, but not of the same times.
fn has_arrived(from: &Path, to: &Path) -> io::Result<bool> {
    let sent = fs::metadata(from).map_err(|error| at(from, error))?;
    let Ok(there) = fs::symlink_metadata(to) else { return Ok(false) };
    Ok(there.is_file() && there.len() == sent.len() && there.modified()? == sent.modified()?)
}

// Another worker may bring the same file to the same place: what it has half written must not get
// the name of a whole one.
fn rename(copy: &fs::File, partial: &Path, to: &Path) -> io::Result<()> {
    if !is_at(copy, partial) {
        let replaced = format!("{}: somebody else has replaced it meanwhile", partial.display());
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, replaced));
    }
    fs::rename(partial, to).map_err(|error| at(to, error))
}

fn is_at(file: &fs::File, path: &Path) -> bool {
    let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(file), Ok(there)) if id(&file) == id(&there))
}

// A link goes, and not what it leads to.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
        _ => Ok(()),
    }
}

/// Copies a directory and what is in it, each file whole or not at all.
pub(crate) fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
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
    fn a_link_in_the_way_is_replaced_and_what_it_leads_to_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("from"), "bytes").unwrap();
        fs::write(path("victim"), "precious").unwrap();
        for link in ["to", "to.partial"] {
            std::os::unix::fs::symlink(path("victim"), path(link)).unwrap();
        }
        copy_file(&path("from"), &path("to")).unwrap();
        assert_eq!(fs::read(path("victim")).unwrap(), b"precious");
        assert!(
            fs::symlink_metadata(path("to")).unwrap().is_file()
                && fs::read(path("to")).unwrap() == b"bytes"
        );
        assert!(fs::symlink_metadata(path("to.partial")).is_err());
    }

    #[test]
    fn what_an_earlier_run_left_half_copied_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("from"), "new").unwrap();
        fs::write(path("to.partial"), "longer than that").unwrap();
        copy_file(&path("from"), &path("to")).unwrap();
        assert_eq!(fs::read(path("to")).unwrap(), b"new");
    }

    #[test]
    fn a_half_copied_file_of_somebody_else_does_not_get_the_name_of_a_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let ours = fs::File::create(path("to.partial")).unwrap();
        fs::remove_file(path("to.partial")).unwrap();
        fs::write(path("to.partial"), "half").unwrap();
        assert_eq!(
            rename(&ours, &path("to.partial"), &path("to")).unwrap_err().kind(),
            io::ErrorKind::ResourceBusy
        );
        assert!(path("to.partial").exists() && !path("to").exists());
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let error =
            copy_file(&directory.path().join("missing"), &directory.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("missing"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
