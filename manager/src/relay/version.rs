//! Which versions of damocles's sector manager a relay speaks to.

use shared_msgs::text::{cut_text, printable};

// `WaitSeed` has two parameters since then, and deals the shape that is read since v0.10.
const OLDEST: (u32, u32) = (0, 11);
const MAX_SHOWN_BYTES: usize = 64;

/// The sector manager speaks an older form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sector manager is {0}: a relay speaks to v0.11 and newer")]
pub(crate) struct TooOld(String);

/// Whether a relay can speak to a sector manager that says this version; one that has none, as a
/// build of somebody's own may have, is believed to be new.
pub(super) fn check(version: &str) -> Result<(), TooOld> {
    match parse(version) {
        Some(found) if found < OLDEST => {
            Err(TooOld(format!("version {}", cut_text(&printable(version), MAX_SHOWN_BYTES))))
        }
        None if version.starts_with("older") => Err(TooOld(version.to_owned())),
        _ => Ok(()),
    }
}

// `v0.13.1-prod-4235a895`
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix('v')?.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_sector_manager_is_refused_with_its_version_named() {
        for known in ["v0.13.1-prod-4235a895", "v0.11.0", "v0.11.0-rc1-x", "v1.0.0", "", "main"] {
            assert_eq!(check(known), Ok(()), "{known}");
        }
        for old in ["v0.10.4-prod-x", "v0.7.0", "older than v0.7"] {
            assert!(check(old).unwrap_err().to_string().contains(old), "{old}");
        }
    }
}
