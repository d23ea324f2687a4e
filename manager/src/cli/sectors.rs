//! `util sealer sectors`: the sectors of the mock sector manager, and work on them.

use clap::{Args, Subcommand};
use damocles_client::caller::caller;
use damocles_terminal::{
    CliError, Exit, Output, ReplyOutput, json, jsonl, print, print_done, printable,
    table::{LookArgs, Row, Table, show},
    verbs::ByArgs,
};
use serde::Serialize;
use shared_msgs::{
    sector_manager::{PieceCidError, SectorId, piece_commitment},
    sectors::*,
};

use super::session::{Session, next_page};

const COLUMNS: [&str; 6] = ["Sector", "Plan", "State", "Deals", "Store", "CommR"];
const WIDE_COLUMNS: [&str; 4] = ["Proof", "CommD", "Jobs", "AbortReason"];

/// What to do with the sectors.
#[derive(Subcommand, Debug)]
pub enum SectorsCommand {
    /// List the sectors that were allocated
    #[command(
        after_help = "-o wide adds what is, and was, done with a sector since it is finished, and why it failed.

Examples:
  damocles-manager util sealer sectors list
  damocles-manager util sealer sectors list -o wide
  damocles-manager util sealer sectors list -o jsonl \\
      | jq -r 'select(.finalized | not) | .id'"
    )]
    List(ListArgs),
    /// Have a finished sector sealed again, by a thread of plan rebuild
    #[command(
        after_help = "The sector keeps its ticket and its deals, and so its commitments; an upgraded one is upgraded again.

Example:
  damocles-manager util sealer sectors rebuild s-t010000-2"
    )]
    Rebuild(SectorArgs),
    /// Have a piece taken out of a finished sector, by a thread of plan unseal
    #[command(
        after_help = "Without --dest the worker leaves the bytes, named after the piece, in the first directory of its local_pieces_dirs.
They are the piece's: the deal's bytes, and zeros up to the piece's size.

Examples:
  damocles-manager util sealer sectors unseal s-t010000-2
  damocles-manager util sealer sectors unseal s-t010000-2 \\
      --dest file:///mnt/pieces/found
  damocles-manager util sealer sectors unseal s-t010000-2 \\
      --piece baga6ea4seaq… --dest http://10.0.0.9:8080/upload"
    )]
    Unseal(UnsealArgs),
    /// Give up a sector that is being sealed, or what is being done with a finished one
    #[command(
        after_help = "The worker is told when it reports the next time; then the sector's deals are offered again. A job that no worker has
yet is withdrawn at once. Until its worker has done so, the list shows it as (abort requested); a repeated abort
without --reason keeps the first reason.

Example:
  damocles-manager util sealer sectors abort s-t010000-2 --reason 'bad disk'"
    )]
    Abort(AbortArgs),
    /// Show one sector
    #[command(after_help = "Example:\n  damocles-manager util sealer sectors state 10000 2")]
    State(SectorArgs),
    /// Take back that a sector was, or is to be, given up
    #[command(
        after_help = "It is known again as it was; deals that came free meanwhile are not its any more. A worker that has removed its files does
not seal on.

Example:
  damocles-manager util sealer sectors restore 10000 2"
    )]
    Restore(RestoreArgs),
    /// Take a sector that is being sealed as finished
    #[command(
        after_help = "For a sector whose worker is gone after the proof has landed. Its files are not looked at.

Example:
  damocles-manager util sealer sectors finalize 10000 2"
    )]
    Finalize(SectorArgs),
}

/// What to take back.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub sector: SectorArgs,
    /// As damocles-manager has it; not needed here
    #[arg(long, hide = true)]
    pub force: bool,
}

/// Which sectors to list; all of them if nothing is said.
#[derive(Args, Debug, Default)]
pub struct OnlyArgs {
    /// Only those of this miner: 10000, or t010000
    #[arg(long, value_name = "ACTOR_ID", value_parser = actor)]
    pub miner: Option<u64>,
    /// Only those that are being sealed; with =false, none of them. Several kinds add up
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sealing: Option<bool>,
    /// Only those that are being upgraded
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub snapup: Option<bool>,
    /// Only those that are being rebuilt
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub rebuild: Option<bool>,
    /// Only those that a piece is taken out of
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub unseal: Option<bool>,
    /// Only those that nothing is done with: finished, or given up
    #[arg(long)]
    pub offline: bool,
}

