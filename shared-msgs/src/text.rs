//! Texts that have to fit.

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cut_text_fits_and_is_a_prefix(text in "\\PC{0,40}", max in 0usize..60) {
            let cut = cut_text(&text, max);
            prop_assert!(cut.len() <= max.max(text.len().min(max)));
            prop_assert!(text.starts_with(cut.strip_suffix(CUT_MARK).unwrap_or(&cut)));
        }
    }
}
