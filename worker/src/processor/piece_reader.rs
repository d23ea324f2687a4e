//! Pieces' bytes, read from a file or by HTTP for the proofs inside the worker.

use std::io::{self, Read};

use secrecy::SecretString;

use super::{
    download::{Download, Source},
    piece_server::{agent, named, open_file},
    task::{Piece, PieceFile},
};

/// The piece's bytes, filled up to its size; the token is for servers that a sector manager redirects
/// to. Data that is shorter than its deal, or longer than
/// its piece, is an error at its end.
pub(crate) fn open(
    piece: &Piece,
    token: Option<&SecretString>,
) -> io::Result<Box<dyn Read + Send>> {
    if piece.payload_size > piece.piece_size {
        let small = format!(
            "a piece of {} bytes cannot hold {} bytes of data",
            piece.piece_size, piece.payload_size
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, small));
    }
    let (source, name): (Box<dyn Read + Send>, String) = match &piece.piece_file {
        PieceFile::Pledge => return Ok(Box::new(io::repeat(0).take(piece.piece_size))),
        PieceFile::Local(path) => (Box::new(open_file(path)?), path.display().to_string()),
        PieceFile::Url(url) => (fetch(url, piece.piece_size, token)?, url.clone()),
    };
    let data =
        Bounded { source, name, read: 0, at_least: piece.payload_size, at_most: piece.piece_size };
    Ok(Box::new(data.chain(io::repeat(0)).take(piece.piece_size)))
}

fn fetch(url: &str, size: u64, token: Option<&SecretString>) -> io::Result<Box<dyn Read + Send>> {
    let download = Download::start(Source::new(agent(size), url, token.cloned()));
    Ok(Box::new(download.map_err(|error| named(url, error))?))
}

// What follows the data of a deal may be there, for a piece that was unsealed is whole; the
// commitment tells whether it is zeros.
struct Bounded {
    source: Box<dyn Read + Send>,
    name: String,
    read: u64,
    at_least: u64,
    at_most: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Bounded { source, name, read, at_least, at_most } = self;
        let wrong = |error: String| named(&*name, io::Error::other(error));
        if read == at_most {
            return Ok(0);
        }
        let room = buffer.len().min(usize::try_from(*at_most - *read).unwrap_or(usize::MAX));
        match source.read(&mut buffer[..room]) {
            Ok(0) if room > 0 && read < at_least => {
                Err(wrong(format!("ends after {read} of the {at_least} bytes of its deal")))
            }
            Ok(count) => {
                *read += count as u64;
                // Here, because nobody reads on once the piece is full.
                if read == at_most
                    && source.read(&mut [0]).map_err(|error| wrong(error.to_string()))? > 0
                {
                    return Err(wrong(format!("has more than the {at_most} bytes of its piece")));
                }
                Ok(count)
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn read(directory: &Path, bytes: &[u8], payload_size: u64) -> io::Result<Vec<u8>> {
        let path: PathBuf = directory.join("piece");
        std::fs::write(&path, bytes).unwrap();
        let piece = Piece { piece_file: PieceFile::Local(path), payload_size, piece_size: 127 };
        let mut all = vec![];
        open(&piece, None)?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn data_is_filled_up_with_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let all = read(directory.path(), b"abc", 3).unwrap();
        assert_eq!((all.len(), &all[..3]), (127, &b"abc"[..]));
        assert!(all[3..].iter().all(|byte| *byte == 0));
        assert_eq!(read(directory.path(), &[7; 127], 127).unwrap(), [7; 127]);
    }

    #[test]
    fn data_that_is_shorter_than_its_deal_or_longer_than_its_piece_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            read(directory.path(), b"abc", 4)
                .unwrap_err()
                .to_string()
                .contains("ends after 3 of the 4 bytes")
        );
        assert!(
            read(directory.path(), &[7; 128], 100)
                .unwrap_err()
                .to_string()
                .contains("more than the 127 bytes")
        );
        assert!(
            read(directory.path(), b"abc", 128).unwrap_err().to_string().contains("cannot hold")
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let piece = Piece {
            piece_file: PieceFile::Local("/nowhere/baga".into()),
            payload_size: 1,
            piece_size: 127,
        };
        assert!(open(&piece, None).err().unwrap().to_string().contains("/nowhere/baga"));
    }
}
