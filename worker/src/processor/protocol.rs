//! The damocles line protocol between a worker and an external processor.
//!
//! ```text
//!  processor: c2 processor ready
//!  worker:    {"id":0,"task":{…}}
//!  processor: {"id":0,"err_msg":null,"output":{…}}
//! ```
//! With `err_msg` a processor may say `"level": "temporary"` or `"permanent"`; ours do, damocles
//! knows no such key.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared_msgs::text::cut_text;

use super::task::{C1, Task};
use crate::failure::{Failure, Level};

/// The longest error that is kept of a processor.
const MAX_ERROR_BYTES: usize = 4096;

/// The longest line that a processor of a stage may write: the output of a 64 GiB commit phase 1
/// has some 30 MiB, all others are small.
pub(crate) fn max_line_bytes(stage: &str) -> usize {
    if stage == C1::STAGE { 64 << 20 } else { 4 << 20 }
}

/// What a processor of a stage prints once it can take tasks.
pub(crate) fn ready_line(stage: &str) -> String {
    format!("{stage} processor ready")
}

/// A task for a processor.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request<T> {
    /// Chosen by the worker.
    pub id: u64,
    pub task: T,
}

/// What a processor prints for a task.
#[derive(Serialize, Deserialize)]
pub(crate) struct Response<O> {
    /// The id of the request that it answers.
    pub id: u64,
    /// What went wrong; nothing if the task is done.
    #[serde(default)]
    pub err_msg: Option<String>,
    /// What the task yielded; absent if it failed.
    #[serde(default)]
    pub output: Option<O>,
    /// How bad it is, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl<O> Response<O> {
    /// An answer to that request.
    pub(crate) fn new(id: u64, result: Result<O, Failure>) -> Self {
        match result {
            Ok(output) => Response { id, err_msg: None, output: Some(output), level: None },
            Err(failure) => Response {
                id,
                err_msg: Some(failure.message),
                output: None,
                level: Some(failure.level.name().to_owned()),
            },
        }
    }
}

impl Response<Box<RawValue>> {
    /// What a processor of that stage has answered.
    pub(crate) fn into_result(self, stage: &str) -> Result<Box<RawValue>, Failure> {
        let level = |level: Level| self.level.as_deref() == Some(level.name());
        match (self.err_msg, self.output) {
            (Some(message), _) => {
                let message = cut_text(&message, MAX_ERROR_BYTES);
                Err(match () {
                    () if level(Level::Temporary) => Failure::temporary(message),
                    () if level(Level::Permanent) => Failure::permanent(message),
                    () => Failure::told(message),
                })
            }
            (None, Some(output)) => Ok(output),
            (None, None) => Err(Failure::temporary(format!(
                "processor {stage} answered with neither output nor error"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Response<Box<RawValue>> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_lines_are_those_of_damocles() {
        assert_eq!(ready_line("c2"), "c2 processor ready");
        let request =
            serde_json::to_string(&Request { id: 7, task: &serde_json::json!({"sector_id": 2}) })
                .unwrap();
        assert_eq!(request, r#"{"id":7,"task":{"sector_id":2}}"#);
        let answered =
            serde_json::to_string(&Response::new(7, Ok(serde_json::json!({"proof": [1]}))))
                .unwrap();
        assert_eq!(answered, r#"{"id":7,"err_msg":null,"output":{"proof":[1]}}"#);
        assert_eq!(response(&answered).into_result("c2").unwrap().get(), r#"{"proof":[1]}"#);
    }

    #[test]
    fn a_failure_keeps_its_level_and_without_one_its_words_tell() {
        let level = |text: &str| response(text).into_result("c2").unwrap_err().level;
        assert_eq!(level(r#"{"id":7,"err_msg":"no GPU"}"#), Level::Permanent);
        assert_eq!(
            level(r#"{"id":7,"err_msg":"x: No space left on device (os error 28)"}"#),
            Level::Temporary
        );
        assert_eq!(level(r#"{"id":7}"#), Level::Temporary);
        for failure in [Failure::temporary("no piece"), Failure::permanent("no piece")] {
            let line =
                serde_json::to_string(&Response::<()>::new(7, Err(failure.clone()))).unwrap();
            assert_eq!(response(&line).into_result("c2").unwrap_err(), failure);
        }
    }
}
