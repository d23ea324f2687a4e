//! Daemons and tools log in as they are told: by URL, option, variable, file or context.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{
    DEADLINE, binaries,
    cli::{self, CliOutput},
    credentials::{Certificates, Operator},
    nats_server::NatsServer,
    process::Process,
    scratch::Scratch,
    worker::{Worker, WorkerConfig},
};
use nkeys::KeyPair;
use tokio::time::timeout;

const USERS: &str = r#"authorization { users: [ {user: "a@n", password: "p/w:%,é"}, {user: bob, password: b0b} ] }"#;
const TOKEN: &str = r#"authorization { token: "to ken" }"#;

/// A server of that configuration, on a port and in a directory of its own.
struct Place {
    nats: NatsServer,
    scratch: Scratch,
}

impl Place {
    async fn new(config: &str) -> Place {
        let scratch = Scratch::new();
        let nats = NatsServer::start_core(scratch.path(), config).await;
        Place { nats, scratch }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.scratch.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn url(&self, login: &str) -> String {
        format!("nats://{login}127.0.0.1:{}", self.nats.port())
    }

    async fn run(&self, program: &Path, args: &[&str], environment: &[(&str, &str)]) -> CliOutput {
        let mut command = Command::new(program);
        command.args(args).env("XDG_CONFIG_HOME", self.scratch.path());
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cli::finish(command, b"").await
    }

    /// Both daemons and both tools are let in: with that URL and these keys of `[nats]`, which the
    /// worker and its tool have in their file, and the manager and its tool on the command line.
    async fn lets_in(&self, url: &str, keys: &[(&'static str, &str)]) {
        let mut config = WorkerConfig::new("w1").idle();
        let mut options = vec![];
        for (key, value) in keys {
            config = config.nats(key, &serde_json::Value::from(*value).to_string());
            options.extend([format!("--{}", key.replace('_', "-")), (*value).to_owned()]);
        }
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let directory = self.scratch.directory("worker");
        let mut worker = Worker::prepare(directory, url.to_owned(), &config);
        let home = self.scratch.path().to_str().unwrap();
        worker.start_with_environment(&[("XDG_CONFIG_HOME", home)]);
        worker.log().line_with(&["connected to NATS"]).await;

        let mut manager = Command::new(binaries::manager());
        manager.arg("daemon").args(&options).env("NATS_URL", url).env("XDG_CONFIG_HOME", home);
        let log = self.scratch.path().join("manager.log");
        let manager = Process::spawn("damocles-manager", manager, &log);
        manager.log().line_with(&["connected to NATS"]).await;

        let file = worker.config_file();
        let list = ["worker", "-c", file.to_str().unwrap(), "list"];
        self.answers(binaries::worker(), &list, url).await;
        let info = [&["util", "worker", "info", "w1"], &options[..]].concat();
        self.answers(binaries::manager(), &info, url).await;
        worker.terminate().await;
    }

    /// The worker answers a tool, once it serves its commands.
    async fn answers(&self, program: &Path, args: &[&str], url: &str) {
        let answered =
            async { while self.run(program, args, &[("NATS_URL", url)]).await.code != Some(0) {} };
        assert!(timeout(DEADLINE, answered).await.is_ok(), "{args:?}");
    }

    /// Whether the manager's tool is let in; nobody else is there.
    async fn lets_tool_in(&self, args: &[&str], environment: &[(&str, &str)]) -> bool {
        let args = [&["util", "worker", "list", "--timeout", "5s"], args].concat();
        let said = self.run(binaries::manager(), &args, environment).await.expect(4).stderr;
        let is_in = said.contains("no manager is running");
        assert!(is_in || said.contains("authorization violation"), "{said}");
        is_in
    }
}

#[tokio::test]
async fn a_user_and_password_in_a_url_are_decoded_and_count_for_the_whole_list() {
    let place = Place::new(USERS).await;
    let login = "a%40n:p%2Fw%3A%25%2C%C3%A9@";
    place.lets_in(&place.url(login), &[]).await;
    place.lets_in(&format!("nats://{login}127.0.0.1:1,{}", place.url("")), &[]).await;
}

#[tokio::test]
async fn a_token_in_a_url_is_one() {
    let place = Place::new(TOKEN).await;
    place.lets_in(&place.url("to%20ken@"), &[]).await;
}

#[tokio::test]
async fn a_user_with_a_password_or_the_file_of_one_is_let_in() {
    let place = Place::new(USERS).await;
    place.lets_in(&place.url(""), &[("user", "bob"), ("password", "b0b")]).await;
    let file = place.file("password", "p/w:%,é\n");
    place.lets_in(&place.url(""), &[("user", "a@n"), ("password_file", &file)]).await;
}

#[tokio::test]
async fn a_token_is_let_in() {
    let place = Place::new(TOKEN).await;
    place.lets_in(&place.url(""), &[("token", "to ken")]).await;
}

#[tokio::test]
async fn an_nkey_is_let_in() {
    let key = KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{nkey: {}}} ] }}", key.public_key());
    let place = Place::new(&users).await;
    let file = place.file("key", &format!("{}\n", key.seed().unwrap()));
    place.lets_in(&place.url(""), &[("nkey", &file)]).await;
}

