//! The processes of this machine, as `/proc` shows them (Linux only: `proc_pid_stat(5)`,
//! `proc_pid_environ(5)`).

use std::{fs, io, path::Path};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which somebody else may have once it was reaped.
    pub pid: i32,
    /// The number of its group, which nobody else has while there is somebody in it.
    pub group: i32,
    /// When it started, in ticks since the machine did. With the number it names one process of one
    /// boot.
    pub started: u64,
    /// The first 15 bytes of its program's name.
    pub name: String,
    ended: bool,
}

impl Process {
    /// The process that has this number now; one that nobody has reaped yet has ended.
    pub fn find(pid: i32) -> Option<Process> {
        parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// All that have not ended.
    pub fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(Process::find).filter(|process| !process.ended).collect()
    }

    /// One that has this file open, if we may look.
    pub fn holding(file: &Path) -> Option<Process> {
        let file = file.canonicalize().ok()?;
        Process::all().into_iter().find(|process| {
            let open = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten();
            open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == file))
        })
    }

    /// Whether both are one process.
    pub fn is(&self, other: &Process) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Whether it has not ended yet.
    pub fn lives(&self) -> bool {
        Process::find(self.pid).is_some_and(|now| now.is(self) && !now.ended)
    }

    /// A variable of the environment that its program was started with, if we may look.
    pub fn variable(&self, name: &str) -> Option<String> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let value = |entry: &[u8]| {
            Some(
                String::from_utf8_lossy(entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?)
                    .into_owned(),
            )
        };
        environment.split(|byte| *byte == 0).find_map(value)
    }

    /// Sends it a signal; one that has ended needs none.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // The handle is for whoever has the number now; from here on that does not change.
            Ok(handle) if self.lives() => Ok(pidfd_send_signal(handle, signal)?),
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

// The name is in parentheses and may hold some itself. Fields are counted from the state, which is
// the third of all.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let (state, group, threads, started) =
        (*fields.first()?, fields.get(2)?, fields.get(17)?, fields.get(19)?);
    // The first thread may end before the others, and then looks like a process that has.
    let ended = state == "X" || state == "Z" && threads.parse::<u64>().ok()? <= 1;
    Some(Process {
        pid: pid.parse().ok()?,
        group: group.parse().ok()?,
        started: started.parse().ok()?,
        name: name.to_owned(),
        ended,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn stat(state: &str, threads: u32) -> String {
        format!(
            "4711 (a) b (c)) {state} 1 4242 4000 0 -1 4194304 103 0 0 0 0 0 0 0 20 0 {threads} 0 94619 3133440 415"
        )
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let process = Process {
            pid: 4711,
            group: 4242,
            started: 94619,
            name: "a) b (c)".into(),
            ended: false,
        };
        assert_eq!(parse(&stat("S", 3)), Some(process));
        for wrong in ["", "4711", "4711 (x", "4711 (x) S 1", "x (x) S 1 2 3"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn who_waits_to_be_reaped_has_ended_and_who_has_lost_its_first_thread_has_not() {
        let ended = |state, threads| parse(&stat(state, threads)).unwrap().ended;
        assert!(ended("Z", 1) && ended("X", 0) && ended("Z", 0));
        assert!(!ended("Z", 2) && !ended("D", 1) && !ended("T", 1));
    }

    #[test]
    fn a_signal_reaches_the_process_that_was_meant_and_nobody_who_has_its_number() {
        let mut child = Command::new("sleep").arg("60").env("OF_THIS_TEST", "yes").spawn().unwrap();
        let found = Process::find(child.id().try_into().unwrap()).unwrap();
        // Its program's environment is there a moment after its program.
        while found.variable("OF_THIS_TEST").as_deref() != Some("yes") {
            std::thread::yield_now();
        }
        assert_eq!(found.variable("OF_THIS"), None);
        let is_shown = || Process::all().iter().any(|process| process.is(&found));
        assert!(is_shown());
        let earlier = Process { started: found.started - 1, ..found.clone() };
        assert!(!earlier.lives());
        earlier.signal(Signal::KILL).unwrap();
        assert!(found.lives());
        found.signal(Signal::KILL).unwrap();
        while found.lives() {
            std::thread::yield_now();
        }
        // It is not reaped yet.
        assert!(Process::find(found.pid).is_some() && !is_shown());
        found.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        found.signal(Signal::KILL).unwrap();
    }
}
