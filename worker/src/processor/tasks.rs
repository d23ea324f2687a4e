//! The table of the tasks: what each is called, what it yields, and what runs it inside the worker.
//! All else follows from it: what can be configured and limited, and what the worker's program
//! serves as a processor.

use damocles_terminal::{CliError, Exit};

use shared_msgs::{plan::Stage, sector_manager::Commitment};

use super::{
    own,
    task::{
        AddPieces, C1, C2, C2Output, CommD, Opaque, Pc1, Pc2, Pc2Output, PieceCommitment,
        PieceInfo, SnapDecode, SnapEncode, SnapEncodeOutput, SnapProve, SnapVanilla, SynthProof,
        Task, Transfer, TransferRoute, TreeD, Unseal, VerifySeal, VerifySnap, WindowPost,
        WindowPostOutput, WinningPost, WinningPostOutput,
    },
};
use crate::{
    failure::Failure,
    store::transfer::{copy_directory, copy_file},
};

// Those that plans have, and those that nobody here asks for.
macro_rules! tasks {
    (
        plans { $($task:ident $name:literal -> $output:ty, by $by:ident $run:ident;)* }
        nobody { $($served:ident $called:literal -> $yields:ty, by $how:ident $does:ident;)* }
    ) => {
        /// What tasks are called. `comm_d`, `c1`, `snap_vanilla`, `snap_decode`, `piece_commitment`
        /// and those that verify are ours: damocles runs them inside the worker, which a build
        /// without proofs cannot.
        pub const STAGES: [&str; [$($name),*].len()] = [$($name),*];

        /// What the worker's program serves as a processor: these, and what no plan of a worker has.
        pub const SERVED: [&str; [$($name,)* $($called),*].len()] = [$($name,)* $($called),*];

        $(impl Task for $task {
            const STAGE: &'static str = $name;
            type Output = $output;

            fn run_builtin(self) -> Result<Self::Output, Failure> {
                $by!(self, $run)
            }
        })*

        $(impl Task for $served {
            const STAGE: &'static str = $called;
            type Output = $yields;

            fn run_builtin(self) -> Result<Self::Output, Failure> {
                $how!(self, $does)
            }
        })*

        /// Whether this build of the worker can run the tasks of a stage itself.
        pub(crate) fn is_builtin(stage: &str) -> bool {
            match stage {
                $($name => $by!(),)*
                $($called => $how!(),)*
                _ => false,
            }
        }

        /// Answers the tasks of a stage over the line protocol, as an external processor does.
        pub(crate) async fn serve(stage: &str) -> Result<(), CliError> {
            match stage {
                $($name => own::serve::<$task>().await,)*
                $($called => own::serve::<$served>().await,)*
                _ => Err(CliError::new(Exit::Usage, format!("{stage} is no stage"))),
            }
        }
    };
}

// Run by the proofs library: its function is in `builtin.rs`.
#[cfg(feature = "builtin-proofs")]
macro_rules! proofs {
    () => {
        true
    };
    ($task:expr, $run:ident) => {
        super::builtin::$run($task).map_err(Failure::from)
    };
}

#[cfg(not(feature = "builtin-proofs"))]
macro_rules! proofs {
    () => {
        false
    };
    ($task:expr, $run:ident) => {{
        let stage = Self::STAGE;
        Err(Failure::critical(format!(
            "this worker was built without the proofs: configure [[processors.{stage}]]"
        )))
    }};
}

// Run by the worker's own code.
macro_rules! worker {
    () => {
        true
    };
    ($task:expr, $run:ident) => {
        $run($task)
    };
}

tasks! {
    plans {
        AddPieces "add_pieces" -> Vec<PieceInfo>, by proofs add_pieces;
        TreeD "tree_d" -> Opaque, by proofs tree_d;
        CommD "comm_d" -> Commitment, by proofs comm_d;
        Pc1 "pc1" -> Opaque, by proofs pc1;
        Pc2 "pc2" -> Pc2Output, by proofs pc2;
        SynthProof "synth_proof" -> bool, by proofs synth_proof;
        C1 "c1" -> Opaque, by proofs c1;
        C2 "c2" -> C2Output, by proofs c2;
        VerifySeal "verify_seal" -> bool, by proofs verify_seal;
        SnapEncode "snap_encode" -> SnapEncodeOutput, by proofs snap_encode;
        SnapVanilla "snap_vanilla" -> Vec<Vec<u8>>, by proofs snap_vanilla;
        SnapProve "snap_prove" -> Vec<u8>, by proofs snap_prove;
        VerifySnap "verify_snap" -> bool, by proofs verify_snap;
        SnapDecode "snap_decode" -> u64, by proofs snap_decode;
        Unseal "unseal" -> u64, by proofs unseal;
        PieceCommitment "piece_commitment" -> Commitment, by proofs piece_commitment;
        Transfer "transfer" -> bool, by worker transfer;
        WindowPost "window_post" -> WindowPostOutput, by proofs window_post;
    }
    nobody {
        WinningPost "winning_post" -> WinningPostOutput, by proofs winning_post;
    }
}

/// The tasks that a stage may run; none for one that talks to the sector manager only.
pub(crate) fn tasks_of(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::AddPieces | Stage::PrepareForSnapup => &[AddPieces::STAGE],
        Stage::TreeD => &[TreeD::STAGE, CommD::STAGE],
        Stage::Pc1 => &[Pc1::STAGE],
        Stage::Pc2 => &[Pc2::STAGE],
        Stage::SyntheticPoRep => &[SynthProof::STAGE],
        Stage::C1 => &[C1::STAGE],
        Stage::C2 => &[C2::STAGE, VerifySeal::STAGE],
        Stage::SnapEncode => &[SnapEncode::STAGE],
        Stage::SnapProve => &[SnapVanilla::STAGE, SnapProve::STAGE, VerifySnap::STAGE],
        Stage::Unseal => &[Unseal::STAGE, SnapDecode::STAGE, PieceCommitment::STAGE],
        Stage::PersistFiles => &[Transfer::STAGE],
        Stage::WindowPost => &[WindowPost::STAGE],
        Stage::AcquireDeals | Stage::AssignTicket | Stage::WaitSeed => &[],
        Stage::SubmitPreCommit | Stage::WaitPcLanded | Stage::SubmitPersisted => &[],
        Stage::SubmitProof | Stage::WaitProofLanded | Stage::SubmitSnapupProof => &[],
        Stage::UploadPiece | Stage::SubmitWindowPost => &[],
    }
}

fn transfer(task: Transfer) -> Result<bool, Failure> {
    let copied = task.routes.iter().try_for_each(|TransferRoute { src, dest, opt }| {
        if opt.is_some_and(|option| option.is_dir) {
            copy_directory(&src.uri, &dest.uri)
        } else {
            copy_file(&src.uri, &dest.uri)
        }
    });
    copied.map(|()| true).map_err(Failure::temporary)
}
