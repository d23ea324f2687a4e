//! Numbers and answers for people.

/// So many of something, whose plural takes an s: `1 thread`, `2 threads`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Names for people: not more than fill a screen, and how many more there are.
pub fn listed<T: ToString>(names: &[T]) -> String {
    const MOST: usize = 20;
    let shown: Vec<_> = names.iter().take(MOST).map(ToString::to_string).collect();
    let more = names.len().saturating_sub(MOST);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Bytes for people: `512B`, `3.5GiB`.
pub fn human_bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let exponent = bytes.max(1).ilog2() / 10;
    match exponent.checked_sub(1).and_then(|unit| units.get(unit as usize)) {
        None => format!("{bytes}B"),
        Some(unit) => format!("{:.1}{unit}", bytes as f64 / (1_u64 << (10 * exponent)) as f64),
    }
}

/// Whether the answer to a question is a clear yes.
pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_in_the_largest_unit_of_which_there_is_one() {
        let all = [0, 1023, 1024, 3_758_096_384, u64::MAX].map(human_bytes);
        assert_eq!(all, ["0B", "1023B", "1.0KiB", "3.5GiB", "16.0EiB"]);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<_> = (0..22).map(|number| format!("w{number}")).collect();
        assert_eq!(listed(&names[..2]), "w0, w1");
        assert!(listed(&names).ends_with("w18, w19 and 2 more"), "{}", listed(&names));
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" Yes "));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yup"));
    }
}
