//! A piece's download that is cut off goes on where it was, and never with another file.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::fs;

use damocles_worker::processor::{builtin, task::PieceCommitment};
use e2e::{
    fake_sector_manager::{FakeSectorManager, result},
    played_worker::bytes,
    proxy::Proxy,
    testbed::Testbed,
    worker::WorkerConfig,
};
use serde_json::json;
use shared_msgs::sector_manager::piece_cid;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

const DATA: usize = 2000;
const CUT: usize = 1200;
// More than an answer has beside the bytes of its piece.
const HEAD: usize = 400;

fn config() -> WorkerConfig {
    WorkerConfig::new("w1").sealing("enable_deals", "true")
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_where_it_was() {
    let mut bed = Testbed::start().await;
    let pieces = bed.scratch.directory("pieces");
    fs::write(pieces.join("client-data"), bytes(DATA)).unwrap();
    let proxy = Proxy::before().await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let options = ["--pieces", pieces.to_str().unwrap(), "--http-url", &url];
    let mut manager = bed.mock_manager_with(&options).await;
    let line = manager.process().log().line_with(&["address=127.0.0.1:"]).await;
    let port = line.split("address=127.0.0.1:").nth(1).unwrap().split_whitespace().next();
    proxy.lead_to(port.unwrap().parse().unwrap());
    proxy.cut_after(CUT);
    // That the piece is the one of the deal is checked by the worker; a stage is not tried again.
    let mut worker = bed.worker(&config().sealing("max_retries", "0"));
    bed.states.until_stuck("w1").await;
    worker.log().line_with(&["a download was cut off", &format!("of={DATA}")]).await;
    manager.process().log().line_with(&["served", &format!("-{}/{DATA}", DATA - 1)]).await;
    let answered = proxy.answered();
    assert!((DATA..DATA + 2 * HEAD).contains(&answered), "{answered} bytes");
}

#[tokio::test]
async fn a_piece_that_changes_while_its_download_is_cut_off_is_fetched_anew() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let data = bytes(1016);
    let file = bed.scratch.path().join("data");
    fs::write(&file, &data).unwrap();
    let commitment = builtin::piece_commitment(PieceCommitment {
        registered_proof: "StackedDrg2KiBV1_1".into(),
        piece_file: file.clone(),
        piece_size: 1016,
    })
    .unwrap();
    let mut whole = b"HTTP/1.1 200 OK\r\nETag: \"new\"\r\nContent-Length: 1016\r\n\r\n".to_vec();
    whole.extend(&data);
    let cut = b"HTTP/1.1 200 OK\r\nETag: \"old\"\r\nContent-Length: 1016\r\n\r\nold".to_vec();
    let (url, requests) = server(vec![cut, whole.clone(), whole]).await;
    let deal = json!({
        "piece": {"size": 1024, "piece_cid": piece_cid(&commitment)},
        "deal_info": {"deal_id": 1, "is_builtin_market": true, "payload_size": 1016},
        "url": url,
    });
    answers.say("acquire_deals", result(json!([deal])));
    let _worker = bed.worker(&config().sealing("max_retries", "1"));
    bed.states.until_stuck("w1").await;
    let requests = requests.await.unwrap();
    let goes_on = "range: bytes=3-|if-range: \"old\"";
    assert_eq!(requests, ["", goes_on, ""]);
}

// Answers request after request, each on a connection of its own. Returns what ranges they asked
// for.
async fn server(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/piece", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut requests = vec![];
        for answer in answers {
            let (mut client, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = client.split();
            let (mut lines, mut ranges) = (BufReader::new(reader).lines(), vec![]);
            while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty())
            {
                ranges.extend(line.to_lowercase().contains("range:").then(|| line.to_lowercase()));
            }
            writer.write_all(&answer).await.unwrap();
            requests.push(ranges.join("|"));
        }
        requests
    });
    (url, serving)
}
