//! What a daemon's log may go into, and cannot.

use std::{
    fs::OpenOptions,
    io::{PipeReader, Write},
    os::fd::OwnedFd,
};

const PIPE_BYTES: usize = 64 << 10;

/// A pipe whose reader has ended.
pub fn dead_pipe() -> OwnedFd {
    std::io::pipe().unwrap().1.into()
}

/// A file on a disk without space.
pub fn full_disk() -> OwnedFd {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// What a terminal is after Ctrl-S: whoever writes waits. Beside it the end that nobody reads from.
pub fn stopped_terminal() -> (PipeReader, OwnedFd) {
    let (unread, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; PIPE_BYTES]).unwrap();
    (unread, writer.into())
}
