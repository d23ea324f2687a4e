//! What every answering side has in common.

use async_nats::HeaderMap;
use shared_msgs::error::{self, ErrorKind};

/// The headers of a refusal.
pub fn headers(refusal: &ErrorKind) -> HeaderMap {
    error::headers(refusal).into_iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.insert(name, value);
        headers
    })
}
