//! The damocles line protocol between a worker and an external processor.
//!
//! ```text
//!  processor: c2 processor ready
//!  worker:    {"id":0,"task":{…}}
//!  processor: {"id":0,"err_msg":null,"output":{…}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest line that a processor may write: the output of a 64 GiB commit phase 1 has some 30 MiB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// What a processor of a stage prints once it can take tasks.
pub fn ready_line(stage: &str) -> String {
    format!("{stage} processor ready")
}

/// A task for a processor.
#[derive(Serialize)]
pub struct Request<'a, T> {
    /// Chosen by the worker.
    pub id: u64,
    /// The stage's task.
    pub task: &'a T,
}

/// A processor's answer.
#[derive(Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// What went wrong.
    #[serde(default)]
    pub err_msg: Option<String>,
    /// The stage's output.
    #[serde(default)]
    pub output: Option<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_damocles() {
        assert_eq!(ready_line("c2"), "c2 processor ready");
        let request = serde_json::to_string(&Request { id: 7, task: &serde_json::json!({"sector_id": 2}) }).unwrap();
        assert_eq!(request, r#"{"id":7,"task":{"sector_id":2}}"#);
        let response: Response = serde_json::from_str(r#"{"id":7,"err_msg":null,"output":{"proof":[1]}}"#).unwrap();
        assert_eq!((response.id, response.err_msg, response.output.unwrap().get()), (7, None, r#"{"proof":[1]}"#));
        assert_eq!(serde_json::from_str::<Response>(r#"{"id":7,"err_msg":"no GPU"}"#).unwrap().err_msg.unwrap(), "no GPU");
    }
}
