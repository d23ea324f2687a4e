//! `store scan`: files of sectors that no thread works on.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use damocles_terminal::{
    CliError, Exit, Output, counted, human_bytes, is_yes, json, jsonl, note, print, say,
    selectors::usage,
    table::{self, Look, LookArgs, Shown, Table, show},
};
use serde::Serialize;
use shared_msgs::sector_manager::SectorId;

use crate::{
    config::Config,
    store::{
        aside::{self, Idle, Why},
        database::{Store, StoreError},
        location::Location,
    },
};

const COLUMNS: [&str; 6] = ["Location", "Sector", "Kind", "Bytes", "Since", "Why"];
const WIDE_COLUMNS: [&str; 3] = ["Plan", "State", "Paths"];

/// Where to look, and what to remove.
#[derive(clap::Args, Debug)]
pub struct ScanArgs {
    /// Locations of sealing threads; with -c, all of that configuration's too
    #[arg(short, long = "location", value_name = "DIR", num_args = 1..)]
    pub locations: Vec<PathBuf>,
    /// Remove the files of these sectors for good
    #[arg(long, value_name = "SECTOR", num_args = 1.., conflicts_with = "remove_all")]
    pub remove: Vec<SectorId>,
    /// Remove all that is kept aside for good
    #[arg(long)]
    pub remove_all: bool,
    /// Remove without a question
    #[arg(short, long)]
    pub force: bool,
    /// How to print what there is
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

// A sector's files in one location.
#[derive(Serialize)]
struct Row<'a> {
    location: String,
    sector: String,
    kind: &'static str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<u64>,
    reason: &'a str,
    plan: &'a str,
    state: &'a str,
    paths: Vec<String>,
}

struct Scanned {
    location: Location,
    idle: Vec<Idle>,
    // Keeps a worker out until what was found is dealt with.
    _lock: Option<Store>,
}

pub(super) async fn run(args: &ScanArgs, config: Option<&Path>) -> Result<(), CliError> {
    let mut scanned = vec![];
    for location in locations(args, config)? {
        scanned.push(scan(location).await?);
    }
    let all = || {
        scanned.iter().flat_map(|scanned| scanned.idle.iter().map(|idle| (&scanned.location, idle)))
    };
    if args.remove.is_empty() && !args.remove_all {
        let rows = all().map(|(location, idle)| row(location, idle)).collect();
        return show(&render(rows, args.output)?, args.look);
    }
    let wanted = |idle: &Idle| {
        args.remove.contains(&idle.sector) || (args.remove_all && matches!(idle.why, Why::Aside(_)))
    };
    if let Some(missing) =
        args.remove.iter().find(|sector| !all().any(|(_, idle)| idle.sector == **sector))
    {
        let none =
            format!("no files of {missing} are there that nobody works on: nothing was removed");
        return Err(CliError::new(Exit::NotFound, none));
    }
    let chosen: Vec<_> = all().filter(|(_, idle)| wanted(idle)).collect();
    let rows = || chosen.iter().map(|(location, idle)| row(location, idle)).collect::<Vec<_>>();
    if !args.force && !chosen.is_empty() && !confirmed(rows())? {
        note("nothing was removed");
        return Ok(());
    }
    for (_, idle) in &chosen {
        idle.remove().map_err(|error| {
            CliError::new(Exit::Failed, format!("{} is not removed: {error}", idle.sector))
        })?;
    }
    match args.output {
        Output::Plain | Output::Table | Output::Wide => {
            print(&format!("{} removed\n", sum(&rows())))
        }
        Output::Json | Output::Jsonl => show(&render(rows(), args.output)?, args.look),
    }
}

fn locations(args: &ScanArgs, config: Option<&Path>) -> Result<Vec<Location>, CliError> {
    if args.locations.is_empty() && config.is_none() {
        return Err(usage(
            "no location is named: write -l DIR, or -c FILE for all of a configuration",
        ));
    }
    let failed = |error: String| CliError::new(Exit::Failed, error);
    let config = config.map(Config::load).transpose()?;
    let configured =
        config.into_iter().flat_map(|(config, _)| config.threads).map(|thread| thread.location);
    let mut locations: Vec<Location> = vec![];
    for path in args.locations.iter().cloned().chain(configured) {
        let location = Location::existing(&path).map_err(|error| failed(error.to_string()))?;
        if !locations.contains(&location) {
            locations.push(location);
        }
    }
    Ok(locations)
}

async fn scan(location: Location) -> Result<Scanned, CliError> {
    let path = location.path().display().to_string();
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Failed, format!("{path} cannot be read: {error}"))
    };
    let mut idle = aside::kept(&location).map_err(|error| failed(&error))?;
    let lock = match sector_in_hand(&location).await {
        Ok((sector, store)) => {
            idle.extend(aside::not_in_hand(&location, sector).map_err(|error| failed(&error))?);
            store
        }
        Err(error) => {
            let why = match error {
                StoreError::InUse(_) => format!("{path} is in use by a worker"),
                error => error.to_string(),
            };
            note(&format!("{why}: only what is kept aside is shown"));
            None
        }
    };
    Ok(Scanned { location, idle, _lock: lock })
}

