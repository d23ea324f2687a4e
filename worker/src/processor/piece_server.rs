//! Piece servers: how long one may take, and bringing it a piece.

use std::{fmt, fs::File, io, path::Path, time::Duration};

#[cfg(feature = "builtin-proofs")]
use secrecy::SecretString;

// A server may need long for a whole piece, but not for its first byte.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
// Slower than this, a transfer hangs.
const MIN_BYTES_PER_SECOND: u64 = 1 << 20;
const LEAST_TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);

/// Names the token that piece servers want of whoever a sector manager redirects to them.
pub(crate) const PIECE_TOKEN: &str = "PIECE_FETCHER_TOKEN";

/// The token that this process was given.
#[cfg(feature = "builtin-proofs")]
pub(super) fn token_of_environment() -> Option<SecretString> {
    std::env::var(PIECE_TOKEN).ok().filter(|token| !token.is_empty()).map(SecretString::from)
}

/// Sends a file's bytes to a server with PUT, as damocles does.
pub(crate) fn upload(path: &Path, url: &str) -> io::Result<()> {
    let file = open_file(path)?;
    let size = file.metadata().map_err(|error| named(path.display(), error))?.len();
    let answer = agent(size).put(url).content_type("application/octet-stream").send(file);
    answer.map(drop).map_err(|error| io::Error::other(format!("{url}: {error}")))
}

pub(super) fn open_file(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| named(path.display(), error))
}

pub(super) fn named(piece: impl fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("piece {piece}: {error}"))
}

pub(super) fn agent(size: u64) -> ureq::Agent {
    let transfer = LEAST_TRANSFER_TIMEOUT + Duration::from_secs(size / MIN_BYTES_PER_SECOND);
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(FIRST_BYTE_TIMEOUT));
    config
        .timeout_send_body(Some(transfer))
        .timeout_recv_body(Some(transfer))
        .max_redirects(3)
        .build()
        .into()
}
