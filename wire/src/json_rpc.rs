//! JSON-RPC 2.0 over HTTP POST, as damocles speaks it: positional parameters, an `id` always (its
//! sector manager carries out what has none, and says nothing), errors with any HTTP status.
//!
//! What always holds:
//! - Each call has its time, and nothing of the answer is believed before its end.
//! - Whoever calls knows whether the server may have carried it out: [`CallError::may_have_acted`].

use std::{
    error::Error as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use reqwest::{Client, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use shared_msgs::text::{cut_text, printable};

/// The sector is not in the sector manager's online store: it never was, or has ended.
pub const SECTOR_STATE_NOT_FOUND: i64 = 11_001;
/// A method that an older program does not know, or that is switched off.
pub const METHOD_NOT_FOUND: i64 = -32_601;

// Many times the longest answer: a window-PoSt job of 7,000 sectors has 2 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;
const MAX_MESSAGE_BYTES: usize = 1_024;
const CONNECT_TIME: Duration = Duration::from_secs(5);
// Behind a server's own, which closes what is idle for longer.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// One JSON-RPC server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct JsonRpc {
    http: Client,
    url: Url,
    namespace: &'static str,
    ids: std::sync::Arc<AtomicU64>,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There was no connection: the server has not heard of it.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection ended, or the time did, before the whole answer was there.
    #[error("it does not answer: {0}")]
    Unanswered(String),
    /// What came is no JSON-RPC answer, or its result has another shape.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    /// The server says no.
    #[error("{message} (code {code})")]
    Refused {
        /// As JSON-RPC and damocles number them.
        code: i64,
        /// Its own words, on one line.
        message: String,
    },
}

impl CallError {
    /// Whether the server may have carried the call out all the same.
    pub fn may_have_acted(&self) -> bool {
        match self {
            CallError::Unreachable(_) | CallError::Refused { .. } => false,
            CallError::Unanswered(_) | CallError::Unreadable(_) => true,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<i64> {
        match self {
            CallError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// No client can be made, e.g. because the system has no certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calls by HTTP cannot be made: {0}")]
pub struct NoClient(String);

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: Value,
}

impl JsonRpc {
    /// The server at this URL, whose methods are in this namespace, e.g. `VenusWorker`.
    pub fn new(url: Url, namespace: &'static str) -> Result<JsonRpc, NoClient> {
        // Whoever was first in this process has chosen; all of ours choose this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(CONNECT_TIME)
            .pool_idle_timeout(IDLE_TIME)
            // A redirected POST would be sent on as a GET, and neither program redirects.
            .redirect(reqwest::redirect::Policy::none())
            // It is on the machine or in its network; the machine's proxy is for what is outside.
            .no_proxy()
            .build()
            .map_err(|error| NoClient(words(&error)))?;
        Ok(JsonRpc { http, url, namespace, ids: Default::default() })
    }

    /// Calls a method and waits for its result for so long. No result at all is read as null.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
        within: Duration,
    ) -> Result<R, CallError> {
        let body = self.answer(method, params, within).await?;
        let answer: Answer<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
        if let Some(ErrorBody { code, message }) = answer.error {
            let message = match message {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let message = cut_text(&printable(message.trim()), MAX_MESSAGE_BYTES);
            return Err(CallError::Refused { code, message });
        }
        serde_json::from_str(answer.result.map_or("null", RawValue::get)).map_err(unreadable)
    }

    // The body of the answer, whatever its status: errors come with 200 and with 500.
    async fn answer(
        &self,
        method: &str,
        params: impl Serialize,
        within: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let request = Request {
            jsonrpc: "2.0",
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            method: &format!("{}.{method}", self.namespace),
            params,
        };
        let request = serde_json::to_vec(&request).map_err(unreadable)?;
        let sent = self.http.post(self.url.clone()).timeout(within);
        let mut response = sent
            .header(CONTENT_TYPE, "application/json")
            .body(request)
            .send()
            .await
            .map_err(unanswered)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let what = format!("it has more than {MAX_ANSWER_BYTES} bytes");
                return Err(CallError::Unreadable(what));
            }
            body.extend_from_slice(&chunk);
        }
        if body.is_empty() {
            return Err(CallError::Unreadable(format!("HTTP status {status} without a word")));
        }
        // A list would be read as an answer too, by the places of its elements.
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        match is_object && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
            true => Ok(body),
            false => Err(CallError::Unreadable(format!("HTTP status {status}, and no answer"))),
        }
    }
}

fn unreadable(error: serde_json::Error) -> CallError {
    CallError::Unreadable(cut_text(&printable(&error.to_string()), MAX_MESSAGE_BYTES))
}

fn unanswered(error: reqwest::Error) -> CallError {
    let text = match error.is_timeout() {
        true => "the time is over".into(),
        false => words(&error),
    };
    if error.is_connect() { CallError::Unreachable(text) } else { CallError::Unanswered(text) }
}

// The cause alone: what is around it names the URL, which may hold a login.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = match error.source() {
        Some(_) => cause.to_string(),
        None => "the request failed".into(),
    };
    cut_text(&printable(&text), MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Bytes, http::StatusCode, routing::post};
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    // A server that answers every request with this, after it has looked at it.
    async fn server(status: u16, answer: &'static str) -> JsonRpc {
        let answer = move |body: Bytes| async move {
            let request: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&request["jsonrpc"], &request["method"]), (&"2.0".into(), &"X.Do".into()));
            assert!(request["id"].is_u64() && request["params"].is_array());
            if answer == "never" {
                std::future::pending::<()>().await;
            }
            (StatusCode::from_u16(status).unwrap(), answer)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().route("/", post(answer))).into_future());
        JsonRpc::new(url.parse().unwrap(), "X").unwrap()
    }

    async fn asked(status: u16, answer: &'static str) -> Result<Value, CallError> {
        server(status, answer).await.call("Do", [1], SECOND * 10).await
    }

    #[tokio::test]
    async fn a_result_is_read_and_no_result_is_null() {
        let result = asked(200, r#"{"jsonrpc":"2.0","result":{"a":1},"id":0}"#).await;
        assert_eq!(result, Ok(serde_json::json!({"a": 1})));
        assert_eq!(asked(200, r#"{"jsonrpc":"2.0","result":null,"id":0}"#).await, Ok(Value::Null));
        assert_eq!(asked(200, r#"{"jsonrpc":"2.0","id":0}"#).await, Ok(Value::Null));
    }

    #[tokio::test]
    async fn the_body_of_an_error_is_read_whatever_its_status() {
        let body = r#"{"jsonrpc":"2.0","id":0,"error":{"code":11001,"message":"a\nb"}}"#;
        for status in [200, 500] {
            let error = asked(status, body).await.unwrap_err();
            assert_eq!(error.to_string(), r"a\nb (code 11001)");
            assert!(error.code() == Some(SECTOR_STATE_NOT_FOUND) && !error.may_have_acted());
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_leaves_open_whether_it_acted() {
        for (status, answer) in [(500, ""), (502, "<html>bad gateway"), (200, "[]"), (200, "{")] {
            let error = asked(status, answer).await.unwrap_err();
            assert!(matches!(error, CallError::Unreadable(_)), "{answer:?}: {error}");
            assert!(error.may_have_acted());
        }
        let silent = server(200, "never").await;
        let error = silent.call::<Value>("Do", [1], SECOND / 20).await.unwrap_err();
        assert_eq!(error, CallError::Unanswered("the time is over".into()));
        assert!(error.may_have_acted());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_has_heard_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:secret@{}/", listener.local_addr().unwrap());
        drop(listener);
        let nobody = JsonRpc::new(url.parse().unwrap(), "X").unwrap();
        let error = nobody.call::<Value>("Do", [1], SECOND * 10).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable(_)) && !error.may_have_acted());
        assert!(error.to_string().contains("refused") && !error.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_result_of_another_shape_is_said() {
        let server = server(200, r#"{"jsonrpc":"2.0","result":"x","id":0}"#).await;
        let error = server.call::<Option<u64>>("Do", [1], SECOND * 10).await.unwrap_err();
        assert!(error.to_string().contains("invalid type"), "{error}");
    }
}
