//! `util decode`: one payload as JSON.

use std::io::Read;

use clap::Args;
use damocles_terminal::{CliError, Exit, json, jsonl, print};
use serde_json::Value;
use shared_msgs::codec::decode;

// No NATS server carries more in one message.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Args, Debug)]
pub struct DecodeArgs {
    /// Indent it over several lines
    #[arg(long)]
    pub pretty: bool,
}

pub(crate) fn run(args: &DecodeArgs) -> Result<(), CliError> {
    let mut payload = Vec::new();
    std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut payload)?;
    print(&decoded(&payload, args.pretty)?)
}

fn decoded(payload: &[u8], pretty: bool) -> Result<String, CliError> {
    if payload.len() as u64 > MAX_BYTES {
        return Err(CliError::new(Exit::Failed, "more than 64 MiB are no payload of NATS"));
    }
    let value: Value = decode(payload).map_err(|error| CliError::new(Exit::Failed, error))?;
    if pretty { json(&value) } else { jsonl(&[value]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_become_json_in_the_order_in_which_they_were_sent() {
        assert_eq!(decoded(b"{\"seq\": 7, \"a\": [1]}", false).unwrap(), "{\"seq\":7,\"a\":[1]}\n");
        assert_eq!(
            decoded(b"\x82\xA3seq\x07\xA1a\x91\x01", false).unwrap(),
            "{\"seq\":7,\"a\":[1]}\n"
        );
        assert_eq!(decoded(b"\x81\xA3seq\x07", true).unwrap(), "{\n  \"seq\": 7\n}\n");
        assert_eq!(decoded(b"", false).unwrap(), "{}\n");
    }

    #[test]
    fn garbage_is_an_error() {
        for garbage in [b"garbage".as_slice(), b"{", b"\x81", b"\x80\x80", b"[1]", &[0xFF; 9]] {
            assert_eq!(decoded(garbage, false).unwrap_err().exit, Exit::Failed, "{garbage:?}");
        }
    }
}
