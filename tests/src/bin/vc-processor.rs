//! `vc-processor STAGE PROGRAM [ARGS…]`: a processor that is made of damocles's own crate
//! `vc-processors`, and has its tasks done by another program, over the same crate.
//!
//! ```text
//!  a worker --> damocles's consumer = this program = damocles's producer --> PROGRAM
//! ```

use std::{env, path::PathBuf, sync::Arc};

use e2e::{damocles_tasks::start, for_damocles_task};
use vc_processors::core::{Processor, Task, ext::run_consumer_with_proc};

struct HandsOn<P>(Arc<P>);

impl<P> Clone for HandsOn<P> {
    fn clone(&self) -> Self {
        HandsOn(self.0.clone())
    }
}

impl<T: Task, P: Processor<T>> Processor<T> for HandsOn<P> {
    fn process(&self, task: T) -> anyhow::Result<T::Output> {
        self.0.process(task)
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = env::args().skip(1);
    let stage = args.next().unwrap_or_default();
    for_damocles_task!(stage.as_str(), serve(args.collect()))
}

fn serve<T: Task>(mut program: Vec<String>) -> anyhow::Result<()> {
    let args = program.split_off(1);
    let producer = start::<T>(PathBuf::from(program.concat()), args)?;
    run_consumer_with_proc::<T, _>(HandsOn(Arc::new(producer)))
}
