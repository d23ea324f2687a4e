//! What a login may not do is said at once, by its subject: exit 5, and nothing is done.

use std::time::Duration;

use e2e::{testbed::Testbed, worker::WorkerConfig};
use shared_msgs::error::ERROR_CODE_HEADER;
use tokio::time::Instant;

// One who may do everything without a login, and others who may not.
const USERS: &str = r#"
no_auth_user: all
authorization: {
  users: [
    {user: all, password: all}
    {user: viewer, password: viewer, permissions: {
      publish: {deny: ["damocles.v1.cmd.*.pause", "damocles.v1.cmd_all.>", "damocles.v1.api.>"]}
    }}
    {user: guest, password: guest, permissions: {
      publish: {deny: ["damocles.v1.cmd.>", "damocles.v1.cmd_all.>"]}
    }}
    {user: deaf, password: deaf, permissions: {subscribe: {deny: ["_INBOX.>"]}}}
    {user: blind, password: blind, permissions: {subscribe: {deny: ["damocles.v1.state.>"]}}}
    {user: forgetful, password: forgetful, permissions: {
      publish: {deny: ["$JS.API.>"]}
    }}
  ]
}
"#;

#[tokio::test]
async fn no_permission_is_exit_5_at_once_and_names_the_subject() {
    let mut bed = Testbed::start_configured(USERS).await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let viewer = ["--user", "viewer", "--password", "viewer", "--timeout", "60s"];
    let began = Instant::now();
    for (command, subject) in [
        (&["pause", "w1", "0"][..], "damocles.v1.cmd.w1.pause"),
        (&["pause", "--all"], "damocles.v1.cmd_all.pause"),
        (&["list"], "damocles.v1.api.list"),
    ] {
        let output = bed.util_worker(&[&viewer[..], command].concat()).await.expect(5);
        assert!(output.stderr.contains("no permission"), "{}", output.stderr);
        assert!(output.stderr.contains(subject), "{}", output.stderr);
    }
    let deaf = ["--user", "deaf", "--password", "deaf", "--timeout", "60s", "cordon", "w1"];
    let output = bed.util_worker(&deaf).await.expect(5);
    assert!(output.stderr.contains("subscribe _INBOX."), "{}", output.stderr);
    assert!(output.stderr.contains("may have been carried out"), "{}", output.stderr);
    // Each would have waited for its whole time.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    bed.util_worker(&[&viewer[..], &["cordon", "w1"]].concat()).await.expect(0);
    assert_eq!(bed.bus.list("w1").await.summary.paused, 0);
}

#[tokio::test]
async fn who_may_ask_managers_only_commands_over_them() {
    let mut bed = Testbed::start_configured(USERS).await;
    let mut manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let guest = |command: &[&'static str]| {
        [&["--user", "guest", "--password", "guest"][..], command].concat()
    };
    bed.util_worker(&guest(&["pause", "w1", "0"])).await.expect(5);
    let paused = bed.util_worker(&guest(&["pause", "w1", "0", "--via", "manager"])).await.expect(0);
    assert_eq!(paused.stdout, "#0: paused\n");
    let info = bed.util_worker(&guest(&["info", "w1", "--via", "manager"])).await.expect(0);
    assert_eq!(info.rows()[0][3], "true", "{}", info.stdout);
    let all = ["resume", "--all", "--via", "manager", "-o", "json"];
    let document = bed.util_worker(&guest(&all)).await.expect(0).json();
    assert_eq!(
        (&document["complete"], &document["summary"]["changed"]["resumed"]),
        (&true.into(), &1.into()),
        "{document}"
    );
    // What is waited for is asked of managers too.
    bed.util_worker(&guest(&["drain", "--all", "-f", "--via", "manager"])).await.expect(0);
    let absent = bed.util_worker(&guest(&["pause", "w9", "0", "--via", "manager"])).await.expect(3);
    assert!(absent.stderr.contains("w9"), "{}", absent.stderr);
    assert!(manager.terminate().await.success());
    let none = guest(&["pause", "w1", "0", "--via", "manager"]);
    let none = bed.util_worker(&none).await.expect(4);
    assert!(none.stderr.contains("damocles-manager daemon"), "{}", none.stderr);
}

#[tokio::test]
async fn a_manager_without_the_right_refuses_at_once_until_it_is_given() {
    let mut bed = Testbed::start_configured(USERS).await;
    let guest = ["--user", "guest", "--password", "guest", "--timeout", "60s"];
    let _manager = bed.mock_manager_with(&guest).await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let began = Instant::now();
    for (command, subject) in [
        (&["pause", "w1", "0"][..], "damocles.v1.cmd.w1.pause"),
        (&["resume", "w1", "0"], "damocles.v1.cmd.w1.list"),
        (&["info", "w1"], "damocles.v1.cmd.w1.list"),
        (&["pause", "--all"], "damocles.v1.cmd_all.pause"),
    ] {
        let output = bed.util_worker(&[command, &["--via", "manager"]].concat()).await.expect(5);
        assert!(output.stderr.contains("the manager's login"), "{}", output.stderr);
        assert!(output.stderr.contains(subject), "{}", output.stderr);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let request = r#"{"worker": "w1", "index": 0}"#;
    let answer = bed.bus.raw(&bed.bus.prefix.api("pause"), request).await;
    let code = answer.headers.and_then(|headers| headers.get(ERROR_CODE_HEADER).cloned());
    assert_eq!(code.map(|code| code.to_string()).as_deref(), Some("403"));
    // Neither the manager nor its connection is made anew.
    bed.nats.reload(&USERS.replace("\"damocles.v1.cmd.>\", ", "")).await;
    bed.util_worker(&["pause", "w1", "0", "--via", "manager"]).await.expect(0);
    bed.util_worker(&["pause", "--all", "--via", "manager"]).await.expect(5);
}

#[tokio::test]
async fn who_may_not_hear_what_is_watched_is_told_so() {
    let mut bed = Testbed::start_configured(USERS).await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    for (user, command, subject) in [
        ("blind", &["list", "--watch"][..], "subscribe damocles.v1.state.*"),
        ("blind", &["info", "w1", "--watch"], "subscribe damocles.v1.state.w1"),
        ("viewer", &["list", "--watch"], "publish on damocles.v1.api.list"),
        ("guest", &["info", "w1", "--watch"], "publish on damocles.v1.cmd.w1.list"),
        ("forgetful", &["history"], "publish on $JS.API."),
        ("forgetful", &["history", "--follow"], "publish on $JS.API."),
        ("deaf", &["history", "w1"], "subscribe _INBOX."),
    ] {
        let login = ["--user", user, "--password", user, "--timeout", "600s"];
        let output = bed.util_worker(&[command, &login].concat()).await.expect(5);
        assert!(output.stderr.contains("no permission: "), "{}", output.stderr);
        assert!(output.stderr.contains(subject), "{command:?}: {}", output.stderr);
    }
    // Rights can be taken from who watches.
    let login = ["--user", "viewer", "--password", "viewer"];
    let watching = [&["info", "w1", "--watch"][..], &login].concat();
    let mut watch = bed.start_util_worker("watch", &watching);
    watch.log().line_with(&["Index"]).await;
    let blind = "\"damocles.v1.api.>\"]}, subscribe: {deny: [\"damocles.v1.state.>\"]";
    bed.nats.reload(&USERS.replacen("\"damocles.v1.api.>\"]", blind, 1)).await;
    assert_eq!(watch.ended().await.code(), Some(5));
}
