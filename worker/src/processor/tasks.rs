//! The table of the tasks: what each is called, what it yields, and what runs it inside the worker.
//! All else follows from it: what can be configured and limited, and what the worker's program
//! serves as a processor.

use damocles_terminal::{CliError, Exit};

use super::{
    own,
    task::{
        AddPieces, C1, C2, C2Output, Opaque, Pc1, Pc2, Pc2Output, PieceInfo, SnapEncode,
        SnapEncodeOutput, SnapProve, SynthProof, Task, Transfer, TransferRoute, TreeD, Unseal,
        WindowPost, WindowPostOutput,
    },
};
use crate::{
    failure::Failure,
    store::transfer::{copy_directory, copy_file},
};

macro_rules! tasks {
    ($($task:ident $name:literal -> $output:ty, by $by:ident $run:ident;)*) => {
        /// What tasks are called, each after its stage. `c1` is ours: damocles runs it inside the
        /// worker, which a build without proofs cannot.
        pub(crate) const STAGES: [&str; [$($name),*].len()] = [$($name),*];

        $(impl Task for $task {
            const STAGE: &'static str = $name;
            type Output = $output;

            fn run_builtin(self) -> Result<Self::Output, Failure> {
                $by!(self, $run)
            }
        })*

        /// Whether this build of the worker can run the tasks of a stage itself.
        pub(crate) fn is_builtin(stage: &str) -> bool {
            match stage {
                $($name => $by!(),)*
                _ => false,
            }
        }

        /// Answers the tasks of a stage over the line protocol, as an external processor does.
        pub(crate) async fn serve(stage: &str) -> Result<(), CliError> {
            match stage {
                $($name => own::serve::<$task>().await,)*
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
    AddPieces "add_pieces" -> Vec<PieceInfo>, by proofs add_pieces;
    TreeD "tree_d" -> Opaque, by proofs tree_d;
    Pc1 "pc1" -> Opaque, by proofs pc1;
    Pc2 "pc2" -> Pc2Output, by proofs pc2;
    SynthProof "synth_proof" -> bool, by proofs synth_proof;
    C1 "c1" -> Opaque, by proofs c1;
    C2 "c2" -> C2Output, by proofs c2;
    SnapEncode "snap_encode" -> SnapEncodeOutput, by proofs snap_encode;
    SnapProve "snap_prove" -> Vec<u8>, by proofs snap_prove;
    Unseal "unseal" -> u64, by proofs unseal;
    Transfer "transfer" -> bool, by worker transfer;
    WindowPost "window_post" -> WindowPostOutput, by proofs window_post;
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
