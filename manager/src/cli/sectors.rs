//! `util sealer sectors`: the sectors of the mock sector manager, and work on them.

use clap::{Args, Subcommand};
use damocles_client::caller::caller;
use damocles_terminal::{
    CliError, Output, ReplyOutput, json, jsonl, print_done,
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
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Args, Debug)]
pub struct SectorArgs {
    /// The sector, e.g. s-t010000-2
    #[arg(value_name = "SECTOR")]
    pub sector: SectorId,
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
            session.ask_sectors(&RebuildSector { sector: args.sector }).await?;
            done(&args, None, "rebuild queued".into())
        }
        SectorsCommand::Unseal(UnsealArgs { sector: args, piece, dest }) => {
            let request = UnsealPiece { sector: args.sector, piece_cid: piece, dest };
            let UnsealQueued { piece_cid } = session.ask_sectors(&request).await?;
            let sentence = format!("unsealing of {piece_cid} queued");
            done(&args, Some(piece_cid), sentence)
        }
        SectorsCommand::Abort(AbortArgs { sector: args, reason, by }) => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let request = AbortSector {
                sector: args.sector,
                reason: format!("by {}{why}", by.by.unwrap_or_else(caller)),
                unexplained: reason.is_none(),
            };
            session.ask_sectors(&request).await?;
            done(&args, None, "to be given up; its worker is told when it reports".into())
        }
    }
}

fn done(args: &SectorArgs, piece_cid: Option<String>, what: String) -> Result<(), CliError> {
    let done = Done { sector: args.sector.to_string(), piece_cid };
    print_done(&done, &format!("{}: {what}", args.sector), args.output)
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let mut sectors: Vec<SectorView> = Vec::new();
    let mut after = None;
    loop {
        let page = session.read_sectors(&ListSectors { after, limit: None }).await?;
        sectors.extend(page.sectors);
        after = next_page(&after, page.next)?;
        if after.is_none() {
            break;
        }
    }
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
    use serde_json::json;

    use super::*;

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
