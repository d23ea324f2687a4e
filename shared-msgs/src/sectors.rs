//! What an operator asks of a sector manager of ours about its sectors: `sectors.<method>`.
//!
//! A list comes in pages: ask again with `after` = the page's `next` until there is none.

use serde::{Deserialize, Serialize};

use crate::{
    id::Id,
    sector_manager::{Commitment, SealProofType, SectorId, SectorManagerRequest, WdpostOutput},
};

/// Asks for the sectors, sorted by miner and number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListSectors {
    /// Goes on after this sector.
    pub after: Option<SectorId>,
    /// At most so many; as many as fit into a message if absent.
    pub limit: Option<u32>,
}

/// A page of sectors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SectorPage {
    /// The sectors of this page, sorted by miner and number.
    pub sectors: Vec<SectorView>,
    /// Where the next page goes on; absent on the last one.
    pub next: Option<SectorId>,
}

/// A sector as the sector manager knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectorView {
    /// As it is written, `s-t0<miner>-<number>`.
    pub id: String,
    /// How it is sealed.
    pub proof_type: SealProofType,
    /// The plan that works on it, or sealed it.
    pub plan: String,
    /// Its state in that plan.
    pub state: String,
    /// The deals in it, those of an upgrade in work too.
    #[serde(default)]
    pub deals: Vec<DealView>,
    /// The store that its files are in.
    #[serde(default)]
    pub store: Option<String>,
    /// The replica's commitment as a CID, after an upgrade the new one's; absent where no
    /// pre-commit told it.
    #[serde(default)]
    pub comm_r: Option<String>,
    /// The data's commitment as a CID.
    #[serde(default)]
    pub comm_d: Option<String>,
    /// Whether deals were put into it after it was sealed.
    #[serde(default)]
    pub upgraded: bool,
    /// Whether it is finished.
    #[serde(default)]
    pub finalized: bool,
    /// Why it was given up, or is to be; of a job on a finished sector too.
    #[serde(default)]
    pub abort_reason: Option<String>,
    /// It, or the job on it, is to be given up, and its worker has not done so yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort_requested: bool,
    /// What is done with it since it is finished.
    #[serde(default)]
    pub jobs: Vec<JobView>,
}

/// A deal of a sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DealView {
    /// Id of the deal on the chain.
    pub deal_id: u64,
    /// The CID of the piece's commitment, `baga…`.
    pub piece_cid: String,
    /// In bytes, padded: a power of two.
    pub size: u64,
    /// Bytes of the client's data.
    pub payload_size: u64,
}

/// A job on a finished sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// The plan that does it.
    pub plan: String,
    /// How far the job is, as far as its worker has reported.
    pub status: JobStatus,
    /// Its state in the plan, as last reported.
    #[serde(default)]
    pub state: Option<String>,
    /// The worker that does it, as far as it has reported.
    #[serde(default)]
    pub worker: Option<String>,
    /// The piece, of an unseal job.
    #[serde(default)]
    pub piece_cid: Option<String>,
    /// Empty or absent unless it failed; in words.
    #[serde(default)]
    pub error: Option<String>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker to ask for it.
    Ready,
    /// A worker has it, and says so by heartbeats or reports.
    Running,
    /// It has ended well.
    Finished,
    /// It has ended without a result; the job's `error` says why.
    Failed,
    /// A status of a newer version.
    #[serde(other)]
    Other,
}

impl JobStatus {
    /// The status in a word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Has a finished sector sealed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RebuildSector {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// Has a piece taken out of a finished sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnsealPiece {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// The piece of one of its deals; not needed where it has only one.
    #[serde(default)]
    pub piece_cid: Option<String>,
    /// Where the bytes go, see [`check_dest`]; the worker keeps them in its first directory of
    /// pieces if absent.
    #[serde(default)]
    pub dest: Option<String>,
}

/// A piece that a worker will take out of its sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnsealQueued {
    /// The CID of the piece's commitment, `baga…`.
    pub piece_cid: String,
}

/// The longest destination that [`check_dest`] takes.
pub const MAX_DEST_BYTES: usize = 2048;

/// This is no destination; its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no destination: it is file:///<absolute path of a file>, or an http:// or https:// URL, without blanks and of at most {max} bytes",
    max = MAX_DEST_BYTES
)]
pub struct DestError(pub String);

/// Whether unsealed bytes can be sent to this URL: `file://` and an absolute path, or `http://` or
/// `https://`.
pub fn check_dest(url: &str) -> Result<(), DestError> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let good = match (url.strip_prefix("file://"), host) {
        (Some(path), _) => {
            path.starts_with('/')
                && path.len() > 1
                && !path.ends_with('/')
                && !path.split('/').any(|part| part == "..")
        }
        (None, Some(host)) => {
            host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        }
        (None, None) => false,
    };
    let plain = !url.chars().any(|character| character.is_control() || character.is_whitespace());
    match good && plain && url.len() <= MAX_DEST_BYTES {
        true => Ok(()),
        false => Err(DestError(crate::text::cut_text(url, 100).to_owned())),
    }
}

/// Gives a sector up: its worker is told when it reports the next time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbortSector {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// Who gives it up, and why.
    #[serde(default)]
    pub reason: String,
    /// It says only who: a reason that was given before stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexplained: bool,
}

/// Takes back that a sector was, or is to be, given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreSector {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// Takes a sector that is being sealed as finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalizeSector {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// Queues a window-PoSt job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulateWdpost {
    /// The job's id: the same id is the same job.
    pub id: Id,
    /// The miner's actor id: 10000 for t010000.
    pub miner: u64,
    /// Numbers of the sectors; all that can be proven if there are none.
    #[serde(default)]
    pub sectors: Vec<u64>,
}

