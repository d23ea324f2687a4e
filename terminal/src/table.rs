//! Tables: whole for scripts; for people at a terminal as wide as that is, with what fails first.
//!
//! ```text
//!  rows --in order--> cells --cut in the middle until a line fits--> lines, of which some are red
//! ```

use std::{
    cmp::Ordering,
    env,
    io::{IsTerminal, stdout},
};

use clap::{Args, ValueEnum};
use rustix::termios::tcgetwinsize;
use shared_msgs::text::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{CliError, draw, print_more};

/// Between two columns.
const GAP: &str = "  ";
/// Columns whose texts have no end. Where a line does not fit, they are cut before others are.
const LONG: [&str; 12] = [
    "Loc",
    "Location",
    "LastErr",
    "EndPending",
    "Dest",
    "Result",
    "Why",
    "Jobs",
    "AbortReason",
    "Paths",
    "Value",
    "From",
];
/// So much is left of a long column, and of another one.
const LEAST: (usize, usize) = (12, 8);
const RED: (&str, &str) = ("\x1b[31m", "\x1b[0m");

/// How tables look on a terminal.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct LookArgs {
    /// On a terminal, print whole lines and every column, as into a pipe
    #[arg(long)]
    pub full: bool,
    /// Whether rows that fail are red; NO_COLOR turns auto off
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How a table is made into lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether people see it: failing rows stand first.
    pub for_people: bool,
    /// How wide a line may be, if that has a limit.
    pub room: Option<usize>,
    /// Whether failing rows are red.
    pub color: bool,
}

impl Look {
    /// As on stdout.
    pub fn stdout(args: LookArgs) -> Look {
        let for_people = stdout().is_terminal();
        let color = match args.color {
            Color::Auto => for_people && wants_color(),
            Color::Always => true,
            Color::Never => false,
        };
        let room = (for_people && !args.full).then(terminal_size).flatten();
        Look { for_people, room: room.map(|(_, columns)| columns), color }
    }
}

// As <https://no-color.org> has it.
fn wants_color() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The rows and columns of the terminal that stdout is; `None` where it does not say.
pub fn terminal_size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

/// In which order rows stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they are; for people those that fail first.
    #[default]
    Given,
    /// By what a column says.
    By {
        /// Its number among those that are shown.
        column: usize,
        /// The greatest first.
        reversed: bool,
    },
}

/// A row: its cells, in which nothing is hidden, and whether something is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    cells: Vec<String>,
    fails: bool,
}

impl Row {
    /// With these cells.
    pub fn new(cells: Vec<String>) -> Row {
        Row { cells: cells.iter().map(|cell| printable(cell)).collect(), fails: false }
    }

    fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }

    /// Says whether something is wrong with what it shows.
    pub fn failing(self, fails: bool) -> Row {
        Row { fails, ..self }
    }
}

/// Titles, and rows below them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Row>,
    for_scripts: Option<&'static str>,
}

/// A table's lines, without their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The titles.
    pub header: String,
    /// A line each.
    pub rows: Vec<String>,
}

impl Table {
    /// A table of these columns.
    pub fn new(titles: &[&'static str], rows: Vec<Row>) -> Table {
        Table { titles: titles.to_vec(), rows, for_scripts: None }
    }

    /// Leaves a column out where a line has to fit.
    pub fn for_scripts(self, title: &'static str) -> Table {
        Table { for_scripts: Some(title), ..self }
    }

    /// The titles of the columns that are shown.
    pub fn titles(&self, look: &Look) -> Vec<&'static str> {
        self.shown(look).map(|column| self.titles[column]).collect()
    }

    /// The table as a text.
    pub fn text(&self, look: &Look) -> String {
        let Lines { header, rows } = self.lines(look, Order::Given);
        std::iter::once(header).chain(rows).map(|line| line + "\n").collect()
    }

    /// The table as lines.
    pub fn lines(&self, look: &Look, order: Order) -> Lines {
        let columns: Vec<_> = self.shown(look).collect();
        let mut widths: Vec<_> = columns.iter().map(|column| self.width(*column)).collect();
        if let Some(room) = look.room {
            let is_long: Vec<_> =
                columns.iter().map(|column| LONG.contains(&self.titles[*column])).collect();
            fit(&mut widths, &is_long, room.saturating_sub(GAP.len() * (columns.len() - 1)));
        }
        let row = |row: &Row| {
            let cells = columns.iter().map(|column| row.cell(*column));
            let line = aligned(cells, &widths, look.room);
            if row.fails && look.color { format!("{}{line}{}", RED.0, RED.1) } else { line }
        };
        let titles = columns.iter().map(|column| self.titles[*column]);
        Lines {
            header: aligned(titles, &widths, look.room),
            rows: self.in_order(look, order, &columns).into_iter().map(row).collect(),
        }
    }

