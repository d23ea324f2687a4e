//! A configuration that cannot work is refused at start, with the way out; stores by hand.

use e2e::{testbed::Testbed, worker::WorkerConfig};

// Starts a daemon on a configuration that it has to refuse, and returns what it says.
async fn refused(bed: &Testbed, toml: &str) -> String {
    let mut worker = bed.prepare_worker("refused", &WorkerConfig::new("w2"));
    worker.write_config(&format!("{toml}\n[[attached]]\nlocation = './remote'\n"));
    worker.start();
    let status = worker.process().ended().await;
    let said = worker.log().to_end().await;
    assert!(matches!(status.code(), Some(1 | 2)) && !said.contains("panicked"), "{status}: {said}");
    said
}

#[tokio::test]
async fn a_location_that_is_configured_twice_is_refused_and_both_entries_are_named() {
    let bed = Testbed::start().await;
    let thrice = "[[sealing_thread]]\nlocation = './a'\n[[sealing_thread]]\nlocation = './b'\n[[sealing_thread]]\nlocation = 'x/../a'\n";
    bed.scratch.directory("refused/x");
    let said = refused(&bed, thrice).await;
    assert!(said.contains("#0") && said.contains("#2") && !said.contains("#1"), "{}", said);
}

#[tokio::test]
async fn a_directory_that_is_attached_twice_is_refused_and_both_entries_are_named() {
    let bed = Testbed::start().await;
    let thread = "[[sealing_thread]]\nlocation = './a'\n";
    bed.scratch.directory("refused/x");
    let said =
        refused(&bed, &format!("{thread}[[attached]]\nname = 'one'\nlocation = 'x/../remote'\n"))
            .await;
    assert!(
        said.contains("the attached stores x/../remote and ./remote are the same directory"),
        "{said}"
    );
    let said =
        refused(&bed, &format!("{thread}[[attached]]\nname = 'x'\nlocation = './b'\n[[attached]]\nname = 'x'\nlocation = './c'\n")).await;
    assert!(said.contains("attached #0 and #1 have the same name \"x\""), "{said}");
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let bed = Testbed::start().await;
    let said = refused(&bed, "[sealing]\nseal_intervall = '1s'\n").await;
    assert!(
        said.contains("`sealing.seal_intervall`") && said.contains("`sealing.seal_interval`"),
        "{}",
        said
    );
}

#[tokio::test]
async fn a_location_that_another_worker_uses_is_refused() {
    let mut bed = Testbed::start().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    let location = worker.location(0).display().to_string();
    let said = refused(
        &bed,
        &format!("[worker]\nname = 'w2'\n[[sealing_thread]]\nlocation = '{location}'\n"),
    )
    .await;
    assert!(said.contains(&location), "{}", said);
}

#[tokio::test]
async fn stores_are_made_by_hand_as_the_daemon_would_make_them() {
    let bed = Testbed::start().await;
    let paths = ["store1", "store2", "remote"].map(|name| bed.scratch.path().join(name));
    let [first, second, attached] = paths.each_ref().map(|path| path.to_str().unwrap());
    bed.worker_cli(&["store", "sealing-init", "-l", first, second]).await.expect(0);
    bed.worker_cli(&["store", "file-init", "-l", attached]).await.expect(0);
    assert!(paths.iter().all(|path| path.join("damocles.json").is_file()), "{paths:?}");
    // Once more, they stay as they are.
    let marker = std::fs::read(paths[2].join("damocles.json")).unwrap();
    bed.worker_cli(&["store", "file-init", "-l", attached]).await.expect(0);
    assert_eq!(std::fs::read(paths[2].join("damocles.json")).unwrap(), marker);
    bed.worker_cli(&["store", "file-init", "--as-new", "-l", attached]).await.expect(0);
    assert_ne!(std::fs::read(paths[2].join("damocles.json")).unwrap(), marker);
}

#[tokio::test]
async fn places_that_cannot_be_read_are_not_taken_for_new_ones() {
    let bed = Testbed::start().await;
    let places = bed.scratch.directory("refused/state").join("places.json");
    std::fs::write(&places, "{").unwrap();
    let said = refused(&bed, "[[sealing_thread]]\nlocation = './a'\n").await;
    assert!(said.contains(places.to_str().unwrap()) && said.contains("remove it"), "{said}");
    assert!(!bed.scratch.path().join("refused/a").exists());
}
