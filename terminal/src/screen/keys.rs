//! What was typed, as keys.

/// A key that does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// As many rows up as are seen.
    PageUp,
    /// As many rows down as are seen.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// Sort by the next column.
    Sort,
    /// Sort the other way round.
    Reverse,
    /// End.
    Quit,
}

// What terminals send, in both modes of their cursor keys.
const KEYS: [(&[u8], Key); 27] = [
    (b"\x1b[A", Key::Up),
    (b"\x1bOA", Key::Up),
    (b"k", Key::Up),
    (b"\x1b[B", Key::Down),
    (b"\x1bOB", Key::Down),
    (b"j", Key::Down),
    (b"\n", Key::Down),
    (b"\r", Key::Down),
    (b"\x1b[5~", Key::PageUp),
    (b"b", Key::PageUp),
    (b"\x1b[6~", Key::PageDown),
    (b" ", Key::PageDown),
    (b"\x1b[H", Key::Top),
    (b"\x1bOH", Key::Top),
    (b"\x1b[1~", Key::Top),
    (b"\x1b[7~", Key::Top),
    (b"g", Key::Top),
    (b"\x1b[F", Key::Bottom),
    (b"\x1bOF", Key::Bottom),
    (b"\x1b[4~", Key::Bottom),
    (b"\x1b[8~", Key::Bottom),
    (b"G", Key::Bottom),
    (b"s", Key::Sort),
    (b"r", Key::Reverse),
    (b"q", Key::Quit),
    (b"Q", Key::Quit),
    (b"\x04", Key::Quit),
];

/// The keys in what was read at once; what is none of them is left out, whole sequences too.
pub(super) fn keys(mut typed: &[u8]) -> Vec<Key> {
    let mut found = Vec::new();
    while !typed.is_empty() {
        let known = KEYS.iter().find(|(bytes, _)| typed.starts_with(bytes));
        let length = match known {
            Some((bytes, key)) => {
                found.push(*key);
                bytes.len()
            }
            None => sequence(typed),
        };
        typed = &typed[length.min(typed.len())..];
    }
    found
}

// How long a control sequence is that nobody knows: to its last byte.
fn sequence(typed: &[u8]) -> usize {
    match typed {
        [0x1b, b'[', rest @ ..] => {
            3 + rest.iter().position(|byte| (0x40..0x7f).contains(byte)).unwrap_or(rest.len())
        }
        [0x1b, b'O', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_alone_and_behind_each_other() {
        assert_eq!(keys(b"q"), [Key::Quit]);
        assert_eq!(keys(b"\x1b[A\x1b[Bj\x1b[6~"), [Key::Up, Key::Down, Key::Down, Key::PageDown]);
        assert_eq!(keys(b"\x1bOAs\x1b[5~r"), [Key::Up, Key::Sort, Key::PageUp, Key::Reverse]);
    }

    #[test]
    fn what_is_no_key_does_nothing() {
        // Shift-F5, a report of the mouse, a lone escape, a text in another alphabet.
        for typed in
            [&b"\x1b[15;2~"[..], b"\x1b[<0;1;1M", b"\x1b", b"\x1b[1;2q", "矿".as_bytes(), b"\x1bOq"]
        {
            assert_eq!(keys(typed), [], "{typed:?}");
        }
    }
}