    fn shown(&self, look: &Look) -> impl Iterator<Item = usize> {
        let left_out = self.for_scripts.filter(|_| look.room.is_some());
        (0..self.titles.len()).filter(move |column| Some(self.titles[*column]) != left_out)
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row.cell(column).width());
        cells.max().unwrap_or(0).max(self.titles[column].width())
    }

    fn in_order(&self, look: &Look, order: Order, columns: &[usize]) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        match order {
            Order::Given if look.for_people => rows.sort_by_key(|row| !row.fails),
            Order::Given => {}
            Order::By { column, reversed } => {
                let column = columns.get(column).copied().unwrap_or(0);
                rows.sort_by(|a, b| by_value(a.cell(column), b.cell(column)));
                if reversed {
                    rows.reverse();
                }
            }
        }
        rows
    }
}

/// What a command shows: a table, or a text as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A table.
    Table(Table),
    /// JSON, or lines.
    Text(String),
}

impl Default for Shown {
    fn default() -> Shown {
        Shown::Text(String::new())
    }
}

impl From<Table> for Shown {
    fn from(table: Table) -> Shown {
        Shown::Table(table)
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Shown {
        Shown::Text(text)
    }
}

impl Shown {
    /// All of it.
    pub fn text(&self, look: &Look) -> String {
        match self {
            Shown::Table(table) => table.text(look),
            Shown::Text(text) => text.clone(),
        }
    }
}

/// Prints it on stdout.
pub fn show(shown: &Shown, look: LookArgs) -> Result<(), CliError> {
    let look = Look::stdout(look);
    put(&shown.text(&look), &look).map(|_| ())
}

/// Writes what was made with that look to stdout. Says whether there is a reader still.
pub(crate) fn put(text: &str, look: &Look) -> Result<bool, CliError> {
    if look.color { draw(text) } else { print_more(text) }
}

/// A whole table without colours.
pub fn table(titles: &[&'static str], rows: Vec<Vec<String>>) -> String {
    Table::new(titles, rows.into_iter().map(Row::new).collect()).text(&Look::default())
}

fn aligned<'a>(
    cells: impl Iterator<Item = &'a str>,
    widths: &[usize],
    room: Option<usize>,
) -> String {
    let padded: Vec<_> = cells.zip(widths).map(|(cell, width)| pad(cell, *width)).collect();
    let line = padded.join(GAP).trim_end().to_owned();
    room.map_or(line.clone(), |room| cut_end(&line, room))
}

// Takes from the widest column until all have room: first from the long ones.
fn fit(widths: &mut [usize], is_long: &[bool], room: usize) {
    let passes: [(usize, &dyn Fn(usize) -> bool); 2] =
        [(LEAST.0, &|column| is_long[column]), (LEAST.1, &|_| true)];
    for (least, takes) in passes {
        while widths.iter().sum::<usize>() > room {
            let candidates = (0..widths.len()).filter(|column| takes(*column));
            let widest = candidates.max_by_key(|column| widths[*column]);
            match widest.filter(|column| widths[*column] > least) {
                Some(column) => widths[column] -= 1,
                None => break,
            }
        }
    }
}

fn pad(text: &str, width: usize) -> String {
    let text = cut_middle(text, width);
    let blanks = width.saturating_sub(text.width());
    text + &" ".repeat(blanks)
}

// Both ends of a path or of an error say more than its middle.
fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let left = width.saturating_sub(1);
    let head = beginning(text.chars(), left.div_ceil(2));
    let tail = beginning(text.chars().rev(), left / 2);
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

pub(crate) fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    beginning(text.chars(), width.saturating_sub(1)).into_iter().chain(['…']).collect()
}

// As many characters as there is room for.
fn beginning(text: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut taken = 0;
    let fits = |character: &char| {
        taken += character.width().unwrap_or(0);
        taken <= room
    };
    text.take_while(fits).collect()
}

