//! What was recorded from a damocles sector manager 0.13.1, and from a worker that speaks to it, goes
//! through our types both ways.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper says what went wrong by failing the test"
)]

use std::{fs, path::Path};

use damocles_wire::sector_manager::{self as venus, Method};
use serde_json::Value;

struct Exchange {
    name: String,
    params: Option<Value>,
    result: Option<Value>,
}

fn recorded(method: &str) -> Vec<Exchange> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/damocles/manager");
    let text = fs::read_to_string(directory.join(format!("{method}.jsonl"))).unwrap();
    let exchange = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        Exchange {
            name: line["name"].as_str().unwrap().to_owned(),
            // What was sent by hand to see what becomes of it is refused, or has an odd shape.
            params: line["request"]
                .get("params")
                .filter(|params| params.is_array() && line["response"]["error"].is_null())
                .cloned(),
            result: line["response"].get("result").cloned(),
        }
    };
    text.lines().map(exchange).collect()
}

// Whether everything that we write stands in what was recorded; what is absent there is null here.
fn covers(recorded: &Value, ours: &Value) -> bool {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => ours.iter().all(|(key, ours)| {
            recorded.get(key).map_or(ours.is_null(), |recorded| covers(recorded, ours))
        }),
        (Value::Array(recorded), Value::Array(ours)) => {
            recorded.len() == ours.len()
                && recorded.iter().zip(ours).all(|(recorded, ours)| covers(recorded, ours))
        }
        _ => recorded == ours,
    }
}

fn check<M: Method>() {
    let mut results = 0;
    for Exchange { name, params, result } in recorded(M::NAME) {
        let odd = ["ok-no-keys", "ok-other-case-and-unknown-key", "old-worker"];
        if let Some(params) = params.filter(|_| !odd.contains(&name.as_str())) {
            let ours: M::Params = serde_json::from_value(params.clone())
                .unwrap_or_else(|error| panic!("{}, {name}: {error} in {params}", M::NAME));
            let ours = serde_json::to_value(ours).unwrap();
            assert!(
                covers(&params, &ours) && covers(&ours, &params),
                "{}, {name}: {params} became {ours}",
                M::NAME
            );
        }
        if let Some(result) = result {
            let ours: M::Result = serde_json::from_value(result.clone())
                .unwrap_or_else(|error| panic!("{}, {name}: {error} in {result}", M::NAME));
            let ours = serde_json::to_value(ours).unwrap();
            assert!(covers(&result, &ours), "{}, {name}: {result} became {ours}", M::NAME);
            results += 1;
        }
    }
    assert!(results > 0, "{} has no result", M::NAME);
}

#[test]
fn every_recorded_exchange_goes_through_our_types_both_ways() {
    check::<venus::Version>();
    check::<venus::AllocateSector>();
    check::<venus::AcquireDeals>();
    check::<venus::AssignTicket>();
    check::<venus::SubmitPreCommit>();
    check::<venus::PollPreCommitState>();
    check::<venus::SubmitPersistedEx>();
    check::<venus::WaitSeed>();
    check::<venus::SubmitProof>();
    check::<venus::PollProofState>();
    check::<venus::ReportState>();
    check::<venus::ReportFinalized>();
    check::<venus::ReportAborted>();
    check::<venus::AllocateSanpUpSector>();
    check::<venus::AllocateRebuildSector>();
    check::<venus::AllocateUnsealSector>();
    check::<venus::AcquireUnsealDest>();
    check::<venus::AchieveUnsealSector>();
    check::<venus::WdPoStAllocateJobs>();
    check::<venus::WdPoStHeartbeatJobs>();
    check::<venus::WdPoStFinishJob>();
    check::<venus::WdPoStAllJobs>();
    check::<venus::WdPoStResetJob>();
    check::<venus::WdPoStRemoveJob>();
    check::<venus::StoreReserveSpace>();
    check::<venus::StoreBasicInfo>();
    check::<venus::ListSectors>();
    check::<venus::FindSector>();
    check::<venus::SectorSetForRebuild>();
    check::<venus::RestoreSector>();
    check::<venus::WorkerPing>();
}
