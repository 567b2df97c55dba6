//! What the watching process and the worker say to each other: one JSON object a line, over the worker's standard
//! input and output. The end of its input tells the worker that the watching process is gone.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::backend::{DeviceInfo, MemoryFigures, Verified};

/// From the watching process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Take memory. The first order, once.
    Begin(Begin),
    /// Take no more; hold what is there.
    Enough,
    /// Give everything back and end.
    Release,
}

/// What to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) target_bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) ramp_bytes_per_second: Option<u64>,
    pub(super) hold_seconds: u64,
    pub(super) verify_every_seconds: u64,
    pub(super) seed: u64,
    /// A bit to flip once everything is filled: shows that verification finds it.
    pub(super) planted_fault: Option<PlantedFault>,
    /// Where to record the reason if the watching process dies.
    pub(super) orphan_directory: PathBuf,
    pub(super) orphan_name: String,
}

/// A bit to flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedFault {
    /// The block, from 0.
    pub block: usize,
    /// The byte in it.
    pub byte: u64,
    /// The bit in that, 0 to 7.
    pub bit: u8,
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The backend is open; nothing is held.
    Ready {
        device: DeviceInfo,
        figures: MemoryFigures,
    },
    /// One more block is held and written.
    Filled {
        bytes: u64,
        seconds: f64,
        figures: MemoryFigures,
    },
    /// Everything asked for is held.
    Holding,
    /// A block was read again.
    Verified {
        block: usize,
        seconds: f64,
        found: Verified,
    },
    /// Every block was read again.
    Pass,
    /// Everything is given back.
    Released {
        seconds: f64,
        figures: MemoryFigures,
    },
    /// The backend failed.
    Failed { message: String },
}