/// A queued window-PoSt job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostQueued {
    /// Its id, as `list` shows it.
    pub job: String,
    /// How many sectors it proves.
    pub sectors: u64,
    /// Finished sectors that it leaves out, because their replica's commitment is not known.
    #[serde(default)]
    pub left_out: u64,
}

/// Asks for the window-PoSt jobs, sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListWdpostJobs {
    /// Goes on after this job.
    pub after: Option<String>,
    /// At most so many; as many as fit into a message if absent.
    pub limit: Option<u32>,
}

/// A page of window-PoSt jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WdpostPage {
    /// The jobs of this page, sorted by id.
    pub jobs: Vec<WdpostJobView>,
    /// Where the next page goes on; absent on the last one.
    pub next: Option<String>,
}

/// A window-PoSt job as the sector manager knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostJobView {
    /// Its id, as `list` shows it.
    pub id: String,
    /// The miner's actor id: 10000 for t010000.
    pub miner: u64,
    /// The name of the window-PoSt proof type.
    #[serde(default)]
    pub proof_type: String,
    /// 32 bytes of randomness from the chain.
    #[serde(default)]
    pub seed: Commitment,
    /// How many sectors it proves.
    pub sectors: u64,
    /// How far it is.
    pub status: JobStatus,
    /// The worker that has it, or had it last.
    #[serde(default)]
    pub worker: Option<String>,
    /// How long ago it was queued, in milliseconds of the server's clock.
    #[serde(default)]
    pub age_ms: u64,
    /// How long it has been running, or ran.
    #[serde(default)]
    pub elapsed_ms: Option<u64>,
    /// The proofs, once it is finished.
    #[serde(default)]
    pub output: Option<WdpostOutput>,
    /// Empty or absent unless it failed; in words.
    #[serde(default)]
    pub error: Option<String>,
}

/// Makes window-PoSt jobs ready again, whoever has them and whatever they yielded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResetWdpostJobs {
    /// The jobs; all of them if absent.
    #[serde(default)]
    pub jobs: Option<Vec<String>>,
}

/// Forgets window-PoSt jobs, whatever their status is; answered by the ids of those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveWdpostJobs {
    /// The jobs; all of them if absent.
    #[serde(default)]
    pub jobs: Option<Vec<String>>,
}

/// An operator's request: `sectors.<method>`.
pub trait OperatorRequest: SectorManagerRequest {}

macro_rules! methods {
    ($($request:ident = $method:literal -> $reply:ty;)*) => {
        $(
            impl SectorManagerRequest for $request {
                const METHOD: &'static str = $method;
                type Reply = $reply;
            }
            impl OperatorRequest for $request {}
        )*
    };
}

methods! {
    ListSectors = "list_sectors" -> SectorPage;
    RebuildSector = "rebuild_sector" -> ();
    UnsealPiece = "unseal_piece" -> UnsealQueued;
    AbortSector = "abort_sector" -> ();
    RestoreSector = "restore_sector" -> ();
    FinalizeSector = "finalize_sector" -> ();
    SimulateWdpost = "simulate_wdpost" -> WdpostQueued;
    ListWdpostJobs = "list_wdpost_jobs" -> WdpostPage;
    ResetWdpostJobs = "reset_wdpost_jobs" -> Vec<String>;
    RemoveWdpostJobs = "remove_wdpost_jobs" -> Vec<String>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode};

    #[test]
    fn requests_are_pinned_in_json_and_what_is_absent_may_be_left_out() {
        let sector = SectorId { miner: 10000, number: 2 };
        let request = UnsealPiece { sector, piece_cid: None, dest: Some("file:///tmp/x".into()) };
        let expected = json!({"sector": {"miner": 10000, "number": 2}, "piece_cid": null, "dest": "file:///tmp/x"});
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
        assert_eq!(decode::<ListSectors>(b"").unwrap(), ListSectors::default());
        assert_eq!(decode::<ResetWdpostJobs>(b"{}").unwrap(), ResetWdpostJobs { jobs: None });
        let view: SectorView =
            decode(br#"{"id":"s-t01-2","proof_type":5,"plan":"sealer","state":"Allocated"}"#)
                .unwrap();
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let page = SectorPage { sectors: vec![view.clone()], next: Some(sector) };
            assert_eq!(decode::<SectorPage>(&encoding.encode(&page).unwrap()).unwrap(), page);
        }
    }

    #[test]
    fn a_status_of_a_newer_version_is_other() {
        assert_eq!(
            serde_json::from_value::<JobStatus>(json!("on_holiday")).unwrap(),
            JobStatus::Other
        );
        assert_eq!(serde_json::to_value(JobStatus::Ready).unwrap(), "ready");
    }

    #[test]
    fn destinations_are_absolute_files_or_web_addresses() {
        for good in
            ["file:///tmp/piece", "http://127.0.0.1:80/x", "https://h/y?z=1", "http://[::1]:1/"]
        {
            assert_eq!(check_dest(good), Ok(()), "{good}");
        }
        let long = format!("http://h/{}", "x".repeat(MAX_DEST_BYTES));
        let wrong = [
            "",
            "/tmp/x",
            "file://",
            "file:///",
            "file://tmp/x",
            "file:///a/",
            "file:///a/../b",
            "ftp://h/x",
            "http://",
            "http:///x",
            "http://h/a b",
            &long,
        ];
        for wrong in wrong {
            assert!(check_dest(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