impl OnlyArgs {
    fn fits(&self, sector: &SectorView) -> bool {
        let id = sector.id.parse::<SectorId>();
        let is_open = |job: &&JobView| matches!(job.status, JobStatus::Ready | JobStatus::Running);
        let open: Vec<_> =
            sector.jobs.iter().filter(is_open).map(|job| job.plan.as_str()).collect();
        let is_sealed = sector.finalized || sector.state == "Aborted";
        let kinds = [
            (self.sealing, !is_sealed),
            (self.snapup, open.contains(&"snapup")),
            (self.rebuild, open.contains(&"rebuild")),
            (self.unseal, open.contains(&"unseal")),
        ];
        let of = |wanted: bool| kinds.iter().filter(move |(said, _)| *said == Some(wanted));
        let is_one_of = |wanted| of(wanted).any(|(_, is)| *is);
        let is_idle = is_sealed && open.is_empty();
        self.miner.is_none_or(|miner| id.is_ok_and(|id| id.miner == miner))
            && (of(true).count() == 0 || is_one_of(true))
            && (is_one_of(true) || !is_one_of(false))
            && (!self.offline || is_idle)
    }
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub only: OnlyArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

/// One sector: its name, or its miner and its number.
#[derive(Args, Debug)]
pub struct OneSector {
    /// The sector, e.g. s-t010000-2; or its miner and its number, 10000 2
    #[arg(value_name = "SECTOR", num_args = 1..=2, required = true, value_parser = word)]
    words: Vec<Word>,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Sector(SectorId),
    Number(u64),
}

impl OneSector {
    fn id(&self) -> Result<SectorId, CliError> {
        match self.words[..] {
            [Word::Sector(sector)] => Ok(sector),
            [Word::Number(miner), Word::Number(number)] => Ok(SectorId { miner, number }),
            _ => Err(CliError::new(
                Exit::Usage,
                "a sector is given as s-t010000-2, or as its miner and its number: 10000 2",
            )),
        }
    }
}

fn word(text: &str) -> Result<Word, String> {
    match (text.parse(), actor(text)) {
        (Ok(sector), _) => Ok(Word::Sector(sector)),
        (_, Ok(number)) => Ok(Word::Number(number)),
        (Err(error), _) => Err(error.to_string()),
    }
}

/// A miner's actor id, or its ID address.
pub(super) fn actor(text: &str) -> Result<u64, String> {
    let id = text.strip_prefix("t0").or_else(|| text.strip_prefix("f0")).unwrap_or(text);
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    let id = id.parse().ok().filter(|_| is_number);
    id.ok_or_else(|| "a miner is given as its actor id, 10000, or as t010000".to_owned())
}

#[derive(Args, Debug)]
pub struct SectorArgs {
    #[command(flatten)]
    pub sector: OneSector,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

#[derive(Args, Debug)]
pub struct UnsealArgs {
    #[command(flatten)]
    pub sector: SectorArgs,
    /// The piece of one of its deals; not needed where it has only one
    #[arg(long, value_name = "CID", value_parser = piece)]
    pub piece: Option<String>,
    /// Where its bytes go: file:///<path on the worker's machine>, http://… or https://… (PUT)
    #[arg(long, value_name = "URL", value_parser = dest)]
    pub dest: Option<String>,
}

/// What to give up.
#[derive(Args, Debug)]
pub struct AbortArgs {
    #[command(flatten)]
    pub sector: SectorArgs,
    /// Why, for the log of the worker and for the list
    #[arg(long)]
    pub reason: Option<String>,
    /// As damocles-manager wants it; not needed here
    #[arg(long, hide = true)]
    pub really_do_it: bool,
    #[command(flatten)]
    pub by: ByArgs,
}

// What was done, and to which sector.
#[derive(Serialize)]
struct Done {
    sector: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    piece_cid: Option<String>,
}

fn piece(text: &str) -> Result<String, PieceCidError> {
    piece_commitment(text).map(|_| text.to_owned())
}

fn dest(text: &str) -> Result<String, DestError> {
    check_dest(text).map(|()| text.to_owned())
}

pub(super) async fn run(session: &Session, command: SectorsCommand) -> Result<(), CliError> {
    match command {
        SectorsCommand::List(args) => list(session, &args).await,
        SectorsCommand::Rebuild(args) => {
            let sector = args.sector.id()?;
            session.ask_sectors(&RebuildSector { sector }).await?;
            done(sector, &args, None, "rebuild queued".into())
        }
        SectorsCommand::Unseal(UnsealArgs { sector: args, piece, dest }) => {
            let sector = args.sector.id()?;
            let request = UnsealPiece { sector, piece_cid: piece, dest };
            let UnsealQueued { piece_cid } = session.ask_sectors(&request).await?;
            let sentence = format!("unsealing of {piece_cid} queued");
            done(sector, &args, Some(piece_cid), sentence)
        }
        SectorsCommand::Abort(AbortArgs { sector: args, reason, by, really_do_it: _ }) => {
            let sector = args.sector.id()?;
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let request = AbortSector {
                sector,
                reason: format!("by {}{why}", by.by.unwrap_or_else(caller)),
                unexplained: reason.is_none(),
            };
            session.ask_sectors(&request).await?;
            done(sector, &args, None, "to be given up; its worker is told when it reports".into())
        }
        SectorsCommand::State(args) => state(session, &args).await,
        SectorsCommand::Restore(RestoreArgs { sector: args, force: _ }) => {
            let sector = args.sector.id()?;
            session.ask_sectors(&RestoreSector { sector }).await?;
            done(sector, &args, None, "is not given up any more".into())
        }
        SectorsCommand::Finalize(args) => {
            let sector = args.sector.id()?;
            session.ask_sectors(&FinalizeSector { sector }).await?;
            done(sector, &args, None, "finished".into())
        }
    }
}

fn done(
    sector: SectorId,
    args: &SectorArgs,
    piece_cid: Option<String>,
    what: String,
) -> Result<(), CliError> {
    let done = Done { sector: sector.to_string(), piece_cid };
    print_done(&done, &format!("{sector}: {what}"), args.output)
}

// One sector, a line for each thing that is known of it.
async fn state(session: &Session, args: &SectorArgs) -> Result<(), CliError> {
    let id = args.sector.id()?.to_string();
    let Some(sector) = all(session).await?.into_iter().find(|sector| sector.id == id) else {
        return Err(CliError::new(Exit::NotFound, format!("there is no sector {id}")));
    };
    let names = COLUMNS.iter().chain(&WIDE_COLUMNS);
    let lines: String = names
        .zip(wide_row(&sector))
        .map(|(name, value)| format!("{name}: {}\n", printable(&value)))
        .collect();
    match args.output {
        ReplyOutput::Plain => print(&lines),
        ReplyOutput::Json => print(&json(&sector)?),
        ReplyOutput::Jsonl => print(&jsonl(&[sector])?),
    }
}

async fn all(session: &Session) -> Result<Vec<SectorView>, CliError> {
    let mut sectors: Vec<SectorView> = Vec::new();
    let mut after = None;
    loop {
        let page = session.read_sectors(&ListSectors { after, limit: None }).await?;
        sectors.extend(page.sectors);
        after = next_page(&after, page.next)?;
        if after.is_none() {
            return Ok(sectors);
        }
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let mut sectors = all(session).await?;
    sectors.retain(|sector| args.only.fits(sector));
    let table = |more: &[&'static str], row: fn(&SectorView) -> Vec<String>| {
        let fails = |sector: &SectorView| sector.jobs.iter().any(|job| job.error.is_some());
        let rows = sectors.iter().map(|sector| Row::new(row(sector)).failing(fails(sector)));
        Table::new(&[&COLUMNS[..], more].concat(), rows.collect())
    };
    let shown = match args.output {
        Output::Json => json(&sectors)?.into(),
        Output::Jsonl => jsonl(&sectors)?.into(),
        Output::Plain | Output::Table => table(&[], row).into(),
        Output::Wide => table(&WIDE_COLUMNS, wide_row).into(),
    };
    show(&shown, args.look)
}

fn or_dash(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "-".into())
}

fn row(sector: &SectorView) -> Vec<String> {
    let SectorView { id, plan, state, deals, store, comm_r, abort_requested, .. } = sector;
    let state = if *abort_requested { format!("{state} (abort requested)") } else { state.clone() };
    vec![id.clone(), plan.clone(), state, deals.len().to_string(), or_dash(store), or_dash(comm_r)]
}

fn wide_row(sector: &SectorView) -> Vec<String> {
    let proof = sector.proof_type.name();
    let jobs: Vec<_> = sector.jobs.iter().map(job).collect();
    let mut row = row(sector);
    row.extend([
        proof,
        or_dash(&sector.comm_d),
        or_dash(&Some(jobs.join("; ")).filter(|jobs| !jobs.is_empty())),
        or_dash(&sector.abort_reason),
    ]);
    row
}

fn job(job: &JobView) -> String {
    let by = job
        .worker
        .as_ref()
        .filter(|_| job.status == JobStatus::Running)
        .map(|worker| format!(" on {worker}"));
    let error = job.error.as_ref().map(|error| format!(": {error}"));
    format!(
        "{} {}{}{}",
        job.plan,
        job.status.name(),
        by.unwrap_or_default(),
        error.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        only: OnlyArgs,
    }

    #[derive(Parser)]
    struct Named {
        #[command(flatten)]
        sector: OneSector,
    }

    #[test]
    fn a_sector_is_named_in_one_word_or_by_its_miner_and_its_number() {
        let id = |line: &str| {
            let words = ["x"].into_iter().chain(line.split(' '));
            Named::try_parse_from(words).ok()?.sector.id().ok()
        };
        let sector = Some(SectorId { miner: 10000, number: 2 });
        for line in ["s-t010000-2", "10000 2", "t010000 2", "f010000 2"] {
            assert_eq!(id(line), sector, "{line}");
        }
        for line in ["10000", "s-t010000-2 2", "10000 s-t010000-2", "t010000-2", "x 2", "1 2 3"] {
            assert_eq!(id(line), None, "{line}");
        }
    }

    #[test]
    fn filters_choose_by_what_is_done_with_a_sector() {
        let sector = |number: u32, finalized: bool, job: Option<(&str, &str)>| {
            let jobs: Vec<_> = job
                .into_iter()
                .map(|(plan, status)| json!({"plan": plan, "status": status}))
                .collect();
            view(
                json!({"id": format!("s-t010000-{number}"), "proof_type": 5, "plan": "sealer", "state": "x", "finalized": finalized, "jobs": jobs}),
            )
        };
        let sectors = [
            sector(1, false, None),
            sector(2, true, Some(("rebuild", "running"))),
            sector(3, true, Some(("unseal", "finished"))),
            view(
                json!({"id": "s-t010001-4", "proof_type": 5, "plan": "sealer", "state": "Aborted"}),
            ),
        ];
        let fitting = |line: &str| {
            let words = ["x"].into_iter().chain(line.split_whitespace());
            let only = Line::try_parse_from(words).unwrap().only;
            let fits = sectors.iter().filter(|sector| only.fits(sector));
            fits.map(|sector| &sector.id[9..]).collect::<Vec<_>>().join("")
        };
        for (line, expected) in [
            ("", "1234"),
            ("--rebuild --sealing=false", "2"),
            ("--sealing", "1"),
            ("--sealing --rebuild", "12"),
            ("--sealing=false", "234"),
            ("--unseal", ""),
            ("--offline", "34"),
            ("--offline --miner t010000", "3"),
            ("--miner 10001", "4"),
        ] {
            assert_eq!(fitting(line).replace('-', ""), expected, "{line}");
        }
    }

    fn view(json: serde_json::Value) -> SectorView {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_table_says_what_an_operator_asks_for() {
        let rows = vec![
            row(&view(
                json!({"id": "s-t010000-1", "proof_type": 5, "plan": "sealer", "state": "PC1Done", "abort_requested": true}),
            )),
            row(&view(json!({
                "id": "s-t010000-2", "proof_type": 5, "plan": "rebuild", "state": "C1Done", "store": "remote", "comm_r": "bagboea4b5abc",
                "deals": [{"deal_id": 1, "piece_cid": "baga", "size": 128, "payload_size": 3}],
            }))),
        ];
        let expected = "\
Sector       Plan     State                      Deals  Store   CommR
s-t010000-1  sealer   PC1Done (abort requested)  0      -       -
s-t010000-2  rebuild  C1Done                     1      remote  bagboea4b5abc
";
        assert_eq!(damocles_terminal::table(&COLUMNS, rows), expected);
    }

    #[test]
    fn wide_says_what_is_done_with_it_and_why_it_failed() {
        let jobs = json!([
            {"plan": "unseal", "status": "failed", "error": "disk full"},
            {"plan": "rebuild", "status": "running", "worker": "w1", "state": "C1Done"},
        ]);
        let row = wide_row(&view(
            json!({"id": "s-t01-1", "proof_type": 10, "plan": "rebuild", "state": "C1Done", "jobs": jobs}),
        ));
        assert_eq!(
            row[6..],
            [
                "StackedDrg2KiBV1_1_Feat_SyntheticPoRep",
                "-",
                "unseal failed: disk full; rebuild running on w1",
                "-"
            ]
        );
    }
}
