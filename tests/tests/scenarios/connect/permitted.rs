//! What a login may not do is said at once, by its subject: exit 5, and nothing is done.

use std::time::Duration;

use e2e::{testbed::Testbed, worker::WorkerConfig};
use tokio::time::Instant;

// One who may do everything without a login, and three who may not.
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
