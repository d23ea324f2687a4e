//! Parameters for development: each circuit's Groth16 parameters and verifying key, with randomness
//! of this machine.
//!
//! ```text
//!  find --Whole------------------------------> nothing to do
//!    ├--KeyMissing-----------------------┐
//!    └--Missing, Broken--> make (slow) --┴---> keep: a file is whole or not there
//! ```
//! Whoever makes them can forge proofs with what was drawn meanwhile. The parameters of the real
//! network come from a ceremony of many parties, and are downloaded. How files are written and
//! recognised is in [`mod@files`].

pub mod files;

pub use storage_proofs_core::parameter_cache::parameter_cache_dir;

use std::{io, path::Path};

use bellperson::{
    Circuit, SynthesisError,
    groth16::{self, aggregate::GenericSRS},
};
use blstrs::{Bls12, Scalar};
use filecoin_proofs::{
    DefaultPieceHasher, SectorShapeBase, WINDOW_POST_CHALLENGE_COUNT, WINDOW_POST_SECTOR_COUNT,
    parameters::{public_params, window_post_public_params},
    types::{PoRepConfig, PoStConfig, PoStType, SectorSize as ProofsSectorSize},
};
use rand::rngs::OsRng;
use storage_proofs_core::{
    api_version::ApiVersion,
    compound_proof::CompoundProof,
    parameter_cache::{self, CacheableParameters, ParameterSetMetadata},
};
use storage_proofs_porep::stacked::{self, StackedCircuit, StackedCompound};
use storage_proofs_post::fallback::{self, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{EmptySectorUpdateCircuit, EmptySectorUpdateCompound};

use self::files::{Found, GrothFiles};

/// How many proofs the non-interactive PoRep of a small sector aggregates: its 13 partitions,
/// padded to a power of two.
const AGGREGATED_PROOFS: usize = 16;

/// Something that proofs need and that takes a while to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The parameters of window-PoSt proofs.
    WindowPost,
    /// The parameters of empty-sector-update proofs (FIP-0019), for snapup.
    Update,
    /// The parameters of PoRep proofs: interactive, synthetic and non-interactive ones have the
    /// same circuit.
    PoRep,
    /// The key that aggregates proofs (SnarkPack), which non-interactive PoRep needs (FIP-0092).
    /// One for all sizes.
    Aggregation,
}

/// Why a part cannot be made or looked for.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The proofs library has no circuit for it.
    #[error("the circuit of {} proofs cannot be set up: {error}", part.name())]
    Circuit {
        /// The part that was to be made.
        part: Part,
        /// What the proofs library says.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No window PoSt is known for sectors of so many bytes.
    #[error("no window PoSt is known for sectors of {0} bytes")]
    NoWindowPost(u64),
    /// The circuit gives no parameters.
    #[error(transparent)]
    Generation(#[from] SynthesisError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// A sector size for which there can be development parameters: those whose replicas have the
/// simplest tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevelopmentSize(u64);

impl DevelopmentSize {
    /// The size in bytes; `None` if its parameters are to be downloaded, or if Filecoin does not
    /// have it.
    pub fn of(bytes: u64) -> Option<DevelopmentSize> {
        [2 << 10, 8 << 20, 512 << 20].contains(&bytes).then_some(DevelopmentSize(bytes))
    }
}

/// What was made, in memory.
pub struct Made(Content);

enum Content {
    Groth(Box<groth16::Parameters<Bls12>>, GrothFiles),
    Srs(GenericSRS<Bls12>),
}

// A circuit's public parameters.
enum Public {
    WindowPost(fallback::PublicParams),
    Update(storage_proofs_update::PublicParams),
    PoRep(stacked::PublicParams<SectorShapeBase>),
}

type WindowPost = FallbackPoStCompound<SectorShapeBase>;
type Update = EmptySectorUpdateCompound<SectorShapeBase>;
type PoRep = StackedCompound<SectorShapeBase, DefaultPieceHasher>;

impl Part {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Part::WindowPost => "window-post",
            Part::Update => "update",
            Part::PoRep => "porep",
            Part::Aggregation => "porep aggregation",
        }
    }

    /// What the directory has of it.
    pub fn find(self, size: DevelopmentSize, directory: &Path) -> Result<Found, PartError> {
        Ok(match Public::of(self, size)? {
            Some(public) => public.files().find(directory)?,
            None => files::find_srs(directory, AGGREGATED_PROOFS)?,
        })
    }

    /// Makes it. The processor is busy for minutes.
    pub fn make(self, size: DevelopmentSize) -> Result<Made, PartError> {
        Ok(Made(match Public::of(self, size)? {
            Some(public) => Content::Groth(Box::new(public.generate()?), public.files()),
            None => Content::Srs(groth16::aggregate::setup_fake_srs(&mut OsRng, AGGREGATED_PROOFS)),
        }))
    }

    /// Writes the small files beside whole parameters.
    pub fn complete(self, size: DevelopmentSize, directory: &Path) -> Result<(), PartError> {
        Ok(Public::of(self, size)?.map_or(Ok(()), |public| public.files().complete(directory))?)
    }
}

