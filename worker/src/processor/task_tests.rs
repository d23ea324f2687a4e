use std::fs;

use serde_json::json;

use super::*;

#[test]
fn a_miner_is_proven_for_under_its_id_address() {
    let mut expected = [0; 32];
    expected[..2].copy_from_slice(&[0x90, 0x4E]);
    assert_eq!(prover_id(10000), expected);
    assert_eq!(prover_id(0), [0; 32]);
    assert_eq!(
        prover_id(u64::MAX)[..11],
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0]
    );
}

#[test]
fn a_c2_task_has_the_field_names_of_vc_processors() {
    let c1out = RawValue::from_string(r#"{"comm_r":1}"#.into()).unwrap();
    let task = C2 { c1out, prover_id: [0; 32], sector_id: 2, miner_id: 10000 };
    let json = serde_json::to_value(&task).unwrap();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort();
    assert_eq!(keys, ["c1out", "miner_id", "prover_id", "sector_id"]);
    assert_eq!(json["c1out"]["comm_r"], 1);
}

fn bytes(value: u8) -> Vec<u8> {
    vec![value; 32]
}

fn written(task: impl Serialize) -> serde_json::Value {
    serde_json::to_value(task).unwrap()
}

#[test]
fn pieces_are_written_as_vc_processors_reads_them() {
    let piece = |piece_file| Piece { piece_file, payload_size: 1, piece_size: 127 };
    let pieces =
        [PieceFile::Url("http://x".into()), PieceFile::Local("/p".into()), PieceFile::Pledge]
            .map(piece)
            .map(written)
            .to_vec();
    let expected = json!([
        {"piece_file": {"url": "http://x"}, "payload_size": 1, "piece_size": 127},
        {"piece_file": {"local": "/p"}, "payload_size": 1, "piece_size": 127},
        {"piece_file": "pledge", "payload_size": 1, "piece_size": 127},
    ]);
    assert_eq!(serde_json::Value::from(pieces), expected);
}

#[test]
fn upgrades_unsealing_and_window_post_have_the_field_names_of_vc_processors() {
    let encode = SnapEncode {
        registered_proof: "StackedDrg2KiBV1".into(),
        new_replica_path: "/n".into(),
        new_cache_path: "/nc".into(),
        sector_path: "/o".into(),
        sector_cache_path: "/oc".into(),
        staged_data_path: "/d".into(),
        piece_infos: vec![PieceInfo { commitment: [0; 32], size: 127 }],
    };
    let expected = json!({
        "registered_proof": "StackedDrg2KiBV1", "new_replica_path": "/n", "new_cache_path": "/nc", "sector_path": "/o",
        "sector_cache_path": "/oc", "staged_data_path": "/d", "piece_infos": [{"commitment": bytes(0), "size": 127}],
    });
    assert_eq!(written(encode), expected);
    let prove = SnapProve {
        registered_proof: "StackedDrg2KiBV1".into(),
        vannilla_proofs: vec![vec![1]],
        commitments: SnapCommitments {
            comm_r_old: [1; 32],
            comm_r_new: [2; 32],
            comm_d_new: [3; 32],
        },
    };
    let expected = json!({
        "registered_proof": "StackedDrg2KiBV1", "vannilla_proofs": [[1]], "comm_r_old": bytes(1), "comm_r_new": bytes(2),
        "comm_d_new": bytes(3),
    });
    assert_eq!(written(prove), expected);
    let unseal = Unseal {
        registered_proof: "StackedDrg2KiBV1_1".into(),
        prover_id: [0; 32],
        sector_id: 2,
        comm_d: [1; 32],
        ticket: [2; 32],
        cache_dir: "/c".into(),
        sealed_file: "/s".into(),
        unsealed_output: "/u".into(),
        offset: 0,
        num_bytes: 127,
    };
    let expected = json!({
        "registered_proof": "StackedDrg2KiBV1_1", "prover_id": bytes(0), "sector_id": 2, "comm_d": bytes(1), "ticket": bytes(2),
        "cache_dir": "/c", "sealed_file": "/s", "unsealed_output": "/u", "offset": 0, "num_bytes": 127,
    });
    assert_eq!(written(unseal), expected);
    let replicas = vec![PostReplica {
        sector_id: 2,
        comm_r: [1; 32],
        cache_dir: "/c".into(),
        sealed_file: "/s".into(),
    }];
    let post = WindowPost {
        miner_id: 10000,
        proof_type: "StackedDrgWindow2KiBV1_2".into(),
        replicas,
        seed: [4; 32],
    };
    let expected = json!({
        "miner_id": 10000, "proof_type": "StackedDrgWindow2KiBV1_2", "seed": bytes(4),
        "replicas": [{"sector_id": 2, "comm_r": bytes(1), "cache_dir": "/c", "sealed_file": "/s"}],
    });
    assert_eq!(written(post), expected);
}

#[test]
fn proofs_of_spacetime_are_answered_in_base64_as_in_every_release() {
    let proofs = vec![Base64Bytes(vec![1, 2, 3])];
    let window = WindowPostOutput { proofs: proofs.clone(), faults: vec![7] };
    assert_eq!(written(&window), json!({"proofs": ["AQID"], "faults": [7]}));
    assert_eq!(written(WinningPostOutput { proofs }), json!({"proofs": ["AQID"]}));
    let read: WindowPostOutput = serde_json::from_value(written(&window)).unwrap();
    assert_eq!(read, window);
}

#[test]
fn a_token_is_no_part_of_a_task() {
    let task = AddPieces {
        seal_proof_type: "x".into(),
        pieces: vec![],
        staged_filepath: "/s".into(),
        piece_token: Some("hunter2".into()),
    };
    assert!(!format!("{task:?}").contains("hunter2"));
    let expected = json!({"seal_proof_type": "x", "pieces": [], "staged_filepath": "/s"});
    assert_eq!(written(task), expected);
}

#[test]
fn a_transfer_has_the_field_names_of_vc_processors() {
    let end = |store_name: Option<&str>, uri: &str| TransferItem {
        store_name: store_name.map(Into::into),
        uri: uri.into(),
    };
    let opt = Some(TransferOption { is_dir: false, allow_link: true });
    let routes = vec![TransferRoute { src: end(None, "/a"), dest: end(Some("remote"), "/b"), opt }];
    let stores =
        [("remote".to_owned(), TransferStoreInfo { name: "remote".into(), meta: None })].into();
    let expected = json!({
        "stores": {"remote": {"name": "remote", "meta": null}},
        "routes": [{
            "src": {"store_name": null, "uri": "/a"}, "dest": {"store_name": "remote", "uri": "/b"},
            "opt": {"is_dir": false, "allow_link": true},
        }],
    });
    assert_eq!(written(Transfer { stores, routes }), expected);
}

#[test]
fn files_and_directories_arrive_whole_and_replace_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("from/inner")).unwrap();
    fs::write(path("from/a"), [1; 3000]).unwrap();
    fs::write(path("from/inner/b"), "b").unwrap();
    fs::write(path("single"), "old").unwrap();
    let item = |name: &str| TransferItem { store_name: None, uri: path(name) };
    let option = |is_dir| Some(TransferOption { is_dir, allow_link: false });
    let routes = vec![
        TransferRoute { src: item("from"), dest: item("to"), opt: option(true) },
        TransferRoute { src: item("from/a"), dest: item("single"), opt: None },
    ];
    let transfer = Transfer { stores: Default::default(), routes };
    assert!(transfer.run_builtin().unwrap());
    assert_eq!(fs::read(path("to/a")).unwrap(), [1; 3000]);
    assert_eq!(fs::read(path("to/inner/b")).unwrap(), b"b");
    assert_eq!(fs::read(path("single")).unwrap(), [1; 3000]);
    assert!(!path("single.partial").exists());
}
