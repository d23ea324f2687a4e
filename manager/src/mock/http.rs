//! Pieces by HTTP, for workers that do not have them: `GET /pieces/<cid>`, whole or a range of it,
//! and nothing else. A request names a piece, never a path.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_RANGE},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_extra::{
    TypedHeader,
    headers::{ContentType, ETag, IfRange, Range},
};
use axum_range::{KnownSize, Ranged};
use shared_msgs::sector_manager::piece_commitment;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::pieces::PieceFiles;

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

async fn piece(
    State(files): State<Arc<PieceFiles>>,
    Path(cid): Path<String>,
    range: Option<TypedHeader<Range>>,
    if_range: Option<TypedHeader<IfRange>>,
) -> Response {
    if let Err(error) = piece_commitment(&cid) {
        return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
    }
    let opened = match files.open(&cid).await {
        Ok(None) => {
            files.scan().await;
            files.open(&cid).await
        }
        opened => opened,
    };
    let (file, length) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            let missing = format!("piece {cid} is not offered here\n");
            return (StatusCode::NOT_FOUND, missing).into_response();
        }
        Err(error) => {
            warn!(%error, "a piece cannot be read");
            let unreadable = format!("piece {cid} cannot be read\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, unreadable).into_response();
        }
    };
    // A piece's CID is a hash of its bytes: nothing else is ever served under it.
    let tag: Option<ETag> = format!("\"{cid}\"").parse().ok();
    let is_same = if_range.is_none_or(|wanted| !wanted.is_modified(tag.as_ref(), None));
    let range = range.filter(|_| is_same).map(|TypedHeader(range)| range);
    let body = Ranged::new(range, KnownSize::sized(file, length));
    let kind = TypedHeader(ContentType::octet_stream());
    let response = (tag.map(TypedHeader), kind, body).into_response();
    info!(piece = cid, length, part = ?response.headers().get(CONTENT_RANGE), "served");
    response
}
