//! Why there is no connection is said by its cause, with the way out, in an exit code of its kind.

use std::{path::Path, process::Command};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    credentials::{Certificates, Operator},
    nats_server::NatsServer,
    process::Process,
    scratch::Scratch,
};
use nkeys::KeyPair;

// What both tools say, which is the same.
async fn said(url: &str, args: &[&str]) -> CliOutput {
    let run = async |program: &Path, command: &[&str]| {
        let args = [command, &["--timeout", "5s"], args].concat();
        cli::run(program, &args, url, b"").await
    };
    let (manager, worker) = tokio::join!(
        run(binaries::manager(), &["util", "worker", "list"]),
        run(binaries::worker(), &["worker", "--name", "w1", "list"])
    );
    assert_eq!((worker.code, &worker.stderr), (manager.code, &manager.stderr));
    assert!(!manager.stderr.contains("hunter2"), "{}", manager.stderr);
    manager
}

async fn says(url: &str, args: &[&str], code: i32, words: &[&str]) {
    let said = said(url, args).await.expect(code).stderr;
    assert!(words.iter().all(|words| said.contains(words)), "{words:?}: {said}");
    assert!(said.contains("hint: "), "{said}");
    let asks = said.contains("is NATS running there?");
    assert_eq!(asks, said.contains("cannot reach NATS"), "{said}");
}

#[tokio::test]
async fn nobody_there_is_told_from_a_name_that_is_none() {
    says("nats://u:hunter2@127.0.0.1:1", &[], 4, &["cannot reach NATS at 127.0.0.1:1", "refused"])
        .await;
    says("nats://u:hunter2@nowhere.invalid:1", &[], 4, &["cannot find NATS", "its name right"])
        .await;
    let scratch = Scratch::new();
    let mut manager = Command::new(binaries::manager());
    manager.args(["daemon", "-s", "nats://u:hunter2@nowhere.invalid:1"]);
    let log = scratch.path().join("manager.log");
    let manager = Process::spawn("damocles-manager", manager, &log);
    manager.log().line_with(&["the host of NATS is not found", "nowhere.invalid:1"]).await;
    // Somebody who accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", silent.local_addr().unwrap());
    says(&url, &[], 4, &["cannot reach NATS"]).await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_named_by_its_kind() {
    let scratch = Scratch::new();
    let users = "authorization { users: [ {user: bob, password: b0b} ] }";
    let nats = NatsServer::start_core(scratch.path(), users).await;
    let violation = "authorization violation";
    let key = scratch.path().join("key");
    std::fs::write(&key, KeyPair::new_user().seed().unwrap()).unwrap();
    let creds = scratch.path().join("creds");
    std::fs::write(&creds, Operator::default().credentials()).unwrap();
    let (key, creds) = (key.to_str().unwrap(), creds.to_str().unwrap());

    let url = nats.url();
    let with = async |args: &[&str], login: &str| says(&url, args, 4, &[login, violation]).await;
    with(&[], "refuses a client without a login").await;
    with(&["--user", "bob", "--password", "hunter2"], "refuses this user and password").await;
    with(&["--token", "hunter2"], "refuses this token").await;
    with(&["--nkey", key], &format!("refuses the nkey in {key}")).await;
    with(&["--creds", creds], &format!("refuses the credentials in {creds}")).await;
    let url = url.replace("nats://", "nats://bob:hunter2@");
    says(&url, &[], 4, &["refuses this user and password", violation]).await;
}

#[tokio::test]
async fn files_that_are_missing_or_cannot_be_used_have_one_exit_code() {
    let scratch = Scratch::new();
    let nats = NatsServer::start_core(scratch.path(), "").await;
    let certificates = Certificates::make(scratch.path());
    let other = Certificates::make(&scratch.directory("other"));
    let junk = scratch.path().join("junk");
    std::fs::write(&junk, "SUhunter2\n-----BEGIN NATS USER JWT-----\nx\n").unwrap();
    let empty = scratch.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (missing, junk, empty) = (path(&scratch.path().join("missing")), path(&junk), path(&empty));
    let url = nats.url();
    for (option, what) in
        [("--creds", "credentials file"), ("--nkey", "nkey file"), ("--tlsca", "CA file")]
    {
        for file in [&missing, &junk] {
            let words = [&format!("cannot use {what} {file}: ")[..], option];
            says(&url, &[option, file], 1, &words).await;
        }
    }
    for file in [&missing, &empty] {
        let words = [&format!("cannot use password file {file}: ")[..], "--password-file"];
        says(&url, &["--user", "u", "--password-file", file], 1, &words).await;
    }
    let (certificate, key) = (path(&certificates.certificate), path(&certificates.key));
    for (cert, key, words) in [
        (&missing, &key, "cannot use certificate "),
        (&junk, &key, "holds no certificate"),
        (&certificate, &missing, "cannot use key "),
        (&certificate, &junk, "holds no private key"),
        (&certificate, &path(&other.key), "is not the key of"),
    ] {
        says(&url, &["--tlscert", cert, "--tlskey", key], 1, &[words]).await;
    }
    says(&url, &["--context", &missing.replace('/', "_")], 1, &["cannot use context "]).await;
    let context = scratch.path().join("context.json");
    std::fs::write(&context, r#"{"url": "nats://a", "inbox_prefix": "hunter2"}"#).unwrap();
    says(&url, &["--context", &path(&context)], 1, &["`inbox_prefix`", "not supported"]).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_is_missing_is_told_from_a_server_that_is_gone() {
    let scratch = Scratch::new();
    let certificates = Certificates::make(scratch.path());
    let other = Certificates::make(&scratch.directory("other"));
    let config = certificates.server_config("verify: true");
    let tls = NatsServer::start_core(scratch.path(), &config).await;
    let plain = NatsServer::start_core(&scratch.directory("plain"), "").await;
    let (ca, other) = (certificates.ca.to_str().unwrap(), other.ca.to_str().unwrap());
    let no_tls = "no TLS connection to NATS at 127.0.0.1";
    says(&tls.url(), &[], 4, &[no_tls, "invalid peer certificate", "--tlsca"]).await;
    says(&tls.url(), &["--tlsca", other], 4, &[no_tls, "--tlsca"]).await;
    says(&tls.url(), &["--tlsca", ca], 4, &[no_tls, "CertificateRequired", "--tlscert"]).await;
    says(&plain.url(), &["--tlsca", ca], 4, &[no_tls]).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_a_usage_error_without_its_secrets() {
    let usage = async |url: &str, args: &[&str], words: &str| {
        let said = said(url, args).await.expect(2).stderr;
        assert!(said.contains(words), "{words}: {said}");
    };
    usage("nats://u:hunter2#@host", &[], "is no NATS URL").await;
    usage("nats://u:hunter2@a:x", &[], "\"…@a:x\" is no NATS URL").await;
    usage("nats://u:p@a,nats://u:hunter2@b", &[], "different logins").await;
    usage("nats://a", &["--user", "u"], "--password").await;
    usage("nats://a", &["--password", "hunter2"], "--user").await;
    usage("nats://a", &["--token", "hunter2", "--creds", "f"], "two logins").await;
    usage("nats://a", &["--context", "../x"], "no name of a context").await;
}
