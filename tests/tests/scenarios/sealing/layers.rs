//! A PC1 that was cut off goes on behind its whole layers, to the same replica.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use e2e::{
    fake_sector_manager::{FakeSectorManager, result},
    parameters::PATIENCE,
    state_watch::{StateWatch, is_stuck},
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    sector_manager::{Commitment, SubmitPreCommit},
    snapshot::{ThreadSnapshot, ThreadStatus},
};

const TWO_KIB: u64 = 5;
const EIGHT_MIB: u64 = 6;
const SECTOR: &str = "s-t010000-1";

// Offers one sector for ever, with the same ticket until told otherwise; on its chain all goes
// well.
async fn sector_manager(bed: &Testbed, proof_type: u64) -> (FakeSectorManager, Arc<AtomicBool>) {
    let other_ticket = Arc::new(AtomicBool::new(false));
    let other = other_ticket.clone();
    let randomness = |text: &str| Value::from(text.repeat(43) + "=");
    let manager = bed.fake_sector_manager(move |method, body| {
        result(match method {
            "allocate_sector" => json!({"id": {"miner": 10000, "number": 1}, "proof_type": proof_type}),
            "assign_ticket" => json!({"ticket": randomness(if other.load(Ordering::SeqCst) { "E" } else { "A" }), "epoch": 1}),
            "wait_seed" => json!({"should_wait": false, "delay": 0, "seed": {"seed": randomness("A"), "epoch": 151}}),
            "submit_pre_commit" => json!({"res": "accepted"}),
            "poll_pre_commit_state" => json!({"state": "landed"}),
            "submit_persisted" => json!(true),
            "store_reserve_space" => json!({"name": body["candidates"][0], "path": ""}),
            "report_state" => json!({"id": body["sector"]}),
            _ => Value::Null,
        })
    });
    (manager.await, other_ticket)
}

// A worker that seals the sector up to C2, for which it lacks the parameters.
fn prepared(bed: &Testbed, name: &str, proof_type: u64) -> Worker {
    let size = if proof_type == TWO_KIB { "['2KiB']" } else { "['8MiB']" };
    bed.prepare_worker(name, &WorkerConfig::new(name).sealing("allowed_sizes", size))
}

fn layer(worker: &Worker, number: u32) -> PathBuf {
    worker.location(0).join(format!("data/cache/{SECTOR}/sc-02-data-layer-{number}.dat"))
}

fn note(worker: &Worker) -> PathBuf {
    worker.location(0).join("data/layers").join(SECTOR)
}

// A layer that was made again has another time.
fn made_at(worker: &Worker, number: u32) -> Option<SystemTime> {
    fs::metadata(layer(worker, number)).and_then(|file| file.modified()).ok()
}

// Waits for the sector to be persisted, and returns its commR and replica.
async fn sealed(bed: &mut Testbed, name: &str, worker: &Worker) -> (Commitment, Vec<u8>) {
    let comm_r = bed.requests.until("", |_: &SubmitPreCommit| true).await.info.comm_r;
    bed.states.until_thread(name, 0, "at C1Done", is_stuck).await;
    (comm_r, fs::read(worker.attached().join("sealed").join(SECTOR)).unwrap())
}

async fn undisturbed(bed: &mut Testbed, proof_type: u64) -> (Commitment, Vec<u8>) {
    let mut worker = prepared(bed, "undisturbed", proof_type);
    worker.start();
    let replica = sealed(bed, "undisturbed", &worker).await;
    assert!(worker.terminate().await.success());
    replica
}

fn is_in_layer(progress: &str) -> impl Fn(&ThreadSnapshot) -> bool {
    move |thread| matches!(&thread.status, ThreadStatus::Running { progress: Some(shown), .. } if shown == progress)
}

