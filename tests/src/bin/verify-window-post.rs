//! `verify-window-post`: says whether window-PoSt proofs are those of given sectors. A program of
//! its own, because the proofs library takes its parameters from a directory that is fixed for a
//! process.
//!
//! ```text
//!  < {"proof_type": …, "seed": […], "miner": 10000, "sectors": [[1, [commR]]], "proofs": [[…]]}
//!  > true
//! ```

use std::{error::Error, io::Write};

use damocles_worker::processor::builtin;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claim {
    proof_type: String,
    seed: [u8; 32],
    miner: u64,
    sectors: Vec<(u64, [u8; 32])>,
    proofs: Vec<Vec<u8>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Claim { proof_type, seed, miner, sectors, proofs } =
        serde_json::from_reader(std::io::stdin())?;
    let valid = builtin::verify_window_post(&proof_type, &seed, miner, &sectors, &proofs)
        .map_err(|error| error.to_string())?;
    Ok(writeln!(std::io::stdout(), "{valid}")?)
}