#[tokio::test]
async fn credentials_are_let_in() {
    let operator = Operator::default();
    let place = Place::new(&operator.server_config()).await;
    let file = place.file("creds", &operator.credentials());
    place.lets_in(&place.url(""), &[("creds", &file)]).await;
}

#[tokio::test]
async fn a_context_of_the_nats_client_says_server_and_login() {
    let place = Place::new(USERS).await;
    let url = place.url("");
    let context = |user: &str, password: &str| {
        let context = serde_json::json!({"description": "a test's", "url": url, "user": user, "password": password, "token": ""});
        place.file("nats/context/prod.json", &context.to_string())
    };
    let file = context("bob", "b0b");
    place.lets_in("", &[("context", "prod")]).await;
    place.lets_in("", &[("context", &file)]).await;
    // One that is selected counts for the client only.
    place.file("nats/context.txt", "prod");
    assert!(!place.lets_tool_in(&["-s", &url], &[]).await);
    // A variable names one too, and an option counts more than what it says.
    assert!(place.lets_tool_in(&[], &[("NATS_CONTEXT", "prod")]).await);
    context("bob", "no");
    assert!(!place.lets_tool_in(&["--context", "prod"], &[]).await);
    assert!(place.lets_tool_in(&["--context", "prod", "--password", "b0b"], &[]).await);
}

#[tokio::test]
async fn a_context_that_is_named_replaces_what_the_file_says_of_a_connection() {
    let place = Place::new(USERS).await;
    let context = serde_json::json!({"url": place.url("")});
    place.file("nats/context/open.json", &context.to_string());
    let file = place.file(
        "manager.toml",
        "[nats]\nserver = 'nats://127.0.0.1:1'\nuser = 'bob'\npassword = 'b0b'",
    );
    assert!(place.lets_tool_in(&["-c", &file, "-s", &place.url("")], &[]).await);
    assert!(!place.lets_tool_in(&["-c", &file, "--context", "open"], &[]).await);
}

#[tokio::test]
async fn a_login_in_the_url_counts_before_others_and_a_warning_says_so() {
    let place = Place::new(USERS).await;
    let good = place.url("bob:b0b@");
    assert!(place.lets_tool_in(&["-s", &good, "--user", "bob", "--password", "no"], &[]).await);
    let bad = place.url("bob:no@");
    let args = ["util", "worker", "list", "-s", &bad, "--user", "bob", "--password", "b0b"];
    let said = place.run(binaries::manager(), &args, &[]).await.expect(4).stderr;
    assert!(said.contains("the login in the server's URL is used"), "{said}");
    assert!(said.contains("authorization violation"), "{said}");
}

#[tokio::test]
async fn variables_log_in_and_empty_ones_count_as_unset() {
    let place = Place::new(USERS).await;
    let url = place.url("");
    let password = place.file("password", "b0b");
    let by_file = [("NATS_URL", &url[..]), ("NATS_USER", "bob"), ("NATS_PASSWORD_FILE", &password)];
    assert!(place.lets_tool_in(&[], &by_file).await);
    let token = Place::new(TOKEN).await;
    let by_token = [("NATS_URL", &token.url("")[..]), ("NATS_TOKEN", "to ken")];
    assert!(token.lets_tool_in(&[], &by_token).await);

    let empty = [
        "NATS_URL",
        "NATS_CONTEXT",
        "NATS_CREDS",
        "NATS_NKEY",
        "NATS_USER",
        "NATS_PASSWORD",
        "NATS_PASSWORD_FILE",
        "NATS_TOKEN",
        "NATS_CA",
        "NATS_CERT",
        "NATS_KEY",
        "NATS_TIMEOUT",
        "DAMOCLES_PREFIX",
        "DAMOCLES_MANAGER_CONFIG",
        "DAMOCLES_WORKER_CONFIG",
        "DAMOCLES_LOG_FORMAT",
        "RUST_LOG",
    ]
    .map(|name| (name, ""));
    let login = ["-s", &url, "--user", "bob", "--password", "b0b"];
    assert!(place.lets_tool_in(&login, &empty).await);
    let worker = [&["worker", "--name", "w1", "list"], &login[..]].concat();
    let said = place.run(binaries::worker(), &worker, &empty).await.expect(4).stderr;
    assert!(said.contains("worker w1 does not answer"), "{said}");
    // A file's values are not hidden by them.
    let file =
        place.file("m.toml", &format!("[nats]\nserver = '{url}'\nuser = 'bob'\npassword = 'b0b'"));
    assert!(place.lets_tool_in(&["-c", &file], &empty).await);
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_authority_and_may_ask_for_a_certificate() {
    let scratch = Scratch::new();
    let certificates = Certificates::make(scratch.path());
    let place = Place::new(&certificates.server_config("verify: true")).await;
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let keys = [
        ("tlsca", &path(&certificates.ca)[..]),
        ("tlscert", &path(&certificates.certificate)),
        ("tlskey", &path(&certificates.key)),
    ];
    place.lets_in(&place.url(""), &keys).await;
}