#[tokio::test]
async fn killed_in_each_layer_it_goes_on_behind_the_last_one_and_is_no_crash_loop() {
    let mut bed = Testbed::start().await;
    // Seconds for each layer on a machine at rest.
    bed.wait_up_to(PATIENCE);
    let (_manager, _) = sector_manager(&bed, EIGHT_MIB).await;
    let expected = undisturbed(&mut bed, EIGHT_MIB).await;

    let mut worker = prepared(&bed, "w1", EIGHT_MIB);
    for _ in 0..2 {
        worker.start();
        bed.states.until_thread("w1", 0, "in the first layer", is_in_layer("layer 1 of 2")).await;
        worker.kill9().await;
        assert!(!layer(&worker, 1).exists());
        bed.states = StateWatch::start(&bed.bus).await;
        bed.wait_up_to(PATIENCE);
    }
    worker.start();
    bed.states.until_thread("w1", 0, "in the second layer", is_in_layer("layer 2 of 2")).await;
    let wide = bed.util_worker(&["info", "w1", "-o", "wide"]).await.expect(0);
    worker.kill9().await;
    assert!(wide.stdout.contains(", layer 2 of 2"), "{}", wide.stdout);
    let first = made_at(&worker, 1).unwrap();

    // The third death would have paused it, had it got no further.
    worker.start_to_die_at("before-commit:PC1Done");
    worker.died_at_failpoint().await;
    assert_eq!(made_at(&worker, 1), Some(first));
    let second = made_at(&worker, 2).unwrap();

    bed.states = StateWatch::start(&bed.bus).await;
    bed.wait_up_to(PATIENCE);
    worker.start();
    assert!(sealed(&mut bed, "w1", &worker).await == expected, "another replica came out");
    assert_eq!((made_at(&worker, 1), made_at(&worker, 2)), (Some(first), Some(second)));
}

// What happens to the files between two runs.
type Spoil<'a> = Box<dyn Fn(&Worker) + 'a>;

#[tokio::test]
async fn what_is_doubtful_is_made_again_and_nothing_else() {
    let mut bed = Testbed::start().await;
    let (_manager, _) = sector_manager(&bed, TWO_KIB).await;
    let expected = undisturbed(&mut bed, TWO_KIB).await;

    let edit = |worker: &Worker, change: &dyn Fn(&mut Value)| {
        let mut read = serde_json::from_slice(&fs::read(note(worker)).unwrap()).unwrap();
        change(&mut read);
        fs::write(note(worker), read.to_string()).unwrap();
    };
    let after_a_reboot = |worker: &Worker, synced: u64| {
        edit(worker, &|note| {
            (note["boot"], note["synced"]) = ("an earlier boot".into(), synced.into())
        });
    };
    let spoil: [(&str, Spoil<'_>, usize); 9] = [
        ("nothing", Box::new(|_| {}), 2),
        ("it was in layer 2", Box::new(|worker| fs::remove_file(layer(worker, 2)).unwrap()), 1),
        (
            "it was writing layer 2",
            Box::new(|worker| {
                fs::rename(layer(worker, 2), layer(worker, 2).with_extension(".tmp")).unwrap()
            }),
            1,
        ),
        (
            "a truncated layer",
            Box::new(|worker| {
                fs::File::options()
                    .write(true)
                    .open(layer(worker, 1))
                    .unwrap()
                    .set_len(2047)
                    .unwrap()
            }),
            0,
        ),
        ("no note", Box::new(|worker| fs::remove_file(note(worker)).unwrap()), 0),
        ("an unreadable note", Box::new(|worker| fs::write(note(worker), "{").unwrap()), 0),
        (
            "other data",
            Box::new(|worker| edit(worker, &|note| note["made_from"]["comm_d"][0] = 255.into())),
            0,
        ),
        ("a reboot", Box::new(|worker| after_a_reboot(worker, 2)), 2),
        ("a reboot before layer 2 was synced", Box::new(|worker| after_a_reboot(worker, 1)), 1),
    ];
    for (index, (what, spoil, stay)) in spoil.into_iter().enumerate() {
        let name = format!("w{index}");
        let mut worker = prepared(&bed, &name, TWO_KIB);
        worker.start_to_die_at("before-commit:PC1Done");
        worker.died_at_failpoint().await;
        let before = [1, 2].map(|number| made_at(&worker, number).unwrap());
        spoil(&worker);
        worker.start();
        assert!(
            sealed(&mut bed, &name, &worker).await == expected,
            "{what}: another replica came out"
        );
        let kept = before
            .iter()
            .zip(1..)
            .take_while(|(before, number)| made_at(&worker, *number) == Some(**before))
            .count();
        assert_eq!(kept, stay, "{what}");
        worker.kill9().await;
    }
}

#[tokio::test]
async fn another_ticket_means_other_layers() {
    let mut bed = Testbed::start().await;
    let (_manager, other_ticket) = sector_manager(&bed, TWO_KIB).await;
    let mut worker = prepared(&bed, "w1", TWO_KIB);
    worker.start();
    let (old, _) = sealed(&mut bed, "w1", &worker).await;
    let before = made_at(&worker, 1);
    other_ticket.store(true, Ordering::SeqCst);
    bed.bus.resume("w1", 0, Some("TreeDBuilt")).await.unwrap();
    let new = bed.requests.until("of the new ticket", |_: &SubmitPreCommit| true).await.info.comm_r;
    assert_ne!(new, old);
    assert_ne!(made_at(&worker, 1), before);
    assert!(worker.terminate().await.success());
}