// Numbers and durations by what they say, before other texts; what is not there comes last.
fn by_value(a: &str, b: &str) -> Ordering {
    let (rank_a, value_a) = value(a);
    let (rank_b, value_b) = value(b);
    rank_a.cmp(&rank_b).then(value_a.total_cmp(&value_b)).then_with(|| a.cmp(b))
}

fn value(cell: &str) -> (u8, f64) {
    let word = cell.split(' ').next().unwrap_or_default();
    let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
    let duration = || humantime::parse_duration(word).ok().map(|duration| duration.as_secs_f64());
    match number.or_else(duration) {
        Some(value) => (0, value),
        None if matches!(cell, "" | "-") => (2, 0.0),
        None => (1, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        Row::new(cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    fn people(room: usize) -> Look {
        Look { for_people: true, room: Some(room), color: false }
    }

    #[test]
    fn tables_are_aligned_by_width_and_have_no_blanks_at_the_end() {
        let table = Table::new(&["Name", "N"], vec![row(&["矿机 1", "0"]), row(&["w1", "10"])]);
        assert_eq!(table.text(&Look::default()), "Name    N\n矿机 1  0\nw1      10\n");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(&["Name", "N"], vec![]).text(&people(80)), "Name  N\n");
    }

    #[test]
    fn a_cell_is_one_line_in_which_nothing_is_hidden() {
        let table = Table::new(&["Name", "N"], vec![row(&["w\n1\u{202e}", "0"])]);
        assert_eq!(table.text(&Look::default()), "Name          N\nw\\n1\\u{202e}  0\n");
    }

    #[test]
    fn a_line_fits_a_terminal_and_both_ends_of_what_is_long_stay() {
        let location = "/mnt/nvme1/damocles/worker/store1";
        let error = "permanent: No cached parameters found for 矿机 stacked-proof-of-replication";
        let table = Table::new(
            &["Index", "Loc", "SectorID", "LastErr"],
            vec![row(&["0", location, "s-t010000-1", error])],
        );
        let whole = table.text(&Look::default());
        assert!(whole.contains(location) && whole.contains(error));
        let text = table.text(&people(60));
        let expected = "\
Index  Loc                  SectorID     LastErr
0      /mnt/nvme…er/store1  s-t010000-1  permanent…plication
";
        assert_eq!(text, expected);
        for room in 1..120 {
            let text = table.text(&people(room));
            assert!(text.lines().all(|line| line.width() <= room), "{room}: {text}");
        }
        assert_eq!(table.text(&people(200)), whole);
    }

    #[test]
    fn wide_characters_are_cut_by_their_width() {
        assert_eq!(cut_middle("矿机矿机矿机", 7), "矿…机");
        assert_eq!(cut_middle("矿机矿机矿机", 8), "矿机…机");
        assert_eq!(cut_middle("abcdef", 1), "…");
    }

    #[test]
    fn people_see_what_fails_first_and_in_red_and_not_what_is_for_scripts() {
        let rows = vec![row(&["w1", "d1"]), row(&["w2", "d2"]).failing(true)];
        let table = Table::new(&["Name", "Dest"], rows).for_scripts("Dest");
        assert_eq!(table.text(&Look::default()), "Name  Dest\nw1    d1\nw2    d2\n");
        assert_eq!(table.text(&people(80)), "Name\nw2\nw1\n");
        let full = Look { for_people: true, room: None, color: true };
        assert_eq!(table.text(&full), "Name  Dest\n\x1b[31mw2    d2\x1b[0m\nw1    d1\n");
    }

    #[test]
    fn rows_are_sorted_by_what_a_column_says() {
        let ages = ["1h (!)", "2.756s", "-", "48ms", "13m42s", "w"];
        let table = Table::new(&["Age"], ages.map(|age| row(&[age])).to_vec());
        let sorted =
            |reversed| table.lines(&people(80), Order::By { column: 0, reversed }).rows.join(" ");
        assert_eq!(sorted(false), "48ms 2.756s 13m42s 1h (!) w -");
        assert_eq!(sorted(true), "- w 1h (!) 13m42s 2.756s 48ms");
        let counts = Table::new(&["N"], ["10", "9", "100"].map(|count| row(&[count])).to_vec());
        let by = Order::By { column: 0, reversed: false };
        assert_eq!(counts.lines(&people(80), by).rows, ["9", "10", "100"]);
    }
}
