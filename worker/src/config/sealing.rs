//! How a thread seals: `[sealing]`, with what `sealing.*` of the thread says in its place.

use std::{fmt, time::Duration};

use damocles_daemon::config::{Fault, read_table};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};
use shared_msgs::{
    plan::Plan,
    sector_manager::{AcquireDealsSpec, AllocateSectorSpec, SealVersion, SectorSize},
};
use toml::Table;

use super::size::bytes_of;

/// A sector size, written as `32GiB` or as any other size that is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedSize(pub SectorSize);

/// So many bytes, written as `8GiB`, or as their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DealSpace {
    written: String,
    /// How many they are.
    pub bytes: u64,
}

impl<'de> Deserialize<'de> for AllowedSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = "a sector size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB";
        let size = |text: &str| bytes_of(text).and_then(SectorSize::of_bytes).map(AllowedSize);
        deserializer.deserialize_str(Written { wanted, read: size })
    }
}

impl Serialize for AllowedSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for DealSpace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let space =
            |text: &str| Some(DealSpace { written: text.to_owned(), bytes: bytes_of(text)? });
        deserializer.deserialize_str(Written { wanted: "a size such as \"8GiB\"", read: space })
    }
}

impl Serialize for DealSpace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

// A value that is written as a text of a certain form, or as a number.
struct Written<F> {
    wanted: &'static str,
    read: F,
}

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Written<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self.wanted))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let read = (self.read)(&number.to_string());
        read.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self.wanted))
    }
}

/// What is written of a thread's options: its own stand in for the common ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) common: Table,
    pub(super) own: Table,
}

impl Options {
    /// What follows from them.
    pub(super) fn sealing(&self) -> Result<Sealing, Fault> {
        let mut merged = self.common.clone();
        merged.extend(self.own.clone());
        read_table(merged)
    }
}

/// The options of `[sealing]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sealing {
    /// Actor ids of the miners to seal for; all if absent.
    pub allowed_miners: Option<Vec<u64>>,
    /// Sector sizes to seal; all if absent.
    pub allowed_sizes: Option<Vec<AllowedSize>>,
    /// Ask for deals to put into new sectors.
    pub enable_deals: bool,
    /// Seal no sector without deals: wait for some.
    pub disable_cc: bool,
    /// At most so many deals in a sector; the sector manager's limit if absent.
    pub max_deals: Option<u32>,
    /// At least so much of a sector is to be deals.
    pub min_deal_space: Option<DealSpace>,
    /// Retries of a stage after temporary failures.
    pub max_retries: u32,
    /// Time before a thread that has asked for a job in vain begins anew, see
    /// [`Sealing::before_question`].
    #[serde(with = "humantime_serde")]
    pub seal_interval: Duration,
    /// Time before a retry, and between two questions for work.
    #[serde(with = "humantime_serde")]
    pub recover_interval: Duration,
    /// So many questions for a job, `recover_interval` apart, follow one that was in vain.
    pub request_task_max_retries: u32,
    /// Time between two questions for what became of a message on chain.
    #[serde(with = "humantime_serde")]
    pub rpc_polling_interval: Duration,
    /// Go on with a proof that was not verified.
    pub ignore_proof_check: bool,
    /// Make a new replica's vanilla proofs once, to see that it can be proven.
    pub verify_after_pc2: bool,
}

impl Default for Sealing {
    fn default() -> Self {
        Sealing {
            allowed_miners: None,
            allowed_sizes: None,
            enable_deals: false,
            disable_cc: false,
            max_deals: None,
            min_deal_space: None,
            max_retries: 5,
            seal_interval: Duration::from_secs(30),
            recover_interval: Duration::from_secs(60),
            request_task_max_retries: 3,
            rpc_polling_interval: Duration::from_secs(180),
            ignore_proof_check: false,
            verify_after_pc2: false,
        }
    }
}

impl Sealing {
    /// Whether a plan that seals new sectors finds none to seal: neither with deals nor without.
    pub fn leaves_nothing(&self, plan: Plan) -> bool {
        matches!(plan, Plan::Sealer | Plan::Niporep) && self.disable_cc && !self.enable_deals
    }

    /// How long to wait before a thread asks for a job again, after so many questions in a row that
    /// were in vain. A window PoSt cannot wait: its time is short.
    pub fn before_question(&self, plan: Plan, in_vain: u32) -> Duration {
        let round = self.request_task_max_retries.saturating_add(1);
        if plan == Plan::Wdpost || !in_vain.is_multiple_of(round) {
            self.recover_interval
        } else {
            self.seal_interval
        }
    }

