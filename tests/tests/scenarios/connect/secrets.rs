//! No secret is shown: in help, errors, and logs, however much is logged.

use std::process::{Command, Stdio};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    credentials::Operator,
    nats_server::NatsServer,
    process::Process,
    scratch::Scratch,
    worker::{Worker, WorkerConfig},
};

async fn run(mut command: Command) -> CliOutput {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cli::finish(command, b"").await
}

#[tokio::test]
async fn help_does_not_show_what_variables_hold() {
    for (program, commands) in [
        (
            binaries::manager(),
            [&["--help"][..], &["util", "worker", "list", "-h"], &["help", "nats"]],
        ),
        (binaries::worker(), [&["--help"][..], &["worker", "list", "-h"], &["help", "nats"]]),
    ] {
        for args in commands {
            let mut command = Command::new(program);
            command.args(args);
            for name in ["NATS_URL", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"] {
                command.env(name, "nats://u:hunter2@h");
            }
            let help = run(command).await.expect(0).stdout;
            assert_eq!(help.contains("--password"), args.contains(&"nats"), "{help}");
            assert!(!help.contains("hunter2"), "{help}");
        }
    }
}

#[tokio::test]
async fn the_most_talkative_log_shows_no_login() {
    let scratch = Scratch::new();
    let users = "authorization { users: [ {user: bob, password: hunter2} ] }";
    let nats = NatsServer::start_core(scratch.path(), users).await;
    let url = nats.url().replace("nats://", "nats://bob:hunter2@");
    let config = WorkerConfig::new("w1").idle();
    let mut worker = Worker::prepare(scratch.directory("worker"), url.clone(), &config);
    worker.start_with_environment(&[("RUST_LOG", "trace")]);
    worker.log().line_with(&["connected to NATS"]).await;
    let mut manager = Command::new(binaries::manager());
    manager.args(["daemon", "--user", "bob", "--password", "hunter2"]);
    manager.env("NATS_URL", nats.url()).env("RUST_LOG", "async_nats=trace,info");
    let log = scratch.path().join("manager.log");
    let mut manager = Process::spawn("damocles-manager", manager, &log);
    manager.log().line_with(&["connected to NATS"]).await;
    for (password, format, code) in
        [("hunter2", "text", 0), ("hunter2", "json", 0), ("hunter2x", "text", 4)]
    {
        let mut tool = Command::new(binaries::manager());
        tool.args(["util", "worker", "list", "--log-format", format]).env("RUST_LOG", "trace");
        tool.env("NATS_URL", url.replace("hunter2", password));
        let said = run(tool).await.expect(code).stderr;
        assert!(said.contains("async_nats::connector") && !said.contains("hunter2"), "{said}");
    }
    worker.terminate().await;
    manager.terminate().await;
    for said in [worker.log().to_end().await, manager.log().to_end().await] {
        assert!(said.contains("async_nats::connector") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn the_most_talkative_log_shows_neither_token_nor_credentials() {
    let scratch = Scratch::new();
    let operator = Operator::default();
    let nats = NatsServer::start_core(scratch.path(), &operator.server_config()).await;
    let (file, credentials) = (scratch.path().join("creds"), operator.credentials());
    std::fs::write(&file, &credentials).unwrap();
    let secrets = credentials.lines().filter(|line| line.len() > 1 && !line.starts_with('-'));
    let secrets: Vec<_> = secrets.chain(["hunter2"]).collect();
    assert_eq!(secrets.len(), 3);
    for login in [["--creds", file.to_str().unwrap()], ["--token", "hunter2"]] {
        let mut tool = Command::new(binaries::manager());
        tool.args(["util", "worker", "list", "--timeout", "1s", "-s", &nats.url()]).args(login);
        tool.env("RUST_LOG", "trace");
        let said = run(tool).await.expect(4).stderr;
        assert!(said.contains("async_nats::connector"), "{said}");
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{said}");
    }
}

#[tokio::test]
async fn a_mistake_in_a_configuration_shows_no_secret_beside_it() {
    let scratch = Scratch::new();
    let file = scratch.path().join("broken.toml");
    let mistakes = [
        "server = ['nats://u:hunter2@h']",
        "server = { url = 'nats://u:hunter2@h' }",
        "server = 'nats://u:hunter2@h' x",
        "server = 'nats://u:hunter2@h:x'",
        "password = hunter2",
        "password = 'hunter2",
        "password = \"\\hunter2\"",
        "password = 'hunter2'\npassword = 'hunter2'",
        "pasword = 'hunter2'",
        "token = ['hunter2']",
        "password = 4711",
        "token = 4711.5",
    ];
    for mistake in mistakes {
        std::fs::write(&file, format!("[nats]\n{mistake}\n")).unwrap();
        for (program, args) in [
            (binaries::manager(), &["util", "worker", "list"][..]),
            (binaries::manager(), &["daemon"]),
            (binaries::worker(), &["worker", "list"]),
            (binaries::worker(), &["daemon"]),
        ] {
            let mut command = Command::new(program);
            command.args(args).arg("-c").arg(&file);
            let CliOutput { code, stderr, .. } = run(command).await;
            assert!(matches!(code, Some(1 | 2)), "{mistake}: {code:?}: {stderr}");
            let secrets = ["hunter2", "4711"];
            assert!(!secrets.iter().any(|secret| stderr.contains(secret)), "{mistake}: {stderr}");
        }
    }
}
