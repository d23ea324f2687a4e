//! `damocles-worker processor STAGE`: the program as an external processor.

use clap::{Args, builder::PossibleValuesParser};
use damocles_terminal::{CliError, Exit};

use crate::processor::{
    placement::follow_variables,
    tasks::{SERVED, is_builtin, serve},
};

#[derive(Args, Debug)]
pub struct ProcessorArgs {
    /// The stage
    #[arg(value_parser = PossibleValuesParser::new(SERVED))]
    pub stage: String,
}

/// Answers the tasks of a stage.
pub(crate) async fn run(args: &ProcessorArgs) -> Result<(), CliError> {
    let stage = &args.stage;
    if !is_builtin(stage) {
        let message =
            format!("this program was built without the proofs and cannot compute {stage}");
        return Err(CliError::new(Exit::Usage, message)
            .hint("name a program that can with bin in [[processors.…]]"));
    }
    follow_variables(stage);
    serve(stage).await
}
