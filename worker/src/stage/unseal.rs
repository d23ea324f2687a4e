//! Unseal and UploadPiece: gets a piece's bytes out of a replica, and brings them where they are
//! wanted.
//!
//! Decisions 004, 041 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared_msgs::{
    plan::PlanEvent,
    sector_manager::{AcquireUnsealDest, piece_cid, piece_commitment},
};

use super::{Done, StageRun, field, on_disk, snap::snap_files};
use crate::{
    failure::Failure,
    processor::{
        piece_server,
        task::{PieceCommitment, SnapDecode, Unseal, prover_id},
    },
    store::{
        attached::Kind,
        files::{at, fresh_dir, is_inside, remove_path, require_inside},
        record::UnsealPiece,
        transfer::copy_file,
    },
};

const BLOCK_BYTES: usize = 1 << 20;

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let piece = run.unseal_piece()?.clone();
    let store = run.store_named(&piece.store).await?;
    let (sealed, updated) =
        (store.files(run.id(), Kind::Sealed), store.files(run.id(), Kind::Update));
    let (out, scratch) = (run.files.piece.clone(), run.files.unseal_cache.clone());
    let is_updated = on_disk({
        let (out, scratch, update) = (out.clone(), scratch.clone(), updated.replica.clone());
        move || {
            fresh_dir(&scratch)?;
            remove_path(&out)?;
            Ok(update.is_file())
        }
    })
    .await?;
    // The piece, and the layers that are made again; of an upgraded sector the whole data.
    run.require_sectors(3).await?;
    let size = if is_updated {
        let task = SnapDecode {
            registered_proof: run.update_proof_name(),
            comm_d: piece.comm_d,
            files: snap_files(sealed, updated),
            data_path: scratch.join("data"),
            unsealed_output: out.clone(),
            offset: piece.offset,
            num_bytes: piece.size,
        };
        run.compute(task).await?
    } else {
        let task = Unseal {
            registered_proof: run.proof_name(),
            prover_id: prover_id(run.id().miner),
            sector_id: run.id().number,
            comm_d: piece.comm_d,
            ticket: field(&run.sector.ticket, "ticket")?.ticket.0,
            cache_dir: scratch.clone(),
            sealed_file: sealed.replica,
            unsealed_output: out.clone(),
            offset: piece.offset,
            num_bytes: piece.size,
        };
        run.compute(task).await?
    };
    if size != piece.size {
        let short = format!("{size} bytes were unsealed of {}", piece.size);
        return Err(Failure::temporary(short));
    }
    check_piece(run, &piece, out).await?;
    on_disk(move || remove_path(&scratch)).await?;
    run.done(PlanEvent::UnsealDone, |sector| {
        sector.unseal.iter_mut().for_each(|piece| piece.done = true)
    })
}

pub(super) async fn upload(run: &StageRun<'_>) -> Result<Done, Failure> {
    let piece = run.unseal_piece()?;
    let request = AcquireUnsealDest { sector: run.id(), piece_cid: piece.piece_cid.clone() };
    let mut wanted = run.ask(&request).await?;
    let directories = &run.shared.local_pieces_dirs;
    if wanted.is_empty() {
        let first = directories.first().ok_or_else(|| {
            Failure::permanent(
                "nobody says where the piece is to go: give --dest to the command that asks for it, or set worker.local_pieces_dirs",
            )
        })?;
        wanted.push(format!("file://{}", first.join(&piece.piece_cid).display()));
    }
    for destination in wanted {
        let from = run.files.piece.clone();
        match Destination::parse(&destination, directories).map_err(Failure::permanent)? {
            Destination::File(to) => {
                let directories = directories.clone();
                on_disk(move || copy_piece(&from, &to, &directories)).await?;
            }
            Destination::Http(url) => {
                let sent =
                    tokio::task::spawn_blocking(move || piece_server::upload(&from, &url)).await;
                sent.map_err(Failure::critical)?.map_err(Failure::temporary)?;
            }
        }
    }
    run.done(PlanEvent::UploadPieceDone, |_| {})
}

/// Where a piece goes.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    File(PathBuf),
    Http(String),
}

impl Destination {
    // A message from the bus must not have any file of this machine written: only those of the
    // directories for pieces.
    fn parse(text: &str, directories: &[PathBuf]) -> Result<Self, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Destination::Http(text.to_owned()));
        }
        let path = text.strip_prefix("file://").map(PathBuf::from);
        let Some(path) = path.filter(|path| path.is_absolute()) else {
            return Err(format!("destination {text:?} is neither file:///… nor http://…"));
        };
        if directories.iter().any(|directory| is_inside(&path, directory)) {
            return Ok(Destination::File(path));
        }
        let allowed: Vec<_> =
            directories.iter().map(|directory| directory.display().to_string()).collect();
        let allowed = if allowed.is_empty() { "there is none".into() } else { allowed.join(", ") };
        Err(format!(
            "{} is in no directory of worker.local_pieces_dirs ({allowed}): add its directory there",
            path.display()
        ))
    }
}

