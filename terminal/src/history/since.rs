//! Since when, as it is typed.

use async_nats::datetime::parse_rfc3339;
use damocles_client::history::Since;

/// Reads how long ago something was (`1h`, `7d`), or when: `2026-11-26T08:00:00+08:00`,
/// `2026-11-26 08:00`, `2026-11-26`, `yesterday`, `today`; in UTC where no offset is given.
pub(super) fn since(text: &str) -> Result<Since, String> {
    match text {
        "today" => return Ok(Since::Midnight { days_ago: 0 }),
        "yesterday" => return Ok(Since::Midnight { days_ago: 1 }),
        _ => {}
    }
    let ago = humantime::parse_duration(text).ok().map(Since::Ago);
    let at = || unix_ms(text).map(Since::At);
    ago.or_else(at).ok_or_else(|| {
        "write how long ago (1h, 7d), or when: 2026-11-26, '2026-11-26 08:00', 2026-11-26T08:00:00+08:00, yesterday, today".into()
    })
}

fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let (clock, offset) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let seconds = if clock.matches(':').count() == 1 { ":00" } else { "" };
    let offset = if offset.is_empty() { "Z" } else { offset };
    let at = parse_rfc3339(&format!("{date}T{clock}{seconds}{offset}")).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_so_long_ago_or_a_date() {
        assert_eq!(since("1h"), Ok(Since::Ago(Duration::from_secs(3_600))));
        assert_eq!(since("yesterday"), Ok(Since::Midnight { days_ago: 1 }));
        assert_eq!(since("today"), Ok(Since::Midnight { days_ago: 0 }));
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-15T06:13:20+08:00",
            "2023-11-14 19:13:20-03:00",
            "2023-11-14T22:13:20.000Z",
        ] {
            assert_eq!(since(text), Ok(Since::At(1_700_000_000_000)), "{text}");
        }
        assert_eq!(since("2023-11-14 22:13"), Ok(Since::At(1_699_999_980_000)));
        assert_eq!(since("2023-11-14"), Ok(Since::At(1_699_920_000_000)));
    }

    #[test]
    fn what_is_no_time_is_told_what_is() {
        for text in ["", "soon", "2023-13-14", "2023-11-14T25:00", "14.11.2023", "1x", "22:13"] {
            assert!(since(text).is_err_and(|error| error.contains("2026-11-26")), "{text}");
        }
    }
}
