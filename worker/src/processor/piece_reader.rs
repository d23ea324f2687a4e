//! Reading a piece's bytes, from a file or by HTTP: exactly so many bytes of data, then zeros.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use super::task::{Piece, PieceFile};

// A server may need long for a whole piece, but not for its first byte.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);

/// The piece's bytes, filled up to its size. Data that is shorter or longer than it should be is an error at its end.
pub fn open(piece: &Piece) -> Result<Box<dyn Read + Send>, String> {
    if piece.payload_size > piece.piece_size {
        return Err(format!("a piece of {} bytes cannot hold {} bytes of data", piece.piece_size, piece.payload_size));
    }
    let (source, name): (Box<dyn Read + Send>, String) = match &piece.piece_file {
        PieceFile::Pledge => return Ok(Box::new(io::repeat(0).take(piece.piece_size))),
        PieceFile::Local(path) => (Box::new(open_file(path)?), path.display().to_string()),
        PieceFile::Url(url) => (fetch(url)?, url.clone()),
    };
    let data = Exactly { source, name, left: piece.payload_size, size: piece.payload_size };
    Ok(Box::new(data.chain(io::repeat(0)).take(piece.piece_size)))
}

fn open_file(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("piece {}: {error}", path.display()))
}

fn fetch(url: &str) -> Result<Box<dyn Read + Send>, String> {
    let config = ureq::Agent::config_builder().timeout_connect(Some(CONNECT_TIMEOUT)).timeout_recv_response(Some(FIRST_BYTE_TIMEOUT));
    let agent: ureq::Agent = config.max_redirects(3).build().into();
    let response = agent.get(url).call().map_err(|error| format!("piece {url}: {error}"))?;
    Ok(Box::new(response.into_body().into_reader()))
}

struct Exactly {
    source: Box<dyn Read + Send>,
    name: String,
    left: u64,
    size: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = |error: String| io::Error::other(format!("piece {}: {error}", self.name));
        if self.left == 0 {
            return match self.source.read(&mut [0]).map_err(|error| wrong(error.to_string()))? {
                0 => Ok(0),
                _ => Err(wrong(format!("has more than the {} bytes of its deal", self.size))),
            };
        }
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.source.read(&mut buffer[..room]) {
            Ok(0) if room > 0 => Err(wrong(format!("ends after {} of the {} bytes of its deal", self.size - self.left, self.size))),
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(directory: &Path, bytes: &[u8], payload_size: u64) -> Result<Vec<u8>, String> {
        let path: PathBuf = directory.join("piece");
        std::fs::write(&path, bytes).unwrap();
        let piece = Piece { piece_file: PieceFile::Local(path), payload_size, piece_size: 127 };
        let mut all = vec![];
        open(&piece)?.read_to_end(&mut all).map_err(|error| error.to_string())?;
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
    fn data_that_is_shorter_or_longer_than_its_deal_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path(), b"abc", 4).unwrap_err().contains("ends after 3 of the 4 bytes"));
        assert!(read(directory.path(), b"abc", 2).unwrap_err().contains("more than the 2 bytes"));
        assert!(read(directory.path(), b"abc", 128).unwrap_err().contains("cannot hold"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let piece = Piece { piece_file: PieceFile::Local("/nowhere/baga".into()), payload_size: 1, piece_size: 127 };
        assert!(open(&piece).err().unwrap().contains("/nowhere/baga"));
    }
}
