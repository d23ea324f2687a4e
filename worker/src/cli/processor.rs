//! `damocles-worker processor STAGE`: the program as an external processor.

use clap::{Args, builder::PossibleValuesParser};
use damocles_terminal::{CliError, Exit};

use crate::processor::{
    own,
    task::{
        AddPieces, C1, C2, Pc1, Pc2, STAGES, SnapEncode, SnapProve, SynthProof, Task, Transfer,
        TreeD, Unseal, WindowPost,
    },
};

/// What to compute.
#[derive(Args, Debug)]
pub struct ProcessorArgs {
    /// The stage
    #[arg(value_parser = PossibleValuesParser::new(STAGES))]
    pub stage: String,
}

/// Answers the tasks of a stage.
pub async fn run(args: &ProcessorArgs) -> Result<(), CliError> {
    macro_rules! serve {
        ($($task:ty),*) => {
            match args.stage.as_str() {
                $(<$task>::STAGE => own::serve::<$task>().await,)*
                stage => Err(CliError::new(Exit::Usage, format!("{stage} is no stage"))),
            }
        };
    }
    if cfg!(not(feature = "builtin-proofs")) && args.stage != Transfer::STAGE {
        let message =
            format!("this program was built without the proofs and cannot compute {}", args.stage);
        return Err(CliError::new(Exit::Usage, message)
            .hint("name a program that can with bin in [[processors.…]]"));
    }
    serve!(
        AddPieces, TreeD, Pc1, Pc2, SynthProof, C1, C2, SnapEncode, SnapProve, Unseal, Transfer,
        WindowPost
    )
}
