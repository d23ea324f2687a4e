//! Pieces by HTTP, for workers that do not have them: `GET /pieces/<cid>`, and nothing else. A
//! request names a piece, never a path.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{Stream, stream};
use shared_msgs::sector_manager::piece_commitment;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt, Take},
    net::TcpListener,
};
use tracing::{info, warn};

use super::pieces::{NOFOLLOW, PieceFiles};

const CHUNK_BYTES: usize = 256 * 1024;

/// Opens the address, before anything is told of it.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Serves pieces until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    files: Arc<PieceFiles>,
    stop: impl Future<Output = ()>,
) {
    let router = Router::new().route("/pieces/{cid}", get(piece)).with_state(files);
    // A transfer that takes long must not hold the manager up: it is cut off, and its worker asks
    // again.
    tokio::select! {
        ended = axum::serve(listener, router).into_future() => if let Err(error) = ended {
            warn!(%error, "pieces are served no more");
        },
        () = stop => {}
    }
}

async fn piece(State(files): State<Arc<PieceFiles>>, Path(cid): Path<String>) -> Response {
    if let Err(error) = piece_commitment(&cid) {
        return (StatusCode::BAD_REQUEST, error + "\n").into_response();
    }
    if !files.has(&cid) {
        files.scan().await;
    }
    let Some((path, length)) = files.path(&cid) else {
        return (StatusCode::NOT_FOUND, format!("piece {cid} is not offered here\n"))
            .into_response();
    };
    match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(&path).await {
        Ok(file) => {
            info!(piece = cid, length, "served");
            let mut response = Body::from_stream(chunks(file.take(length))).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            response
        }
        Err(error) => {
            warn!(file = %path.display(), %error, "a piece cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("piece {cid} cannot be read\n"))
                .into_response()
        }
    }
}

fn chunks(file: Take<File>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match file.read_buf(&mut chunk).await? {
            0 => Ok(None),
            _ => Ok(Some((Bytes::from(chunk), file))),
        }
    })
}