// A file that is there already is never replaced by another one, and nothing is written through a
// link: whoever may put files there, clients perhaps, must not choose what this worker writes to.
// One that is only compared may be a link.
fn copy_piece(from: &Path, to: &Path, directories: &[PathBuf]) -> io::Result<()> {
    for directory in directories.iter().filter(|directory| to.starts_with(directory)) {
        fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
    }
    require_inside(to, directories)?;
    match fs::metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => copy_file(from, to),
        Err(error) => Err(at(to, error)),
        Ok(metadata) if metadata.is_file() && same_content(from, to)? => Ok(()),
        Ok(_) => {
            let exists = format!(
                "{}: another file is there already: remove it, or ask for another destination",
                to.display()
            );
            Err(io::Error::new(io::ErrorKind::AlreadyExists, exists))
        }
    }
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    use io::{BufRead, BufReader};
    let (one, other) = (fs::File::open(one)?, fs::File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let [mut one, mut other] = [one, other].map(|file| BufReader::with_capacity(BLOCK_BYTES, file));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let count = left.len().min(right.len());
        if left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(count);
        other.consume(count);
    }
}

impl StageRun<'_> {
    fn unseal_piece(&self) -> Result<&UnsealPiece, Failure> {
        field(&self.sector.unseal, "piece to unseal")
    }
}

async fn check_piece(run: &StageRun<'_>, piece: &UnsealPiece, out: PathBuf) -> Result<(), Failure> {
    let task = PieceCommitment {
        registered_proof: run.proof_name(),
        piece_file: out,
        piece_size: piece.size,
    };
    let found = run.compute(task).await?;
    if piece_commitment(&piece.piece_cid).is_ok_and(|expected| expected == found) {
        return Ok(());
    }
    let (wanted, found, sector) = (&piece.piece_cid, piece_cid(&found), run.id());
    Err(Failure::permanent(format!(
        "the bytes at {} of {sector} are piece {found}, not {wanted}",
        piece.offset
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_goes_to_a_directory_for_pieces_or_to_a_server() {
        let directories = ["/pieces".into(), "/more".into()];
        let parse = |text| Destination::parse(text, &directories);
        assert_eq!(parse("file:///pieces/a/b"), Ok(Destination::File("/pieces/a/b".into())));
        assert_eq!(parse("http://x/y"), Ok(Destination::Http("http://x/y".into())));
        for refused in [
            "file:///etc/passwd",
            "file:///pieces",
            "file:///pieces/../x",
            "file://pieces/x",
            "/pieces/x",
            "ftp://x",
            "",
        ] {
            assert!(parse(refused).is_err(), "{refused}");
        }
        assert!(
            Destination::parse("file:///a/b", &[])
                .unwrap_err()
                .contains("local_pieces_dirs (there is none)")
        );
    }

    #[test]
    fn another_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (from, pieces) = (directory.path().join("from"), directory.path().join("pieces"));
        let (to, pieces) = (pieces.join("to"), [pieces]);
        fs::write(&from, "bytes").unwrap();
        copy_piece(&from, &to, &pieces).unwrap();
        copy_piece(&from, &to, &pieces).unwrap();
        fs::write(&to, "other").unwrap();
        assert_eq!(
            copy_piece(&from, &to, &pieces).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&to).unwrap(), b"other");
        let directory = pieces[0].join("directory");
        fs::create_dir(&directory).unwrap();
        assert_eq!(
            copy_piece(&from, &directory, &pieces).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn files_are_compared_to_their_last_byte() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        for length in [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 3] {
            let mut bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let one = file("one", &bytes);
            assert!(same_content(&one, &file("same", &bytes)).unwrap(), "{length}");
            bytes.push(0);
            assert!(!same_content(&one, &file("longer", &bytes)).unwrap(), "{length}");
            bytes.pop();
            for position in [0, length / 2, length.saturating_sub(1)] {
                let Some(byte) = bytes.get_mut(position) else { continue };
                *byte ^= 1;
                assert!(!same_content(&one, &file("other", &bytes)).unwrap(), "{length}");
                bytes[position] ^= 1;
            }
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let pieces = [path("pieces")];
        fs::create_dir_all(path("pieces")).unwrap();
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("from"), "bytes").unwrap();
        fs::write(path("victim"), "precious").unwrap();
        symlink(path("victim"), path("pieces/cid.partial")).unwrap();
        symlink(path("victim.new"), path("pieces/cid")).unwrap();
        copy_piece(&path("from"), &path("pieces/cid"), &pieces).unwrap();
        assert_eq!(fs::read(path("victim")).unwrap(), b"precious");
        assert!(!path("victim.new").exists());
        assert_eq!(fs::read(path("pieces/cid")).unwrap(), b"bytes");

        symlink(path("elsewhere"), path("pieces/sub")).unwrap();
        let error = copy_piece(&path("from"), &path("pieces/sub/deep/cid"), &pieces).unwrap_err();
        assert!(
            error.to_string().contains("pieces/sub/deep/cid")
                && error.to_string().contains("elsewhere"),
            "{error}"
        );
        assert_eq!(fs::read_dir(path("elsewhere")).unwrap().count(), 0);
    }
}
