//! Why a run ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a run ended, with the figures that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The kind, for programs.
    pub code: ReasonCode,
    /// The figures, for people.
    pub detail: String,
}

impl Reason {
    pub(super) fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code.name(), self.detail)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident => $name:literal,)*) => {
        /// The kinds of reasons for which a run ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ReasonCode { $($(#[$doc])* $code,)* }

        impl ReasonCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The name in JSON and as a metric's label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }
        }
    };
}

codes! {
    /// Everything asked for was held, verified and given back.
    Completed => "completed",
    /// It was, and some of it was not what had been written.
    Mismatch => "mismatch",
    /// The start was refused; nothing was allocated.
    Refused => "refused",
    /// The operator asked for the end.
    Stopped => "stopped",
    /// The system reported too high a level of memory pressure.
    PressureLevel => "pressure_level",
    /// Too much was swapped out a second.
    SwapoutRate => "swapout_rate",
    /// The compressor grew too fast.
    CompressorGrowth => "compressor_growth",
    /// The compressor came near its limit of segments.
    CompressorSegments => "compressor_segments",
    /// The worker grew beyond what the plan gives it.
    FootprintCap => "footprint_cap",
    /// Too little memory was left that can be had without taking a program's.
    ReclaimableFloor => "reclaimable_floor",
    /// No reading came in time.
    SamplerStalled => "sampler_stalled",
    /// A reading failed.
    ReadingFailed => "reading_failed",
    /// The time was up.
    Deadline => "deadline",
    /// The worker ended by itself or was killed.
    WorkerDied => "worker_died",
    /// The worker said nothing for too long.
    WorkerStalled => "worker_stalled",
    /// The worker could not allocate or read memory.
    BackendFailed => "backend_failed",
    /// The watching process died; the worker gave the memory back by itself.
    ParentDied => "parent_died",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json_form() {
        for code in ReasonCode::ALL {
            assert_eq!(serde_json::to_value(code).ok(), Some(code.name().into()));
        }
    }
}
