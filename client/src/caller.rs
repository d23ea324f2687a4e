//! Who gives a command, `alice@host`: for the log and the history of whoever gets it. It is said, and
//! proves nothing.

use shared_msgs::text::printable;

// Room for a name and a host.
const MAX_BYTES: usize = 128;

/// Why a text cannot say who gives a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// It has more than 128 bytes, or none.
    #[error("it has {0} bytes; 1 to {MAX_BYTES} can be")]
    Length(usize),
    /// Some of it would not be seen, or act on a terminal.
    #[error("it has control characters, or others that cannot be seen")]
    Hidden,
}

/// A name as commands carry it: at this host, unless it names one itself.
pub fn named(name: &str) -> Result<String, NoName> {
    let length = name.len();
    if !(1..=MAX_BYTES).contains(&length) {
        return Err(NoName::Length(length));
    }
    if printable(name) != name {
        return Err(NoName::Hidden);
    }
    if name.contains('@') {
        return Ok(name.to_owned());
    }
    Ok(format!("{name}@{}", rustix::system::uname().nodename().to_string_lossy()))
}

/// Who runs this process, `user@host`: behind sudo or doas whoever ran that.
pub fn caller() -> String {
    chosen(|variable| std::env::var(variable).ok())
}

fn chosen(variable: impl Fn(&str) -> Option<String>) -> String {
    let variables = ["SUDO_USER", "DOAS_USER", "USER", "LOGNAME"];
    let known = variables.into_iter().filter_map(variable).find_map(|user| named(&user).ok());
    let uid = || format!("uid-{}", rustix::process::getuid().as_raw());
    known.unwrap_or_else(|| named(&uid()).unwrap_or_else(|_| uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(environment: &[(&str, &str)]) -> String {
        let caller = chosen(|variable| {
            let known = environment.iter().find(|(name, _)| *name == variable);
            known.map(|(_, value)| (*value).to_owned())
        });
        let (user, host) = caller.split_once('@').unwrap();
        assert!(!host.is_empty(), "{caller}");
        user.to_owned()
    }

    #[test]
    fn behind_sudo_it_is_who_ran_that() {
        let root = ("USER", "root");
        assert_eq!(user(&[root]), "root");
        assert_eq!(user(&[root, ("SUDO_USER", "alice")]), "alice");
        assert_eq!(user(&[root, ("DOAS_USER", "bob")]), "bob");
        assert_eq!(user(&[("LOGNAME", "carol")]), "carol");
    }

    #[test]
    fn what_says_nothing_is_passed_over() {
        let long = "x".repeat(129);
        for nothing in ["", "a\nb", "\u{9b}", &long] {
            assert_eq!(user(&[("SUDO_USER", nothing), ("USER", "alice")]), "alice", "{nothing:?}");
        }
        assert!(user(&[]).starts_with("uid-"));
    }

    #[test]
    fn a_name_may_name_its_host_and_is_one_short_line() {
        assert_eq!(named("ops@bastion"), Ok("ops@bastion".into()));
        assert!(named("ops").unwrap().starts_with("ops@"));
        assert_eq!(named(""), Err(NoName::Length(0)));
        assert_eq!(named(&"x".repeat(129)), Err(NoName::Length(129)));
        assert_eq!(named("a\u{1b}[31m"), Err(NoName::Hidden));
    }
}
