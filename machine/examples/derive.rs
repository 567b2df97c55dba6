//! Reads a recording on standard input (one JSON object a line, see [`shv_machine::source::replay`]) and prints, for
//! each sample, one line of JSON with what follows from it.

use std::io::{self, BufReader, BufWriter, Write};

use serde::Serialize;
use shv_machine::Source;
use shv_machine::SourceError;
use shv_machine::derived::Derived;
use shv_machine::headroom::{Headroom, xnu};
use shv_machine::pressure::PressureState;
use shv_machine::sample::{PressureLevel, Sample};
use shv_machine::source::replay::{Pace, Replay};

#[derive(Serialize)]
struct Line {
    sample: Sample,
    derived: Derived,
    headroom: Headroom,
    non_compressed_bytes: Option<u64>,
    /// Of this sample alone, without what came before.
    computed_level: Option<PressureLevel>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut replay = Replay::new(
        BufReader::new(io::stdin()),
        "standard input",
        Pace::EachReading,
    );
    let mut output = BufWriter::new(io::stdout().lock());
    loop {
        let sample = match replay.read() {
            Ok(sample) => sample,
            Err(SourceError::Ended { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let mut silent = sample.clone();
        silent.pressure.level = None;
        let line = Line {
            derived: Derived::of(&sample),
            headroom: Headroom::of(&sample),
            non_compressed_bytes: xnu::non_compressed_bytes(&sample),
            computed_level: PressureState::default().observe(&silent),
            sample,
        };
        serde_json::to_writer(&mut output, &line)?;
        writeln!(output)?;
    }
    output.flush()?;
    Ok(())
}
