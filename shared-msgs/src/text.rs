//! Texts that have to fit, and texts of others that are shown to somebody.

const CUT_MARK: &str = "… (cut)";

/// Cuts a text to at most `max_bytes`, on a character boundary, with a mark that it was cut.
pub fn cut_text(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let mark = if max_bytes >= CUT_MARK.len() { CUT_MARK } else { "" };
    let end = text.floor_char_boundary(max_bytes - mark.len());
    format!("{}{mark}", &text[..end])
}

/// A text of others as one line for people: what would not be seen, or would do something to the
/// terminal or to the text beside it, is escaped as in Rust (`\n`, `\u{9b}`).
///
/// These are control characters and line ends, blanks other than the ordinary one, everything that
/// has no width of its own (zero-width, bidirectional and other format characters, joiners,
/// variation selectors, combining marks) or no glyph (fillers), and what Unicode has not assigned.
/// Chinese and emoji stay; an emoji that is joined of several is shown as those, with `\u{200d}`
/// between, for two names that differ must not look alike.
pub fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// Like [`printable`] for several lines: their ends stay.
pub fn printable_lines(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

/// A JSON text that says the same and in which the same characters are escaped as in
/// [`printable`], by JSON's rules: `\u009b`.
pub fn printable_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, character| {
        // Outside of its strings JSON has nothing of the kind but line ends.
        if character == '\n' || !is_hidden(character) {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out += &format!("\\u{unit:04x}");
            }
        }
        out
    })
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        if is_hidden(character) && !stays(character) {
            match character {
                '\0' | '\t' | '\n' | '\r' => out.extend(character.escape_debug()),
                other => out.extend(other.escape_unicode()),
            }
        } else {
            out.push(character);
        }
        out
    })
}

// `escape_debug` knows what Unicode calls printable, and what joins the character before. It
// escapes quotes for Rust's sake, and takes letters and symbols that are blank as they are.
fn is_hidden(character: char) -> bool {
    match character {
        '\'' | '"' | '\\' => false,
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => true,
        other => other.escape_debug().len() > 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_seen_stays() {
        for text in ["127.0.0.1", "矿机 1", "é ü ß Ж", "💾🧑🏽", "a\"b'c\\d", "10 µs … → ✓"]
        {
            assert_eq!(printable(text), text);
            assert_eq!(printable_json(text), text);
        }
    }

    #[test]
    fn what_is_not_seen_is_escaped() {
        for (text, shown) in [
            ("a\u{1b}[31mb\nc\r\td\0", "a\\u{1b}[31mb\\nc\\r\\td\\0"),
            ("\u{7f}\u{85}\u{9b}31m", "\\u{7f}\\u{85}\\u{9b}31m"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("a\u{a0}b\u{3000}", "a\\u{a0}b\\u{3000}"),
            ("🧑\u{200d}🚀 ❤\u{fe0f}", "🧑\\u{200d}🚀 ❤\\u{fe0f}"),
            ("e\u{301}", "e\\u{301}"),
            ("\u{3164}\u{2800}\u{378}\u{e000}", "\\u{3164}\\u{2800}\\u{378}\\u{e000}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let formats = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}', '\u{fff9}', '\u{110bd}'];
        let ranges = [
            '\u{200b}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{e0000}'..='\u{e007f}',
            '\u{e0100}'..='\u{e01ef}',
        ];
        for character in formats.into_iter().chain(ranges.into_iter().flatten()) {
            let code = u32::from(character);
            assert_eq!(printable(&character.to_string()), format!("\\u{{{code:x}}}"));
        }
    }

    #[test]
    fn of_several_lines_only_the_ends_stay() {
        assert_eq!(printable_lines("a\nb\r\u{202e}\n"), "a\nb\\r\\u{202e}\n");
    }

    #[test]
    fn json_is_escaped_by_its_own_rules() {
        let json = "{\n  \"a\": \"\u{9b}\u{7f}\u{202e}\u{e0041}\"\n}\n";
        let shown = "{\n  \"a\": \"\\u009b\\u007f\\u202e\\udb40\\udc41\"\n}\n";
        assert_eq!(printable_json(json), shown);
    }

    proptest! {
        #[test]
        fn json_says_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = printable_json(&json);
            prop_assert_eq!(printable_json(&shown), shown.clone());
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn nothing_is_hidden_in_what_is_shown(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert_eq!(printable_lines(&shown), shown);
        }

        #[test]
        fn a_cut_text_fits_and_is_a_prefix(text in "\\PC{0,40}", max in 0usize..60) {
            let cut = cut_text(&text, max);
            prop_assert!(cut.len() <= max.max(text.len().min(max)));
            prop_assert!(text.starts_with(cut.strip_suffix(CUT_MARK).unwrap_or(&cut)));
        }
    }
}
