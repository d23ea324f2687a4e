//! `watchdog`: reads `+<process group>` and `-<process group>` from stdin until its end, then kills
//! the groups that were added and not taken off. See `e2e::watchdog`.

use std::{collections::BTreeSet, io};

use rustix::process::{Pid, Signal, kill_process_group};

fn main() {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lines().map_while(Result::ok) {
        match line.split_at_checked(1) {
            Some(("+", group)) => groups.insert(group.to_owned()),
            Some((_, group)) => groups.remove(group),
            None => continue,
        };
    }
    for group in groups.iter().filter_map(|group| Pid::from_raw(group.parse().ok()?)) {
        // A group that has ended by itself is what we want.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
