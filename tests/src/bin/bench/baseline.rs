//! What the figures are compared with: the same machine in the same minutes, without our part in
//! it.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use damocles_worker::processor::{
    builtin,
    task::{AddPieces, C1, C2, Pc1, Pc2, Piece, PieceFile, Replica, TreeD, prover_id},
};
use e2e::testbed::Testbed;
use futures::StreamExt;
use tokio::time::Instant;

use crate::figure::Samples;

const MINER: u64 = 10000;
const PROOF: &str = "StackedDrg2KiBV1_1";

/// The proofs library alone, with nothing around it.
pub(crate) struct Proofs {
    /// Everything up to C1Done, and C2's failure.
    pub whole: Samples,
    /// How long C2 takes to fail.
    pub c2: Samples,
}

/// One request and its answer between two plain clients.
pub(crate) async fn round_trip() -> Samples {
    let bed = Testbed::start().await;
    let responder = async_nats::connect(bed.nats.url()).await.unwrap();
    let mut requests = responder.subscribe("echo").await.unwrap();
    responder.flush().await.unwrap();
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            responder.publish(request.reply.unwrap(), request.payload).await.unwrap();
        }
    });
    bed.bus.served("echo").await;
    let samples = Samples::of(2000, async || {
        let asked = Instant::now();
        bed.bus.raw("echo", "{}").await;
        asked.elapsed()
    });
    let samples = samples.await;
    answering.abort();
    samples
}

/// One message into a stream, acknowledged.
pub(crate) async fn stored_message(bed: &Testbed) -> Samples {
    let jetstream = async_nats::jetstream::new(bed.bus.client.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "BASELINE".into(),
        subjects: vec!["baseline".into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    Samples::of(500, async || {
        let sent = Instant::now();
        jetstream.publish("baseline", vec![b'x'; 400].into()).await.unwrap().await.unwrap();
        sent.elapsed()
    })
    .await
}

/// A process that does next to nothing.
pub(crate) async fn process(program: &Path, args: &[&str]) -> Duration {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    assert!(command.status().unwrap().success());
    started.elapsed()
}

/// A command-line tool that talks to the bed's NATS server.
pub(crate) async fn tool(bed: &Testbed, program: &Path, args: &[&str]) -> Duration {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("NATS_URL", bed.nats.url())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    assert!(command.status().unwrap().success());
    started.elapsed()
}

/// The proofs of a few sectors.
pub(crate) fn proofs() -> Proofs {
    let (mut whole, mut c2) = (Vec::new(), Vec::new());
    for number in 0..7 {
        let (all, last) = one_sector(number);
        // The first one fills the library's caches.
        if number > 0 {
            whole.push(all);
            c2.push(last);
        }
    }
    Proofs { whole: Samples::from(whole), c2: Samples::from(c2) }
}

fn one_sector(number: u64) -> (Duration, Duration) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (cache, tree) = (path("cache"), path("tree-d"));
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::create_dir_all(&tree).unwrap();
    let proof = || PROOF.to_owned();
    let started = Instant::now();
    let piece = Piece { piece_file: PieceFile::Pledge, payload_size: 0, piece_size: 2032 };
    let pieces = builtin::add_pieces(AddPieces {
        seal_proof_type: proof(),
        pieces: vec![piece],
        staged_filepath: path("unsealed"),
        piece_token: None,
    })
    .unwrap();
    builtin::tree_d(TreeD {
        registered_proof: proof(),
        staged_file: path("unsealed"),
        cache_dir: tree,
    })
    .unwrap();
    let pc1 = Pc1 {
        registered_proof: proof(),
        cache_path: cache.clone(),
        in_path: path("unsealed"),
        out_path: path("sealed"),
        prover_id: prover_id(MINER),
        sector_id: number,
        ticket: [1; 32],
        piece_infos: pieces.clone(),
    };
    let pc1out = builtin::pc1(pc1).unwrap();
    let pre_commit =
        builtin::pc2(Pc2 { pc1out, cache_dir: cache.clone(), sealed_file: path("sealed") })
            .unwrap();
    let replica = Replica {
        cache_path: cache,
        replica_path: path("sealed"),
        prover_id: prover_id(MINER),
        sector_id: number,
        ticket: [1; 32],
        pre_commit,
        piece_infos: pieces,
    };
    let c1out = builtin::c1(C1 { replica, seed: [1; 32] }).unwrap();
    let c2_started = Instant::now();
    builtin::c2(C2 { c1out, prover_id: prover_id(MINER), sector_id: number, miner_id: MINER })
        .unwrap_err();
    (started.elapsed(), c2_started.elapsed())
}
