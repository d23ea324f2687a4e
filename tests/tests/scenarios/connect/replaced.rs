//! A key file that is replaced counts at the next login, and the log says why there is none.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{path::Path, process::Command};

use e2e::{
    binaries,
    credentials::{Certificates, Operator},
    nats_server::NatsServer,
    process::Process,
    scratch::Scratch,
    worker::{Worker, WorkerConfig},
};
use nkeys::KeyPair;

fn of_one_user(key: &KeyPair) -> String {
    format!("authorization {{ users: [ {{nkey: {}}} ] }}", key.public_key())
}

// As a tool replaces a file: by renaming.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn a_worker_says_why_it_cannot_log_in_whenever_that_changes_until_it_can() {
    let (old, new) = (KeyPair::new_user(), KeyPair::new_user());
    let scratch = Scratch::new();
    let mut nats = NatsServer::start_core(scratch.path(), &of_one_user(&old)).await;
    let file = scratch.path().join("key");
    replace(&file, &old.seed().unwrap());
    let key = file.to_str().unwrap();
    let config = WorkerConfig::new("w1").idle().nats("nkey", &format!("'{key}'"));
    let mut worker = Worker::prepare(scratch.directory("worker"), nats.url(), &config);
    worker.start();
    worker.log().line_with(&["connected to NATS"]).await;

    nats.reconfigure(&of_one_user(&new)).await;
    worker.log().line_with(&["lost the connection to NATS"]).await;
    let refuses = format!("NATS refuses the nkey in {key}");
    worker.log().line_with(&[&refuses, "authorization violation"]).await;
    std::fs::remove_file(&file).unwrap();
    let unusable = format!("cannot use nkey file {key}");
    worker.log().line_with(&["no login to NATS", &unusable, "No such file"]).await;
    replace(&file, "hunter2");
    worker.log().line_with(&["no login to NATS", &unusable, "no user seed"]).await;
    replace(&file, &old.seed().unwrap());
    worker.log().nth_line_with(2, &[&refuses]).await;
    nats.stop().await;
    worker.log().line_with(&["NATS is not reachable", "refused"]).await;
    nats.restart().await;
    worker.log().nth_line_with(3, &[&refuses]).await;
    replace(&file, &new.seed().unwrap());
    worker.log().nth_line_with(2, &["connected to NATS"]).await;

    worker.terminate().await;
    let said = worker.log().to_end().await;
    assert_eq!(said.matches("no login to NATS").count(), 2, "{said}");
    assert!(!said.contains("hunter2") && !said.contains(&old.seed().unwrap()), "{said}");
}

#[tokio::test]
async fn a_manager_logs_in_with_credentials_that_were_replaced_and_starts_before_they_count() {
    let (old, new) = (Operator::default(), Operator::default());
    let scratch = Scratch::new();
    let mut nats = NatsServer::start_core(scratch.path(), &new.server_config()).await;
    let file = scratch.path().join("creds");
    replace(&file, &old.credentials());
    let mut manager = Command::new(binaries::manager());
    manager.args(["daemon", "-s", &nats.url(), "--creds"]).arg(&file);
    let manager = Process::spawn("damocles-manager", manager, &scratch.path().join("manager.log"));
    let log = manager.log();
    log.line_with(&["NATS refuses the credentials in", "authorization violation"]).await;
    replace(&file, &new.credentials());
    log.line_with(&["connected to NATS"]).await;
    // It goes on so.
    nats.stop().await;
    replace(&file, &new.credentials());
    nats.restart().await;
    log.nth_line_with(2, &["connected to NATS"]).await;
}

#[tokio::test]
async fn a_password_that_was_replaced_in_its_file_counts() {
    let users = |password: &str| {
        format!("authorization {{ users: [ {{user: bob, password: {password}}} ] }}")
    };
    let scratch = Scratch::new();
    let mut nats = NatsServer::start_core(scratch.path(), &users("one")).await;
    let file = scratch.path().join("password");
    replace(&file, "one\n");
    let mut manager = Command::new(binaries::manager());
    manager.args(["daemon", "-s", &nats.url(), "--user", "bob", "--password-file"]).arg(&file);
    let manager = Process::spawn("damocles-manager", manager, &scratch.path().join("manager.log"));
    manager.log().line_with(&["connected to NATS"]).await;
    nats.reconfigure(&users("two")).await;
    manager.log().line_with(&["NATS refuses this user with the password in"]).await;
    replace(&file, "two\n");
    manager.log().nth_line_with(2, &["connected to NATS"]).await;
}

#[tokio::test]
async fn an_authority_that_was_replaced_in_its_file_is_trusted() {
    let scratch = Scratch::new();
    let [old, new] = ["old", "new"].map(|name| Certificates::make(&scratch.directory(name)));
    let nats = NatsServer::start_core(scratch.path(), &new.server_config("")).await;
    let mut manager = Command::new(binaries::manager());
    manager.args(["daemon", "-s", &nats.url(), "--tlsca"]).arg(&old.ca);
    let manager = Process::spawn("damocles-manager", manager, &scratch.path().join("manager.log"));
    manager.log().line_with(&["no TLS connection to NATS", "invalid peer certificate"]).await;
    replace(&old.ca, &std::fs::read_to_string(&new.ca).unwrap());
    manager.log().line_with(&["connected to NATS"]).await;
}
