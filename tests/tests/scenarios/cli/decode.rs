//! `util decode` shows one payload from stdin as JSON.

use e2e::{binaries, cli::CliOutput, testbed::Testbed, worker::WorkerConfig};
use serde_json::json;
use shared_msgs::codec::Encoding;

async fn decode(bed: &Testbed, args: &[&str], payload: &[u8]) -> CliOutput {
    let args: Vec<&str> = ["util", "decode"].into_iter().chain(args.iter().copied()).collect();
    e2e::cli::run(binaries::manager(), &args, &bed.nats.url(), payload).await
}

#[tokio::test]
async fn both_encodings_are_printed_as_json() {
    let bed = Testbed::start().await;
    let message = json!({"name": "矿机 1", "threads": [{"index": 0}]});
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let payload = encoding.encode(&message).unwrap();
        let line = decode(&bed, &[], &payload).await.expect(0);
        assert_eq!((line.json(), line.stdout.lines().count()), (message.clone(), 1));
        let pretty = decode(&bed, &["--pretty"], &payload).await.expect(0);
        assert_eq!(pretty.json(), message);
        assert!(pretty.stdout.lines().count() > 1);
    }
}

#[tokio::test]
async fn garbage_is_exit_1_with_nothing_on_stdout() {
    let bed = Testbed::start().await;
    for garbage in [&b"[1]"[..], b"{", b"\xFF\x00", b"\x81", b"\x80\x00"] {
        let output = decode(&bed, &[], garbage).await.expect(1);
        assert_eq!(output.stdout, "");
        assert!(!output.stderr.is_empty() && !output.stderr.contains("panicked"));
    }
}

#[tokio::test]
async fn a_published_snapshot_is_readable() {
    let mut bed = Testbed::start().await;
    let mut states =
        futures::StreamExt::fuse(bed.bus.client.subscribe("damocles.v1.state.*").await.unwrap());
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    let message = futures::StreamExt::next(&mut states).await.unwrap();
    assert_eq!(Encoding::of(&message.payload).unwrap(), Encoding::Msgpack);
    assert_eq!(decode(&bed, &[], &message.payload).await.expect(0).json()["name"], "w1");
}
