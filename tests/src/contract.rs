//! What others rely on, as files in `tests/contract/`: a change of it is a diff there.
//! `EXPECTORATE=overwrite` writes them anew.

use crate::repository;

/// Fails the test unless the file has this text.
#[track_caller]
pub fn assert_is(file: &str, text: &str) {
    expectorate::assert_contents(repository().join("tests/contract").join(file), text);
}
