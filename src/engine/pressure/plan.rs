//! What a pressure run is asked to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::engine::backend::BackendKind;

/// Bytes in the first baseline's arrays, and how many there are.
const BASELINE_BLOCK_BYTES: u64 = 100_000_000;
const BASELINE_BLOCKS: u64 = 20;
/// The smallest block: below it, starting threads costs more than filling.
const BLOCK_BYTES_MIN: u64 = 1 << 20;
/// The largest: an abort waits for the block in hand.
const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// The longest run, in seconds.
const DEADLINE_SECONDS_MAX: u64 = 24 * 3600;

/// A pressure run, before it meets a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// What holds the memory.
    pub backend: BackendKind,
    /// How much.
    pub target: Target,
    /// Memory is taken in blocks of this size, each written whole before the next.
    pub block_bytes: u64,
    /// The fastest growth; as fast as the backend fills when absent.
    pub ramp_bytes_per_second: Option<u64>,
    /// How long all of it is held once it is there.
    pub hold_seconds: u64,
    /// From the end of one verification to the start of the next, while holding.
    pub verify_every_seconds: u64,
    /// Where the data start: block *n* is filled from seed + *n*.
    pub seed: u64,
    /// The run is over, whatever its state, after this time.
    pub deadline_seconds: u64,
    /// When to stop before the machine suffers.
    pub limits: Limits,
}

impl Default for Plan {
    /// The baseline's: 20 arrays of 100 MB.
    fn default() -> Self {
        Self {
            backend: BackendKind::built_in(),
            target: Target::Bytes(BASELINE_BLOCKS * BASELINE_BLOCK_BYTES),
            block_bytes: BASELINE_BLOCK_BYTES,
            ramp_bytes_per_second: None,
            hold_seconds: 5,
            verify_every_seconds: 5,
            seed: 1,
            deadline_seconds: 600,
            limits: Limits::default(),
        }
    }
}

/// How much memory to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// So many bytes.
    Bytes(u64),
    /// A share of the device's recommended working set, or of its memory where it tells none; more than 0, at most 1.
    WorkingSetShare(f64),
    /// Until the system reports this level of memory pressure. Only `warning` is accepted.
    UntilLevel(Level),
}

/// The levels that a run may aim at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The system starts to ask programs for memory.
    Warning,
    /// The system starts to kill. Named so that it can be refused with its reason.
    Critical,
}

/// Why a plan is not one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: {value} is not accepted; accepted: {accepted}")]
pub struct PlanError {
    /// The field at fault.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What would be accepted.
    pub accepted: &'static str,
}

impl Plan {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// [`PlanError`] for the first field that is not.
    pub fn check(&self) -> Result<(), PlanError> {
        let refuse = |field, value: String, accepted| {
            Err(PlanError {
                field,
                value,
                accepted,
            })
        };
        if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&self.block_bytes)
            || !self.block_bytes.is_multiple_of(4)
        {
            let accepted = "1048576 to 1073741824 bytes, a multiple of 4";
            return refuse("block_bytes", self.block_bytes.to_string(), accepted);
        }
        match self.target {
            Target::Bytes(bytes) if bytes < self.block_bytes.min(BLOCK_BYTES_MIN) => {
                refuse("target", format!("{bytes} bytes"), "1048576 bytes or more")
            }
            Target::WorkingSetShare(share) if !(share > 0.0 && share <= 1.0) => refuse(
                "target",
                format!("a share of {share}"),
                "more than 0, at most 1",
            ),
            Target::UntilLevel(Level::Critical) => refuse(
                "target",
                "until level critical".to_owned(),
                "until level warning: at critical the system kills programs, at the next step it panics",
            ),
            _ => Ok(()),
        }?;
        if self.ramp_bytes_per_second == Some(0) {
            return refuse(
                "ramp_bytes_per_second",
                "0".to_owned(),
                "1 or more, or none",
            );
        }
        if !(1..=DEADLINE_SECONDS_MAX).contains(&self.deadline_seconds) {
            return refuse(
                "deadline_seconds",
                self.deadline_seconds.to_string(),
                "1 to 86400",
            );
        }
        if self.hold_seconds >= self.deadline_seconds {
            let accepted = "less than deadline_seconds";
            return refuse("hold_seconds", self.hold_seconds.to_string(), accepted);
        }
        self.limits.check()
    }

    /// The deadline as a length of time.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds)
    }
}

/// The sizes of the blocks that make up `target_bytes`: full ones, then what is left, rounded down to a multiple of 4.
pub(super) fn blocks(target_bytes: u64, block_bytes: u64) -> impl Iterator<Item = u64> {
    let full = target_bytes / block_bytes;
    let rest = target_bytes % block_bytes / 4 * 4;
    (0..full)
        .map(move |_| block_bytes)
        .chain((rest > 0).then_some(rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_baseline() {
        let plan = Plan::default();
        plan.check().unwrap();
        let Target::Bytes(bytes) = plan.target else {
            panic!("a size")
        };
        assert_eq!(
            blocks(bytes, plan.block_bytes).collect::<Vec<_>>(),
            [100_000_000; 20]
        );
    }

    #[test]
    fn blocks_sum_to_the_target() {
        assert_eq!(blocks(10, 4).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(blocks(12, 8).collect::<Vec<_>>(), [8, 4]);
        assert_eq!(blocks(16, 8).sum::<u64>(), 16);
    }

    #[test]
    fn critical_is_never_a_target() {
        let plan = Plan {
            target: Target::UntilLevel(Level::Critical),
            ..Plan::default()
        };
        let error = plan.check().unwrap_err().to_string();
        assert!(
            error.starts_with("target: until level critical is not accepted"),
            "{error}"
        );
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let bad = |plan: Plan| plan.check().unwrap_err().field;
        let plan = Plan::default;
        assert_eq!(
            bad(Plan {
                block_bytes: 1,
                ..plan()
            }),
            "block_bytes"
        );
        assert_eq!(
            bad(Plan {
                block_bytes: (1 << 20) + 1,
                ..plan()
            }),
            "block_bytes"
        );
        assert_eq!(
            bad(Plan {
                target: Target::Bytes(0),
                ..plan()
            }),
            "target"
        );
        assert_eq!(
            bad(Plan {
                target: Target::WorkingSetShare(f64::NAN),
                ..plan()
            }),
            "target"
        );
        assert_eq!(
            bad(Plan {
                target: Target::WorkingSetShare(1.1),
                ..plan()
            }),
            "target"
        );
        assert_eq!(
            bad(Plan {
                ramp_bytes_per_second: Some(0),
                ..plan()
            }),
            "ramp_bytes_per_second"
        );
        assert_eq!(
            bad(Plan {
                deadline_seconds: 0,
                ..plan()
            }),
            "deadline_seconds"
        );
        assert_eq!(
            bad(Plan {
                hold_seconds: 600,
                ..plan()
            }),
            "hold_seconds"
        );
    }
}