    /// Which sectors a plan asks for: new ones as it can seal them, known ones however they were
    /// sealed.
    pub fn allocation(&self, plan: Plan) -> AllocateSectorSpec {
        use SealVersion::{NonInteractive, Synthetic, V1_1};
        let sizes = self.allowed_sizes.as_ref();
        let sizes = sizes.map(|sizes| sizes.iter().map(|size| size.0).collect());
        let variants = |sizes: Vec<SectorSize>, versions: &[SealVersion]| {
            sizes.iter().flat_map(|size| versions.iter().map(|v| v.of(*size))).collect()
        };
        let allowed_proof_types = match plan {
            Plan::Niporep => {
                Some(variants(sizes.unwrap_or(SectorSize::ALL.into()), &[NonInteractive]))
            }
            Plan::Sealer => sizes.map(|sizes| variants(sizes, &[V1_1, Synthetic])),
            _ => sizes.map(|sizes| variants(sizes, &[V1_1, Synthetic, NonInteractive])),
        };
        AllocateSectorSpec { allowed_miners: self.allowed_miners.clone(), allowed_proof_types }
    }

    /// Which deals to ask for.
    pub fn deals(&self) -> AcquireDealsSpec {
        AcquireDealsSpec {
            max_deals: self.max_deals,
            min_used_space: self.min_deal_space.as_ref().map(|space| space.bytes),
        }
    }

    /// Names of the window-PoSt proof types to ask for.
    pub fn window_post_types(&self) -> Option<Vec<String>> {
        let sizes = self.allowed_sizes.as_ref()?;
        Some(sizes.iter().map(|size| size.0.window_post_name()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealing(text: &str) -> Result<Sealing, String> {
        let options = Options { common: Table::new(), own: text.parse().unwrap() };
        options.sealing().map_err(|fault| fault.to_string())
    }

    #[test]
    fn each_plan_asks_for_the_sectors_that_it_can_work_on() {
        let numbers = |text: &str, plan| {
            let allowed = sealing(text).unwrap().allocation(plan).allowed_proof_types;
            allowed.map(|types| types.into_iter().map(|proof| proof.number()).collect::<Vec<_>>())
        };
        let small = "allowed_sizes = ['2KiB']";
        assert_eq!(numbers(small, Plan::Sealer), Some(vec![5, 10]));
        assert_eq!(numbers(small, Plan::Niporep), Some(vec![15]));
        assert_eq!(numbers(small, Plan::Rebuild), Some(vec![5, 10, 15]));
        assert_eq!(numbers("", Plan::Sealer), None);
        assert_eq!(numbers("", Plan::Niporep), Some(vec![15, 16, 17, 18, 19]));
        assert_eq!(
            sealing(small).unwrap().window_post_types().unwrap(),
            ["StackedDrgWindow2KiBV1_2"]
        );
    }

    #[test]
    fn deals_are_asked_for_as_configured() {
        let spec =
            sealing("enable_deals = true\nmax_deals = 3\nmin_deal_space = '8GiB'").unwrap().deals();
        assert_eq!((spec.max_deals, spec.min_used_space), (Some(3), Some(8 << 30)));
        assert!(sealing("min_deal_space = '8 apples'").unwrap_err().contains("a size such as"));
    }

    #[test]
    fn sizes_are_read_in_every_spelling_and_as_numbers() {
        for written in
            ["'32GiB'", "'32 GiB'", "'32gib'", "'0.03125TiB'", "'34359738368'", "34359738368"]
        {
            let sealing =
                sealing(&format!("allowed_sizes = [{written}]\nmin_deal_space = {written}"));
            let sealing = sealing.expect(written);
            assert_eq!(sealing.allowed_sizes, Some(vec![AllowedSize(SectorSize::S32GiB)]));
            assert_eq!(sealing.deals().min_used_space, Some(32 << 30), "{written}");
        }
        let refused = sealing("allowed_sizes = ['32GB']").unwrap_err();
        assert!(refused.contains("\"32GB\"; it takes a sector size"), "{refused}");
    }

    #[test]
    fn questions_for_work_are_paced_as_in_damocles() {
        let paced = sealing("seal_interval = '30s'\nrecover_interval = '7s'").unwrap();
        let waits = |plan| (1..=9).map(|n| paced.before_question(plan, n).as_secs()).collect();
        let sealer: Vec<_> = waits(Plan::Sealer);
        assert_eq!(sealer, [7, 7, 7, 30, 7, 7, 7, 30, 7]);
        let wdpost: Vec<_> = waits(Plan::Wdpost);
        assert_eq!(wdpost, [7; 9]);
        let never = sealing("request_task_max_retries = 0\nrecover_interval = '7s'").unwrap();
        assert_eq!(never.before_question(Plan::Snapup, 1).as_secs(), 30);
    }

    #[test]
    fn without_deals_and_without_sectors_without_deals_nothing_is_left() {
        let leaves_nothing = |text: &str, plan| sealing(text).unwrap().leaves_nothing(plan);
        for plan in [Plan::Sealer, Plan::Niporep] {
            assert!(leaves_nothing("disable_cc = true", plan));
            assert!(
                !leaves_nothing("", plan)
                    && !leaves_nothing("disable_cc = true\nenable_deals = true", plan)
            );
        }
        assert!(
            !leaves_nothing("disable_cc = true", Plan::Snapup),
            "it asks for deals whatever is set"
        );
    }
}
