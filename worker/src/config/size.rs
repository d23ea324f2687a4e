//! Sizes as operators write them: `8GiB`, `8 GiB`, `8gib`, `0.5GiB`, `8GB`, or a number of bytes.

// Of bytes, kilobytes, …; each is 1,000 times the one before it, or 1,024 with an `i` behind.
const UNITS: &str = "kmgtp";

/// The bytes of a size. Parts of a byte do not count; `None` if it is no size, or too large.
pub(super) fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit_of(&unit.trim_start().to_ascii_lowercase())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    let parts = 10_u128.checked_pow(fraction.len().try_into().ok()?)?;
    let fraction = fraction.parse::<u128>().ok()?.checked_mul(unit)? / parts;
    whole.checked_add(fraction)?.try_into().ok()
}

fn unit_of(name: &str) -> Option<u128> {
    let Some(exponent) = name.chars().next().and_then(|first| UNITS.find(first)) else {
        return matches!(name, "" | "b").then_some(1);
    };
    let step: u128 = match &name[1..] {
        "" | "b" => 1000,
        "i" | "ib" => 1024,
        _ => return None,
    };
    Some(step.pow(exponent as u32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_however_it_is_spelt() {
        for (text, bytes) in [
            ("8GiB", 8 << 30),
            ("8 GiB", 8 << 30),
            ("8gib", 8 << 30),
            ("8 Gi", 8 << 30),
            ("8192MiB", 8 << 30),
            ("0.5GiB", 1 << 29),
            ("8GB", 8_000_000_000),
            ("8G", 8_000_000_000),
            ("1.5 kb", 1500),
            (" 2048 ", 2048),
            ("2048B", 2048),
            ("0.3B", 0),
            ("16383PiB", 16383 << 50),
        ] {
            assert_eq!(bytes_of(text), Some(bytes), "{text}");
        }
        for wrong in [
            "", "GiB", "8 apples", "8XiB", "-8GiB", "8GiBs", "1.2.3GiB", "1.GiB", ".5GiB", "8e9",
            "16384PiB", "8é",
        ] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }
}
