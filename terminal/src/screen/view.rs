//! What is seen of a frame, and what keys change of that. Pure.

use std::ops::ControlFlow;

use shared_msgs::text::printable;

use super::{Frame, keys::Key};
use crate::table::{Lines, Look, Order, Shown, cut_end};

/// The newest frame, from which row on it is seen, and how it is sorted.
#[derive(Debug)]
pub(super) struct View {
    pub(super) frame: Frame,
    has_keys: bool,
    top: usize,
    order: Order,
    // What was drawn last: how many rows there are, how many were seen, and the columns.
    rows: usize,
    seen: usize,
    columns: Vec<&'static str>,
}

impl View {
    pub(super) fn new(frame: Frame, has_keys: bool) -> View {
        let order = Order::Given;
        View { frame, has_keys, top: 0, order, rows: 0, seen: 0, columns: Vec::new() }
    }

    /// Does what a key is for; breaks where that is to end.
    pub(super) fn press(&mut self, key: Key) -> ControlFlow<()> {
        let page = self.seen.max(1);
        match key {
            Key::Up => self.top = self.top.saturating_sub(1),
            Key::Down => self.top += 1,
            Key::PageUp => self.top = self.top.saturating_sub(page),
            Key::PageDown => self.top += page,
            Key::Top => self.top = 0,
            Key::Bottom => self.top = self.rows,
            Key::Sort => {
                let column = match self.order {
                    Order::Given => 0,
                    Order::By { column, .. } => column + 1,
                };
                let is_there = column < self.columns.len();
                self.order =
                    if is_there { Order::By { column, reversed: false } } else { Order::Given };
            }
            Key::Reverse => match &mut self.order {
                Order::By { reversed, .. } => *reversed = !*reversed,
                Order::Given => {}
            },
            Key::Quit => return ControlFlow::Break(()),
        }
        self.top = self.top.min(self.rows.saturating_sub(self.seen));
        ControlFlow::Continue(())
    }

    /// The whole screen, from its upper left corner on: the header, what is seen of the rows, and
    /// in any case the notes. Each line and the rest of the screen is cleared after it.
    pub(super) fn drawn(&mut self, height: usize, look: &Look) -> String {
        let (header, rows) = match &self.frame.shown {
            Shown::Table(table) => {
                self.columns = table.titles(look);
                let Lines { header, rows } = table.lines(look, self.order);
                (Some(header), rows)
            }
            Shown::Text(text) => (None, text.lines().map(str::to_owned).collect()),
        };
        let notes: Vec<_> =
            self.frame.notes.iter().map(|text| format!("note: {}", printable(text))).collect();
        let others = header.iter().len() + notes.len();
        let room = height.saturating_sub(others);
        // A line says how it goes on where not all is seen, or where keys do something.
        let needs_status = self.has_keys || rows.len() > room;
        (self.rows, self.seen) = (rows.len(), room.saturating_sub(usize::from(needs_status)));
        self.top = self.top.min(self.rows.saturating_sub(self.seen));
        let status = needs_status.then(|| self.status(look));
        let seen = rows.into_iter().skip(self.top).take(self.seen);
        let lines = header.into_iter().chain(seen).chain(notes).chain(status);
        let lines: Vec<_> = lines.take(height.max(1)).collect();
        format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n"))
    }