// The store keeps it for as long as it is held. One that is not there speaks of no sector, and must
// not be made here.
async fn sector_in_hand(
    location: &Location,
) -> Result<(Option<SectorId>, Option<Store>), StoreError> {
    let file = location.store_file();
    if !file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        return Ok((None, None));
    }
    let store = Store::file(&file, Arc::default());
    store.open()?;
    let sector = store.load().await?.and_then(|record| Some(record.sector()?.allocated.id));
    Ok((sector, Some(store)))
}

fn row<'a>(location: &Location, idle: &'a Idle) -> Row<'a> {
    let (kind, note) = match &idle.why {
        Why::Aside(note) => ("kept aside", note.as_deref()),
        Why::NotInHand => ("not in hand", None),
    };
    let reason = match (&idle.why, note) {
        (_, Some(note)) => note.reason.as_str(),
        (Why::Aside(_), None) => "its note is gone, or cannot be read",
        (Why::NotInHand, None) => "the thread's record does not speak of it",
    };
    Row {
        location: location.path().display().to_string(),
        sector: idle.sector.to_string(),
        kind,
        bytes: idle.bytes,
        since_ms: note.map(|note| note.since_ms),
        reason,
        plan: note.map_or("", |note| &note.plan),
        state: note.map_or("", |note| &note.state),
        paths: idle.paths.iter().map(|path| path.display().to_string()).collect(),
    }
}

fn render(rows: Vec<Row<'_>>, output: Output) -> Result<Shown, CliError> {
    let table = |more: &[&'static str], cells: fn(&Row<'_>) -> Vec<String>| {
        let rows = rows.iter().map(|row| table::Row::new(cells(row)));
        Table::new(&[&COLUMNS[..], more].concat(), rows.collect())
    };
    Ok(match output {
        Output::Json => json(&rows)?.into(),
        Output::Jsonl => jsonl(&rows)?.into(),
        Output::Plain | Output::Table => table(&[], cells).into(),
        Output::Wide => table(&WIDE_COLUMNS, wide_cells).into(),
    })
}

fn cells(row: &Row<'_>) -> Vec<String> {
    let since = row.since_ms.map_or_else(|| "-".to_owned(), time);
    vec![
        row.location.clone(),
        row.sector.clone(),
        row.kind.to_owned(),
        human_bytes(row.bytes),
        since,
        row.reason.to_owned(),
    ]
}

fn wide_cells(row: &Row<'_>) -> Vec<String> {
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [cells(row), vec![dash(row.plan), dash(row.state), row.paths.join(" ")]].concat()
}

fn time(since_ms: u64) -> String {
    // The year 9999 is the last one that RFC 3339 can write.
    const LAST_MS: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(since_ms.min(LAST_MS)))
        .to_string()
}

fn sum(rows: &[Row<'_>]) -> String {
    let bytes = rows.iter().map(|row| row.bytes).sum();
    format!("{} ({})", counted(rows.len(), "sector"), human_bytes(bytes))
}

// Asks whoever sits at a terminal; a script has nobody to answer.
fn confirmed(rows: Vec<Row<'_>>) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let refused = format!(
            "{} would be removed for good, and nobody is here to ask: nothing was removed",
            sum(&rows)
        );
        return Err(CliError::new(Exit::Usage, refused).hint("give --force (-f)"));
    }
    let question = format!("Remove {} for good?", sum(&rows));
    let table = render(rows, Output::Table)?.text(&Look::default());
    say(&format!("{table}{question} [y/N] "));
    Ok(io::stdin().lines().next().transpose()?.is_some_and(|answer| is_yes(&answer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::aside::Note;

    #[test]
    fn the_table_says_what_is_there_since_when_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::at(directory.path()).unwrap();
        let sector = SectorId { miner: 10000, number: 2 };
        let note = Note {
            sector,
            plan: "sealer".into(),
            state: "C1Done".into(),
            reason: "x".into(),
            since_ms: 1_700_000_000_123,
            record: None,
        };
        let idle = |why| Idle { sector, why, bytes: 2048, paths: vec!["/p".into()] };
        let all =
            [idle(Why::Aside(Some(note.into()))), idle(Why::Aside(None)), idle(Why::NotInHand)];
        let rows = || all.iter().map(|idle| row(&location, idle)).collect::<Vec<_>>();
        let shown = [
            vec!["s-t010000-2", "kept aside", "2.0KiB", "2023-11-14T22:13:20Z", "x"],
            vec!["s-t010000-2", "kept aside", "2.0KiB", "-", "its note is gone, or cannot be read"],
            vec![
                "s-t010000-2",
                "not in hand",
                "2.0KiB",
                "-",
                "the thread's record does not speak of it",
            ],
        ];
        assert_eq!(rows().iter().map(|row| cells(row)[1..].to_vec()).collect::<Vec<_>>(), shown);
        assert_eq!(wide_cells(&rows()[0])[6..], ["sealer", "C1Done", "/p"]);
        assert_eq!(sum(&rows()), "3 sectors (6.0KiB)");
        let json: serde_json::Value =
            serde_json::from_str(&render(rows(), Output::Json).unwrap().text(&Look::default()))
                .unwrap();
        assert_eq!(
            (&json[0]["kind"], &json[0]["bytes"], &json[0]["since_ms"]),
            (&"kept aside".into(), &2048.into(), &1_700_000_000_123_u64.into())
        );
    }
}
