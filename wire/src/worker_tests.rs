use std::{fs, path::Path};

use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Exchange {
    name: String,
    // What was no call has none.
    method: Option<String>,
    request: Value,
    response: Value,
}

// What was recorded from damocles-worker 0.13.1.
fn recorded() -> Vec<Exchange> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/damocles/worker");
    let mut all = vec![];
    for file in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        all.extend(text.lines().map(|line| serde_json::from_str::<Exchange>(line).unwrap()));
    }
    assert_eq!(all.len(), 160);
    all
}

fn info(value: Value) -> WorkerInfo {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_recorded_list_is_read_and_written_as_it_was() {
    let mut threads = 0;
    for Exchange { name, method, response, .. } in recorded() {
        let Some(result) =
            response.get("result").filter(|_| method.as_deref() == Some("VenusWorker.WorkerList"))
        else {
            continue;
        };
        let list: Vec<WorkerInfo> = serde_json::from_value(result.clone()).unwrap();
        assert!(
            list.iter().all(|thread| !matches!(
                thread.thread_state,
                ThreadState::Other | ThreadState::NotPaused
            )),
            "{name}: {list:?}"
        );
        assert_eq!(serde_json::to_value(&list).unwrap(), *result, "{name}");
        threads += list.len();
    }
    assert!(threads > 100, "{threads}");
}

#[test]
fn what_was_asked_is_what_we_ask() {
    let mut same = 0;
    for Exchange { name, method, request, response } in recorded() {
        let params = &request["params"];
        let Some(position) = params[0].as_u64().map(|position| position as usize) else { continue };
        let taken = response.get("result").is_some_and(Value::is_boolean);
        let ours = match method.as_deref().unwrap_or_default() {
            "VenusWorker.WorkerPause" if taken => {
                serde_json::to_value(pause_params(position)).unwrap()
            }
            // One parameter is taken too; we always send both.
            "VenusWorker.WorkerResume" if taken && params[1] != Value::Null => {
                serde_json::to_value(resume_params(position, params[1].as_str())).unwrap()
            }
            "VenusWorker.WorkerResume" if taken => {
                let ours = serde_json::to_value(resume_params(position, None)).unwrap();
                assert_eq!(ours, json!([position, null]));
                continue;
            }
            _ => continue,
        };
        assert_eq!(ours, *params, "{name}");
        same += 1;
    }
    assert!(same > 30, "{same}");
}

#[test]
fn every_recorded_answer_is_a_bool_a_text_or_an_error_with_its_code() {
    for Exchange { name, method, response, .. } in recorded() {
        let (result, error) = (response.get("result"), response.get("error"));
        let read = match method.as_deref().unwrap_or_default() {
            "VenusWorker.WorkerPause" | "VenusWorker.WorkerResume" => {
                result.is_none_or(Value::is_boolean)
            }
            "VenusWorker.WorkerVersion" => result.is_none_or(Value::is_string),
            _ => true,
        };
        let numbered = error.is_none_or(|error| error["code"].as_i64().is_some());
        assert!(read && numbered, "{name}: {response}");
    }
}

#[test]
fn the_keys_that_are_there_decide_which_release_it_is() {
    let expected = |plan: Option<&str>, thread_state| WorkerInfo {
        location: "/s1".into(),
        plan: plan.map(ToOwned::to_owned),
        job_id: Some("s-t010000-2".into()),
        index: 0,
        thread_state,
        job_state: "C1Done".into(),
        job_stage: None,
        last_error: Some("permanent: x".into()),
    };
    let paused = ThreadState::Paused { elapsed: 17 };
    let v0_1_1 = json!({
        "location": "/s1", "sector_id": "s-t010000-2", "index": 0, "paused": true,
        "paused_elapsed": "17s", "state": "C1Done", "last_error": "permanent: x",
    });
    assert_eq!(info(v0_1_1), expected(None, ThreadState::Paused { elapsed: 0 }));
    let v0_2 = json!({
        "location": "/s1", "sector_id": {"Miner": 10000, "Number": 2}, "index": 0, "paused": true,
        "paused_elapsed": 17, "state": "C1Done", "last_error": "permanent: x",
    });
    assert_eq!(info(v0_2.clone()), expected(None, paused.clone()));
    let mut v0_5 = v0_2;
    v0_5["plan"] = json!("sealer");
    v0_5["paused"] = json!(false);
    v0_5["paused_elapsed"] = json!(null);
    assert_eq!(info(v0_5), expected(Some("sealer"), ThreadState::NotPaused));
    let v0_8 = json!({
        "location": "/s1", "plan": "sealer", "job_id": "s-t010000-2", "index": 0, "paused": true,
        "paused_elapsed": 17, "state": "C1Done", "last_error": "permanent: x",
    });
    assert_eq!(info(v0_8), expected(Some("sealer"), paused));
    let v0_1_0 = info(json!({"location": "/s1", "index": 3, "paused": false, "state": "PC1Done"}));
    assert_eq!((v0_1_0.index, v0_1_0.thread_state), (3, ThreadState::NotPaused));
}

#[test]
fn what_is_not_understood_does_not_hide_the_rest() {
    let strange = info(json!({
        "location": 7, "plan": {}, "index": "x", "job_id": {"Miner": "x"}, "last_error": [],
        "thread_state": {"state": "Dreaming", "of": "sheep"}, "job_state": "C1Done", "new": 1,
    }));
    assert_eq!((strange.location.as_str(), strange.job_state.as_str()), ("-", "C1Done"));
    assert_eq!((strange.plan, strange.job_id, strange.last_error), (None, None, None));
    assert_eq!(strange.thread_state, ThreadState::Other);
    let no_sum = info(json!({"thread_state": "Idle"}));
    assert_eq!(no_sum.thread_state, ThreadState::Other);
}

#[test]
fn texts_are_bounded() {
    let long = "x".repeat(1 << 20);
    let read = info(json!({
        "location": long, "plan": long, "index": 0, "job_id": long, "job_state": long,
        "thread_state": {"state": "Running", "elapsed": 1, "proc": long}, "last_error": long,
    }));
    assert!(serde_json::to_string(&read).unwrap().len() < 12_000);
}
