//! Durations for people, as the texts of all messages have them.

use std::time::Duration;

/// A duration for people, without blanks: `2.757s`, `17s`, `13m42s`. Milliseconds show below a
/// minute.
pub fn human(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 if !millis.is_multiple_of(1_000) => {
            format!("{}.{:03}s", millis / 1_000, millis % 1_000)
        }
        _ => human_secs(duration),
    }
}

/// A duration in whole seconds, without blanks: `17s`, `13m42s`.
pub fn human_secs(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_without_blanks() {
        let shown = |millis| human(Duration::from_millis(millis));
        assert_eq!(
            (shown(0), shown(999), shown(2_757)),
            ("0ms".into(), "999ms".into(), "2.757s".into())
        );
        assert_eq!((shown(5_000), shown(822_345)), ("5s".into(), "13m42s".into()));
        assert_eq!(human_secs(Duration::from_millis(17_999)), "17s");
        assert_eq!(human_secs(Duration::ZERO), "0s");
    }
}
