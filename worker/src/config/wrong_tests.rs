//! What operators write wrongly, and what they read then.

use damocles_daemon::config::{Document, Origin};

use super::{Config, Effective};

fn refused(text: &str) -> String {
    let read = Document::parse(text, "w.toml").and_then(|document| Config::read(&document));
    let said = read.map(drop).expect_err(text).to_string();
    said.strip_prefix("configuration file w.toml, line ").expect(&said).to_owned()
}

const DURATION: &str = "it takes a duration such as \"10s\", \"5m\" or \"1h 30m\"";
const U32: &str = "it takes a whole number from 0 to 4294967295";
const PLANS: &str = "it takes one of sealer, snapup, rebuild, unseal, wdpost, niporep";
const STAGES_ARE: &str = "the stages are add_pieces, tree_d, comm_d, pc1, pc2, synth_proof, c1, c2, verify_seal, snap_encode, snap_vanilla, snap_prove, verify_snap, snap_decode, unseal, piece_commitment, transfer, window_post";
const SIZE: &str = "it takes a sector size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB";

// The text, and its message from the line on; `%` stands for what is allowed.
#[rustfmt::skip]
const WRONG: &[(&str, &str, &str)] = &[
    // Brackets.
    ("[sealing_thread]\nlocation = 'a'", "1, column 1: `sealing_thread` is one table: write `[[sealing_thread]]`", ""),
    ("[attached]\nlocation = 'a'", "1, column 1: `attached` is one table: write `[[attached]]`", ""),
    ("[processors.c2]\nbin = 'x'", "1, column 1: `processors.c2` is one table: write `[[processors.c2]]`", ""),
    ("[[worker]]\nname = 'a'", "1, column 1: `worker` is a list of tables: write `[worker]`", ""),
    ("[[nats]]\nserver = 'a'", "1, column 1: `nats` is a list of tables: write `[nats]`", ""),
    ("[sealing_thread.sealing]\nmax_retries = 1", "1, column 2: `sealing_thread` is one table: write `[[sealing_thread]]`", ""),
    ("[sealing]\nallowed_miners = 10000", "2, column 18: `sealing.allowed_miners` is the number 10000; it takes a list: write it in brackets, [ ]", ""),
    ("[worker]\nlocal_pieces_dirs = 'a'", "2, column 21: `worker.local_pieces_dirs` is the text \"a\"; it takes a list: write it in brackets, [ ]", ""),
    ("sealing_thread = 'a'", "1, column 18: `sealing_thread` is the text \"a\"; it takes a list", ""),
    ("worker = 'a'", "1, column 10: `worker` is the text \"a\"; it takes a table", ""),
    // Numbers.
    ("[sealing]\nmax_retries = '5'", "2, column 15: `sealing.max_retries` is the text \"5\"; %; write it without quotes", U32),
    ("[sealing]\nmax_retries = -1", "2, column 15: `sealing.max_retries` is the number -1; %", U32),
    ("[sealing]\nmax_retries = 5.0", "2, column 15: `sealing.max_retries` is the number 5.0; %", U32),
    ("[sealing]\nmax_retries = 5000000000", "2, column 15: `sealing.max_retries` is the number 5000000000; %", U32),
    ("[sealing]\nmax_retries = 99999999999999999999", "2, column 15: `sealing.max_retries` is the number 1e20; %", U32),
    ("[sealing]\nmax_retries = [5]", "2, column 15: `sealing.max_retries` is a list; %", U32),
    ("[sealing]\nallowed_miners = ['t010000']", "2, column 19: `sealing.allowed_miners` is the text \"t010000\"; it takes a whole number, 0 or more", ""),
    ("[[sealing_thread]]\nlocation = 'a'\n\n[[sealing_thread]]\nlocation = 'b'\nsealing.max_retries = true", "6, column 23: `sealing_thread.sealing.max_retries` is true; %", U32),
    ("[[processors.c2]]\nbin = 'x'\nconcurrent = 0", "3, column 14: `processors.c2.concurrent` is the number 0; it takes a whole number, 1 or more", ""),
    ("[processors.limitation.concurrent]\npc1 = 0", "2, column 7: `processors.limitation.concurrent.pc1` is the number 0; it takes a whole number, 1 or more", ""),
    ("[[processors.c2]]\nbin = 'x'\nlocks = { gpu = '1' }", "3, column 17: `processors.c2.locks.gpu` is the text \"1\"; it takes a whole number, 0 or more; write it without quotes", ""),
    ("[[processors.c2]]\nbin = 'x'\nlocks = 'gpu'", "3, column 9: `processors.c2.locks` is the text \"gpu\"; it takes a list of names, or a table of how much of each, { gpu = 1 }", ""),
    // True or false.
    ("[sealing]\nenable_deals = 'true'", "2, column 16: `sealing.enable_deals` is the text \"true\"; it takes true or false; write it without quotes", ""),
    ("[[attached]]\nlocation = 'a'\nreadonly = 1", "3, column 12: `attached.readonly` is the number 1; it takes true or false", ""),
    // Durations.
    ("[worker]\nping_interval = 10", "2, column 17: `worker.ping_interval` is the number 10; %", DURATION),
    ("[worker]\nping_interval = '10'", "2, column 17: `worker.ping_interval` is the text \"10\"; %", DURATION),
    ("[worker]\nping_interval = 1979-05-27", "2, column 17: `worker.ping_interval` is a date; %", DURATION),
    ("[worker]\nping_interval = '1ms'", "2, column 17: `worker.ping_interval` is 1ms; it takes a duration of at least 100ms", ""),
    ("[processors.limitation.staggered]\npc1 = 5", "2, column 7: `processors.limitation.staggered.pc1` is the number 5; %", DURATION),
    // Sizes, paths and names.
    ("[sealing]\nallowed_sizes = ['2KiB', '32GB']", "2, column 26: `sealing.allowed_sizes` is the text \"32GB\"; %", SIZE),
    ("[sealing]\nallowed_sizes = '32GiB'", "2, column 17: `sealing.allowed_sizes` is the text \"32GiB\"; it takes a list: write it in brackets, [ ]", ""),
    ("[sealing]\nmin_deal_space = -8", "2, column 18: `sealing.min_deal_space` is the number -8; it takes a size such as \"8GiB\"", ""),
    ("[sector_manager]\nrpc_client.adr = 'x'", "2, column 12: unknown key `sector_manager.rpc_client.adr`; did you mean `sector_manager.rpc_client.addr`?", ""),
    ("[processors.limit]\npc3 = 1", "2, column 7: processors.limit.pc3: pc3 is no stage; %", STAGES_ARE),
    ("[processors.static_tree_d]\n3KiB = '.'", "2, column 8: processors.static_tree_d: 3KiB = .: \"3KiB\" is no sector size: write 2KiB, 8MiB, 512MiB, 32GiB or 64GiB", ""),
    ("[[sealing_thread]]\nplan = 'sealer'", "1, column 1: `sealing_thread.location` is missing: name the directory of the thread; only one with plan = \"wdpost\" needs none", ""),
    ("[[sealing_thread]]\nlocation = 1", "2, column 12: `sealing_thread.location` is the number 1; it takes a path", ""),
    ("[[sealing_thread]]\nlocation = 'a'\nplan = 'snap'", "3, column 8: `sealing_thread.plan` is the text \"snap\"; %; did you mean \"snapup\"?", PLANS),
    ("[[sealing_thread]]\nlocation = 'a'\nplan = 1", "3, column 8: `sealing_thread.plan` is the number 1; %", PLANS),
    ("[nats]\nencoding = 'JSON'", "2, column 12: `nats.encoding` is the text \"JSON\"; it takes one of json, msgpack; did you mean \"json\"?", ""),
    ("[nats]\nprefix = ''", "2, column 10: `nats.prefix`: \"\" is no subject prefix: use 1 to 32 lower-case letters, digits, '-' and '.', with no '.' at an end or beside another", ""),
    ("[[processors.c2]]\nbin = 'x'\ncgroup.cpuset = '3-1'", "3, column 17: processors.c2 #0: cgroup.cpuset \"3-1\": \"3-1\" ends before it begins; write it like \"0-3,7\"", ""),
    // What is seen when all is read.
    ("[worker]\nname = ''", "2, column 8: `worker.name`: a worker's name must not be empty", ""),
    ("[nats]\nlease_ttl = '500ms'", "2, column 13: `nats.lease_ttl` is 500ms; it takes a duration of at least 1s", ""),
    ("[nats]\nstore_patience = '0s'", "2, column 18: `nats.store_patience` is 0ms; it takes a duration of at least 1s", ""),
    ("[nats]\nserver = 'nats://ho st:x'", "2, column 10: server \"nats://ho st:x\" is no NATS URL (NATS server URL is invalid: invalid domain character): write it as nats://host:4222", ""),
    ("[nats]\ntoken = 'x'\nnkey = './w.nk'", "3, column 8: two logins are given, --token (NATS_TOKEN) and --nkey (NATS_NKEY): leave one out; an empty variable counts as none", ""),
    ("[nats]\nuser = 'u'\npassword = 'x'\npassword_file = './p'", "4, column 17: two passwords are given, --password (NATS_PASSWORD) and --password-file: leave one out", ""),
    ("[[sealing_thread]]\nlocation = './a'\n[[sealing_thread]]\nlocation = './a'", "4, column 12: sealing_thread #0 (./a) and #1 (./a) are the same location: give each its own", ""),
    ("[[attached]]\nlocation = './a'\n[[attached]]\nlocation = './a'", "4, column 12: attached #0 (./a) and #1 (./a) are the same directory: remove one of them", ""),
    ("[[attached]]\nname = 'x'\nlocation = './a'\n[[attached]]\nname = 'x'\nlocation = './b'", "5, column 8: attached #0 and #1 have the same name \"x\": give each its own", ""),
    ("[[processors.sealing_daemons]]\nargs = []", "1, column 1: processors.sealing_daemons #0: bin is missing: name the program to keep running", ""),
    // Several at once, each with its line; what only follows from another one is left out.
    ("[worker]\nping_interval = '1ms'\nnmae = 'a'\n[nats]\nlease_ttl = '1ms'", "2, column 17: `worker.ping_interval` is 1ms; it takes a duration of at least 100ms; also, line 3, column 1: unknown key `worker.nmae`; did you mean `worker.name`?; also, line 5, column 13: `nats.lease_ttl` is 1ms; it takes a duration of at least 1s", ""),
    ("[sealing]\nmax_retries = '5'\n[[sealing_thread]]\nlocation = './a'\n[[sealing_thread]]\nlocation = './b'\nsealing.max_retries = -1", "2, column 15: `sealing.max_retries` is the text \"5\"; %; write it without quotes; also, line 7, column 23: `sealing_thread.sealing.max_retries` is the number -1; %", U32),
    ("[[sealing_thread]]\nlocation = './a'\nsealing.disable_cc = true\nsealing.enable_deal = true", "4, column 9: unknown key `sealing_thread.sealing.enable_deal`; did you mean `sealing_thread.sealing.enable_deals`?", ""),
    ("[[processors.sealing_daemons]]\nbin = 7", "2, column 7: `processors.sealing_daemons.bin` is the number 7; it takes a path", ""),
    ("[processors]\next_lock = { gpu = 1 }\n[[processors.c2]]\nbin = 'x'\nlocks = ['gpu']\nweight = 0", "2, column 1: unknown key `processors.ext_lock`; did you mean `processors.ext_locks`?; also, line 6, column 10: `processors.c2.weight` is the number 0; it takes a whole number, 1 or more", ""),
    // Keys in another section.
    ("[sealing]\nping_interval = '5s'", "2, column 1: unknown key `sealing.ping_interval`; `ping_interval` belongs into `[worker]`", ""),
    ("ping_interval = '5s'", "1, column 1: unknown key `ping_interval`; `ping_interval` belongs into `[worker]`", ""),
    ("[worker]\nlocation = 'a'", "2, column 1: unknown key `worker.location`; `location` belongs into `[[sealing_thread]]` or a section like `[[attached]]`", ""),
    ("[worker]\nmax_retries = 5", "2, column 1: unknown key `worker.max_retries`; `max_retries` belongs into `[sealing]`", ""),
    ("[worker]\nbin = 'x'", "2, column 1: unknown key `worker.bin`; `bin` belongs into a section like `[[processors.add_pieces]]`", ""),
    ("[worker.nats]\nserver = 'x'", "1, column 9: unknown key `worker.nats`; it is a section of its own: write `[nats]`", ""),
    ("[[c2]]\nbin = 'x'", "1, column 3: unknown key `c2`; `c2` belongs into `[processors]`", ""),
    ("[sealing]\nping_intervall = '5s'", "2, column 1: unknown key `sealing.ping_intervall`; did you mean `ping_interval`? `ping_interval` belongs into `[worker]`", ""),
    // Names that are nearly right.
    ("[sealing]\nmax_retires = 3", "2, column 1: unknown key `sealing.max_retires`; did you mean `sealing.max_retries`?", ""),
    ("[sealing]\nsizes = ['2KiB']", "2, column 1: unknown key `sealing.sizes`; did you mean `sealing.allowed_sizes`?", ""),
    ("[[thread]]\nlocation = 'a'", "1, column 3: unknown key `thread`; did you mean `sealing_thread`?", ""),
    ("[WORKER]\nname = 'a'", "1, column 2: unknown key `WORKER`; did you mean `worker`?", ""),
    ("[worker]\nping-interval = '1s'", "2, column 1: unknown key `worker.ping-interval`; did you mean `worker.ping_interval`?", ""),
    ("[worker]\nxyzzy = 1", "2, column 1: unknown key `worker.xyzzy`; the keys here are name, ping_interval, grace, local_pieces_dir, local_pieces_dirs, ScanPersistStores, scan_persist_stores", ""),
    // No TOML.
    ("[worker\nname = 'a'", "1, column 8: unclosed table, expected `]`", ""),
    ("[worker]\nname = a", "2, column 8: string values must be quoted, expected literal string", ""),
    ("[worker]\nname = 'a'\nname = 'b'", "3, column 1: duplicate key", ""),
    ("worker:\n  name: a", "1, column 8: key with no value, expected `=`", ""),
];

