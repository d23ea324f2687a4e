//! Who gave a command is said by its option, the environment, or sudo.

use std::process::{Command, Stdio};

use e2e::{
    binaries, cli,
    played_commands::{PlayedCommands, bulk},
    testbed::Testbed,
};
use serde_json::json;

#[tokio::test]
async fn who_gave_a_command_is_what_was_said_closest_to_it() {
    let bed = Testbed::start().await;
    let reply = json!({"index": 0, "revision": 5, "outcome": {"kind": "paused"}});
    let worker = PlayedCommands::start(&bed.bus, "w1", move |heard| {
        let is_one = heard.request.index.is_some();
        Some(if is_one { reply.clone() } else { bulk("w1", json!([reply])) })
    })
    .await;
    let sudo = ("SUDO_USER", "alice");
    let environment = ("DAMOCLES_BY", "bob");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let here = |user: &str| format!("{user}@{host}");
    let (one, many) = (&["pause", "w1", "0"][..], &["cordon", "w1"][..]);
    for (args, by, variables, expected) in [
        (one, None, vec![sudo], here("alice")),
        (many, None, vec![sudo], here("alice")),
        (one, None, vec![sudo, ("DAMOCLES_BY", "")], here("alice")),
        (one, None, vec![sudo, environment], here("bob")),
        (many, Some("carol"), vec![sudo, environment], here("carol")),
        (one, Some("carol@bastion"), vec![sudo], "carol@bastion".into()),
    ] {
        let mut command = Command::new(binaries::manager());
        command.args(["util", "worker"]).args(args).args(by.iter().flat_map(|by| ["--by", by]));
        command.env("NATS_URL", bed.nats.url()).env("USER", "root").envs(variables);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cli::finish(command, b"").await.expect(0);
        assert_eq!(worker.heard().last().unwrap().request.by.as_deref(), Some(&expected[..]));
    }
    for wrong in ["", "a\u{1b}[31mb", &"x".repeat(129)] {
        bed.util_worker(&["pause", "w1", "0", "--by", wrong]).await.expect(2);
    }
    assert_eq!(worker.heard().len(), 6);
}
