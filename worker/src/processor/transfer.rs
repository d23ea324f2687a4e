//! Bringing files to another place. A file counts as there only once it is whole: it is copied under another name,
//! synced, renamed, and its directory is synced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::task::Transfer;
use crate::store::location::at;

const PARTIAL: &str = ".partial";

/// Copies what the routes say, in their order.
pub fn run(transfer: &Transfer) -> io::Result<()> {
    for route in &transfer.routes {
        let (from, to) = (&route.src.uri, &route.dest.uri);
        if route.opt.is_some_and(|option| option.is_dir) { copy_directory(from, to)? } else { copy_file(from, to)? }
    }
    Ok(())
}

/// The name under which a file is copied.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Copies one file, whole or not at all.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
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

fn copy_and_sync(from: &Path, to: &Path, partial: &Path) -> io::Result<()> {
    let size = fs::metadata(from).map_err(|error| at(from, error))?.len();
    let copied = fs::copy(from, partial).map_err(|error| at(partial, error))?;
    let synced = fs::File::open(partial).and_then(|file| file.sync_all().and(file.metadata()));
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

/// Makes what was put into a directory, or renamed there, durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| at(path, error))
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
    fn a_file_that_is_not_there_is_named_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let error = copy_file(&directory.path().join("missing"), &directory.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("missing"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