impl Made {
    /// Writes it into the directory; says how many bytes that are.
    pub fn keep(self, directory: &Path) -> io::Result<u64> {
        match self.0 {
            Content::Groth(parameters, files) => files.keep(directory, &parameters),
            Content::Srs(key) => files::keep_srs(directory, &key),
        }
    }
}

impl Public {
    // `None` for what has no circuit.
    fn of(
        part: Part,
        DevelopmentSize(bytes): DevelopmentSize,
    ) -> Result<Option<Public>, PartError> {
        // The circuits are the same for all versions and features of a proof type.
        let api_version = ApiVersion::V1_2_0;
        let words = |error| PartError::Circuit { part, error };
        Ok(Some(match part {
            Part::WindowPost => {
                let sector_count = WINDOW_POST_SECTOR_COUNT
                    .read()
                    .ok()
                    .and_then(|counts| counts.get(&bytes).copied());
                let config = PoStConfig {
                    sector_size: ProofsSectorSize(bytes),
                    challenge_count: WINDOW_POST_CHALLENGE_COUNT,
                    sector_count: sector_count.ok_or(PartError::NoWindowPost(bytes))?,
                    typ: PoStType::Window,
                    priority: false,
                    api_version,
                };
                Public::WindowPost(
                    window_post_public_params::<SectorShapeBase>(&config)
                        .map_err(|error| words(error.into()))?,
                )
            }
            Part::Update => {
                Public::Update(storage_proofs_update::PublicParams::from_sector_size(bytes))
            }
            Part::PoRep => {
                let config = PoRepConfig::new_groth16(bytes, [0; 32], api_version);
                Public::PoRep(
                    public_params::<SectorShapeBase>(&config)
                        .map_err(|error| words(error.into()))?,
                )
            }
            Part::Aggregation => return Ok(None),
        }))
    }

    fn files(&self) -> GrothFiles {
        match self {
            Public::WindowPost(public) => {
                files::<WindowPost, FallbackPoStCircuit<SectorShapeBase>, _>(public)
            }
            Public::Update(public) => {
                files::<Update, EmptySectorUpdateCircuit<SectorShapeBase>, _>(public)
            }
            Public::PoRep(public) => {
                files::<PoRep, StackedCircuit<SectorShapeBase, DefaultPieceHasher>, _>(public)
            }
        }
    }

    fn generate(&self) -> Result<groth16::Parameters<Bls12>, SynthesisError> {
        match self {
            Public::WindowPost(public) => generate(WindowPost::blank_circuit(public)),
            Public::Update(public) => generate(Update::blank_circuit(public)),
            Public::PoRep(public) => generate(PoRep::blank_circuit(public)),
        }
    }
}

fn files<Compound: CacheableParameters<C, P>, C: Circuit<Scalar>, P: ParameterSetMetadata>(
    public: &P,
) -> GrothFiles {
    let id = Compound::cache_identifier(public);
    GrothFiles {
        parameters: parameter_cache::parameter_id(&id),
        key: parameter_cache::verifying_key_id(&id),
        metadata: parameter_cache::metadata_id(&id),
        sector_size: Compound::cache_meta(public).sector_size,
    }
}

fn generate(circuit: impl Circuit<Scalar>) -> Result<groth16::Parameters<Bls12>, SynthesisError> {
    groth16::generate_random_parameters(circuit, &mut OsRng)
}
