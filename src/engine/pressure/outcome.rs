//! What a run found out, as kept in the state directory and printed by `--json`.

use serde::{Deserialize, Serialize};
use shv_machine::sample::{PressureLevel, unix_seconds};

use super::plan::Plan;
use super::reason::{Reason, ReasonCode};
use crate::engine::backend::{DeviceInfo, MemoryFigures};

/// Names the form of the document.
pub const SCHEMA: &str = "shvd.pressure/v1";

/// What a run found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// When the run ended, in seconds since 1970-01-01 UTC.
    pub ended_at_unix_seconds: f64,
    /// From the start to the end.
    pub seconds: f64,
    /// Why it ended.
    pub reason: Reason,
    /// What was asked for; absent in a record that the worker left behind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<Plan>,
    /// The device that held the memory.
    #[serde(default)]
    pub device: DeviceInfo,
    /// The plan's target on this machine, in bytes.
    pub target_bytes: u64,
    /// Taken and written.
    pub touched_bytes: u64,
    /// Read again and compared, all passes together.
    pub verified_bytes: u64,
    /// Passes in which every held byte was read again.
    pub whole_passes: u64,
    /// Bytes (host) or 32-bit words (MLX) that were not what had been written, all passes together.
    pub mismatches: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_mismatch: Option<Place>,
    /// While filling.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fill_bytes_per_second: Option<f64>,
    /// While verifying.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verify_bytes_per_second: Option<f64>,
    /// When each level of memory pressure was first seen.
    pub levels: Vec<LevelReached>,
    /// The largest values seen.
    pub peak: Peak,
    /// The least headroom seen.
    pub least: Least,
    /// Pages swapped in and out while it ran, by anyone.
    pub swapins: u64,
    /// See `swapins`.
    pub swapouts: u64,
    /// The backend's own figures before the first block.
    pub figures_before: MemoryFigures,
    /// The same with everything held.
    pub figures_held: MemoryFigures,
    /// The same after the release; absent when the worker was killed, which gives everything back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub figures_after: Option<MemoryFigures>,
    /// How the memory was given back.
    pub release: Release,
    /// Readings of the machine that were judged.
    pub readings: u64,
}

/// A byte of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The block, from 0.
    pub block: usize,
    /// The byte in it.
    pub byte: u64,
}

/// When a level was reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LevelReached {
    /// The level.
    pub level: PressureLevel,
    /// After so long.
    pub after_seconds: f64,
}

/// The largest values seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// What the worker cost the machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub footprint_bytes: Option<u64>,
    /// Memory that the compressor took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub compressor_bytes: Option<u64>,
    /// Swap in use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub swap_used_bytes: Option<u64>,
}

/// The least headroom seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least {
    /// To be had without taking a program's memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reclaimable_bytes: Option<u64>,
    /// To the level warning, at the low end of the estimate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_warning_bytes: Option<i64>,
    /// To the level critical, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_critical_bytes: Option<i64>,
}

/// How the memory was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The worker was killed rather than asked.
    pub killed: bool,
    /// From the decision to the worker's end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker_gone_seconds: Option<f64>,
    /// From the worker's end until the machine had its memory back and no pressure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine_back_seconds: Option<f64>,
}

impl Outcome {
    /// An outcome of which nothing is known but why it ended, now.
    #[must_use]
    pub fn ended(reason: Reason) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            ended_at_unix_seconds: unix_seconds(std::time::SystemTime::now()),
            seconds: 0.0,
            reason,
            plan: None,
            device: DeviceInfo::default(),
            target_bytes: 0,
            touched_bytes: 0,
            verified_bytes: 0,
            whole_passes: 0,
            mismatches: 0,
            first_mismatch: None,
            fill_bytes_per_second: None,
            verify_bytes_per_second: None,
            levels: Vec::new(),
            peak: Peak::default(),
            least: Least::default(),
            swapins: 0,
            swapouts: 0,
            figures_before: MemoryFigures::default(),
            figures_held: MemoryFigures::default(),
            figures_after: None,
            release: Release::default(),
            readings: 0,
        }
    }

    /// Whether everything asked for was held and found as it was written.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.reason.code == ReasonCode::Completed && self.mismatches == 0
    }
}