    // `1-20 of 300 · by Name, reversed · q quit …`
    fn status(&self, look: &Look) -> String {
        let last = (self.top + self.seen).min(self.rows);
        let mut parts = Vec::new();
        match self.seen {
            0 => parts.push(format!("{} rows", self.rows)),
            seen if seen < self.rows => {
                parts.push(format!("{}-{last} of {}", self.top + 1, self.rows));
            }
            _ => {}
        }
        if let Order::By { column, reversed } = self.order {
            let title = self.columns.get(column).copied().unwrap_or_default();
            parts.push(format!("by {title}{}", if reversed { ", reversed" } else { "" }));
        }
        if self.has_keys {
            parts.push("q quit · ↑↓ scroll · s sort · r reverse".into());
        }
        let status = parts.join(" · ");
        look.room.map_or(status.clone(), |room| cut_end(&status, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Row, Table};

    const LOOK: Look = Look { for_people: true, room: Some(80), color: false };
    const KEYS: &str = "q quit · ↑↓ scroll · s sort · r reverse";

    fn frame(rows: &[&str], notes: &[&str]) -> Frame {
        let rows = rows.iter().map(|name| Row::new(vec![(*name).to_owned()])).collect();
        Frame {
            shown: Shown::Table(Table::new(&["Name"], rows)),
            notes: notes.iter().map(|text| text.to_string()).collect(),
            ..Frame::default()
        }
    }

    fn lines(view: &mut View, height: usize) -> Vec<String> {
        let drawn = view.drawn(height, &LOOK);
        let lines = drawn.strip_prefix("\x1b[H").unwrap().strip_suffix("\x1b[K\x1b[J").unwrap();
        lines.split("\x1b[K\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_drawn_frame_fits_and_clears_what_was_there() {
        let mut view = View::new(frame(&["a", "b"], &["n\u{1b}"]), false);
        assert_eq!(
            view.drawn(24, &LOOK),
            "\x1b[HName\x1b[K\na\x1b[K\nb\x1b[K\nnote: n\\u{1b}\x1b[K\x1b[J"
        );
        assert_eq!(lines(&mut view, 4), ["Name", "a", "b", "note: n\\u{1b}"]);
        assert_eq!(lines(&mut view, 3), ["Name", "note: n\\u{1b}", "2 rows"]);
        for height in 0..9 {
            for notes in 0..3 {
                let mut view = View::new(frame(&["a", "b", "c", "d"], &["n"; 3][..notes]), true);
                assert!(lines(&mut view, height).len() <= height.max(1), "{height} {notes}");
            }
        }
    }

    #[test]
    fn keys_scroll_between_the_first_row_and_the_last() {
        let rows = ["a", "b", "c", "d", "e"];
        let mut view = View::new(frame(&rows, &[]), true);
        let seen = |view: &mut View| lines(view, 4)[1..3].join("");
        assert_eq!(seen(&mut view), "ab");
        for (key, expected) in [
            (Key::Up, "ab"),
            (Key::Down, "bc"),
            (Key::PageDown, "de"),
            (Key::Down, "de"),
            (Key::PageUp, "bc"),
            (Key::Bottom, "de"),
            (Key::Top, "ab"),
        ] {
            assert!(view.press(key).is_continue());
            assert_eq!(seen(&mut view), expected, "{key:?}");
        }
        assert_eq!(lines(&mut view, 4)[3], format!("1-2 of 5 · {KEYS}"));
        view.press(Key::Bottom).is_continue();
        view.frame = frame(&rows[..2], &[]);
        assert_eq!(seen(&mut view), "ab", "what is shown gets shorter");
        assert!(view.press(Key::Quit).is_break());
    }

    #[test]
    fn a_key_goes_through_the_columns_and_another_one_reverses() {
        let rows = [["b", "1"], ["a", "2"]];
        let rows = rows.map(|cells| Row::new(cells.map(str::to_owned).to_vec())).to_vec();
        let table = Table::new(&["Name", "N"], rows);
        let mut view = View::new(Frame { shown: Shown::Table(table), ..Frame::default() }, true);
        let first = |view: &mut View| {
            let lines = lines(view, 24);
            (lines[1].clone(), lines[3].clone())
        };
        assert_eq!(first(&mut view), ("b     1".into(), KEYS.into()));
        for (key, row, status) in [
            (Key::Sort, "a     2", format!("by Name · {KEYS}")),
            (Key::Reverse, "b     1", format!("by Name, reversed · {KEYS}")),
            (Key::Sort, "b     1", format!("by N · {KEYS}")),
            (Key::Reverse, "a     2", format!("by N, reversed · {KEYS}")),
            (Key::Sort, "b     1", KEYS.into()),
            (Key::Reverse, "b     1", KEYS.into()),
        ] {
            assert!(view.press(key).is_continue());
            assert_eq!(first(&mut view), (row.into(), status), "{key:?}");
        }
    }
}