#[test]
fn each_wrong_input_is_refused_with_its_place_what_was_found_and_what_is_allowed() {
    let differing: Vec<_> = WRONG
        .iter()
        .map(|(text, message, allowed)| (text, refused(text), message.replace('%', allowed)))
        .filter(|(_, said, expected)| said != expected)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn no_message_shows_what_may_be_a_secret() {
    for text in [
        "password = ['hunter2']",
        "password = 42424242",
        "password = 'hunter2",
        "password = hunter2",
        "password = \"hunter2\"x",
        "pasword = 'hunter2'",
        "password = 'hunter2'\npassword = 'hunter2'",
        "nkey = ['hunter2']",
        "creds = 42424242",
        "server = ['nats://u:hunter2@a']",
        "[[processors.c2]]\nargs = ['--token', 42424242]",
        "[[processors.c2]]\nargs = '--token=hunter2'",
        "[[processors.c2]]\nenvs = { API_TOKEN = 42424242 }",
        "[[processors.c2]]\nenvs = 'API_TOKEN=hunter2'",
    ] {
        let said = refused(&format!("[nats]\n{text}"));
        assert!(!said.contains("hunter2") && !said.contains("42424242"), "{text}: {said}");
    }
}

#[test]
fn a_path_that_is_empty_is_refused_wherever_it_stands() {
    for (text, key) in [
        ("[[sealing_thread]]\nlocation = ''", "sealing_thread.location"),
        ("[[attached]]\nlocation = ''", "attached.location"),
        ("[worker]\nlocal_pieces_dirs = ['.', '']", "worker.local_pieces_dirs"),
        ("[processors.static_tree_d]\n2KiB = ''", "processors.static_tree_d.2KiB"),
        ("[[processors.c2]]\nbin = ''", "processors.c2.bin"),
        ("[nats]\ntlsca = ''", "nats.tlsca"),
        ("[nats]\npassword_file = ''", "nats.password_file"),
    ] {
        let said = refused(text);
        assert!(said.starts_with("2, column "), "{said}");
        assert!(
            said.contains(&format!("`{key}` is ")) && said.ends_with("it takes a path"),
            "{said}"
        );
    }
}

// Every key of a worker's file, each with a value.
const WHOLE: &str = "
    [worker]
    name = 'w1'
    ping_interval = '10s'
    grace = '10s'
    local_pieces_dirs = ['.']
    scan_persist_stores = ['./mnt/*']
    [sector_manager]
    piece_token = 'x'
    [sealing]
    allowed_miners = [10000]
    allowed_sizes = ['2KiB']
    enable_deals = true
    disable_cc = false
    max_deals = 1
    min_deal_space = '8GiB'
    max_retries = 1
    seal_interval = '1s'
    recover_interval = '1s'
    request_task_max_retries = 1
    rpc_polling_interval = '1s'
    ignore_proof_check = false
    verify_after_pc2 = false
    [[sealing_thread]]
    location = './nowhere'
    plan = 'sealer'
    [[attached]]
    name = 'remote'
    location = './remote'
    readonly = false
    [processors.limitation]
    concurrent.pc1 = 1
    staggered.pc1 = '1s'
    [processors.ext_locks]
    gpu = 1
    [processors.static_tree_d]
    2KiB = '.'
    [[processors.pc1]]
    bin = 'x'
    args = ['x']
    envs.A = 'x'
    inherit_envs = true
    stable_wait = '1s'
    auto_restart = true
    concurrent = 1
    weight = 1
    locks.gpu = 1
    numa_preferred = 0
    cgroup.cpuset = '0'
    cgroup.group_name = 'x'
    [nats]
    server = 'nats://a'
    timeout = '1s'
    prefix = 'p'
    encoding = 'json'
    lease_ttl = '1s'
    store_patience = '1s'
";

// The ways to all values that are no tables.
fn leaves(value: &toml::Value, at: Vec<String>) -> Vec<Vec<String>> {
    let below: Vec<_> = match value {
        toml::Value::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => return vec![at],
    };
    let on = |key: String| at.iter().cloned().chain([key]).collect();
    below.into_iter().flat_map(|(key, value)| leaves(value, on(key))).collect()
}

fn at_leaf<'a>(file: &'a mut toml::Value, path: &[String]) -> &'a mut toml::Value {
    path.iter().fold(file, |value, step| match value {
        toml::Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
        value => value.get_mut(step).unwrap(),
    })
}

#[test]
fn whatever_stands_at_a_key_is_refused_in_words_of_the_field() {
    let whole: toml::Value = toml::from_str(WHOLE).unwrap();
    let read = |file: &toml::Value| {
        let text = toml::to_string(file).unwrap();
        let read = Document::parse(&text, "w.toml").and_then(|document| Config::read(&document));
        read.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(read(&whole), Ok(()));
    let effective = Effective::of(&Document::parse(WHOLE, "w.toml").unwrap()).unwrap();
    for setting in effective.settings {
        let is_empty = setting.value == serde_json::json!([]);
        assert!(is_empty || setting.origin != Origin::Default, "{} is not tried", setting.key);
    }
    let wrong = ["-7", "true", "'?'", "1.5", "2047-11-04", "[[]]", "[{ x = 1 }]", "{ x = {} }"];
    let wrong = wrong.map(|value| toml::from_str::<toml::Table>(&format!("x = {value}")).unwrap());
    let mut refused = 0;
    for path in leaves(&whole, vec![]) {
        for value in &wrong {
            let mut file = whole.clone();
            *at_leaf(&mut file, &path) = value["x"].clone();
            let Err(said) = read(&file) else { continue };
            refused += 1;
            let key = path.iter().rfind(|step| step.parse::<usize>().is_err()).unwrap();
            assert!(said.contains("line ") && said.contains(key.as_str()), "{path:?}: {said}");
            for word in
                ["u32", "u64", "usize", "struct", "enum", "variant", "sequence", "map", "\n"]
            {
                assert!(!said.contains(word), "{path:?} {}: {said}", value["x"]);
            }
        }
    }
    assert!(refused > 200, "{refused}");
}
