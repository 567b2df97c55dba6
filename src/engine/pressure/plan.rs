//! What a pressure run is asked to do.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

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
    /// What holds the memory; read from `auto` as what is built in.
    #[serde(deserialize_with = "backend_or_auto")]
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
#[serde(rename_all = "snake_case", try_from = "TargetText")]
pub enum Target {
    /// So many bytes.
    Bytes(u64),
    /// A share of the device's recommended working set, or of its memory where it tells none; more than 0, at most 1.
    WorkingSetShare(f64),
    /// Until the system reports this level of memory pressure. Only `warning` is accepted.
    UntilLevel(Level),
}

/// A target as it is written, in JSON and YAML alike: exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetText {
    bytes: Option<u64>,
    working_set_share: Option<f64>,
    until_level: Option<Level>,
}

impl TryFrom<TargetText> for Target {
    type Error = &'static str;

    fn try_from(text: TargetText) -> Result<Self, Self::Error> {
        match (text.bytes, text.working_set_share, text.until_level) {
            (Some(bytes), None, None) => Ok(Self::Bytes(bytes)),
            (None, Some(share), None) => Ok(Self::WorkingSetShare(share)),
            (None, None, Some(level)) => Ok(Self::UntilLevel(level)),
            _ => Err("a target is exactly one of `bytes`, `working_set_share` and `until_level`"),
        }
    }
}

/// A backend as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BackendText {
    Auto,
    Host,
    Mlx,
}

fn backend_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BackendKind, D::Error> {
    Ok(match BackendText::deserialize(deserializer)? {
        BackendText::Auto => BackendKind::built_in(),
        BackendText::Host => BackendKind::Host,
        BackendText::Mlx => BackendKind::Mlx,
    })
}

/// What a caller wants to be otherwise than planned. The limits are the machine owner's and not among it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// Start although the machine does not promise to bear it.
    pub force: bool,
    /// See [`Plan::backend`].
    #[serde(deserialize_with = "backend_given")]
    pub backend: Option<BackendKind>,
    /// See [`Plan::target`].
    pub target: Option<Target>,
    /// See [`Plan::block_bytes`].
    pub block_bytes: Option<u64>,
    /// See [`Plan::ramp_bytes_per_second`].
    pub ramp_bytes_per_second: Option<u64>,
    /// See [`Plan::hold_seconds`].
    pub hold_seconds: Option<u64>,
    /// See [`Plan::verify_every_seconds`].
    pub verify_every_seconds: Option<u64>,
    /// See [`Plan::seed`].
    pub seed: Option<u64>,
    /// See [`Plan::deadline_seconds`].
    pub deadline_seconds: Option<u64>,
}

fn backend_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BackendKind>, D::Error> {
    backend_or_auto(deserializer).map(Some)
}

impl Changes {
    /// `plan`, changed.
    #[must_use]
    pub fn over(&self, mut plan: Plan) -> Plan {
        let set = |place: &mut u64, wanted: Option<u64>| *place = wanted.unwrap_or(*place);
        plan.backend = self.backend.unwrap_or(plan.backend);
        plan.target = self.target.unwrap_or(plan.target);
        set(&mut plan.block_bytes, self.block_bytes);
        plan.ramp_bytes_per_second = self.ramp_bytes_per_second.or(plan.ramp_bytes_per_second);
        set(&mut plan.hold_seconds, self.hold_seconds);
        set(&mut plan.verify_every_seconds, self.verify_every_seconds);
        set(&mut plan.seed, self.seed);
        set(&mut plan.deadline_seconds, self.deadline_seconds);
        plan
    }
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

impl PlanError {
    /// The same without the field's name.
    #[must_use]
    pub fn why(&self) -> String {
        format!(
            "{} is not accepted; accepted: {}",
            self.value, self.accepted
        )
    }
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
    fn what_is_written_reads_back_and_nothing_else_does() {
        for target in [
            Target::Bytes(5 << 20),
            Target::WorkingSetShare(0.5),
            Target::UntilLevel(Level::Warning),
        ] {
            let plan = Plan {
                target,
                ..Plan::default()
            };
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        }
        let yaml = "{backend: auto, target: {until_level: warning}}";
        let plan: Plan = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(plan.target, Target::UntilLevel(Level::Warning));
        assert_eq!(plan.backend, BackendKind::built_in());
        for (bad, why) in [
            ("{target: {}}", "exactly one of `bytes`"),
            (
                "{target: {bytes: 1, working_set_share: 0.5}}",
                "exactly one",
            ),
            ("{target: {megabytes: 1}}", "unknown field `megabytes`"),
            ("{backend: cuda}", "expected one of `auto`, `host`, `mlx`"),
        ] {
            let error = serde_yaml::from_str::<Plan>(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn changes_go_over_the_plan_and_leave_its_limits() {
        let changes: Changes = serde_json::from_str(
            r#"{"backend": "host", "target": {"bytes": 8388608}, "hold_seconds": 1, "force": true}"#,
        )
        .unwrap();
        let plan = changes.over(Plan::default());
        let expected = Plan {
            backend: BackendKind::Host,
            target: Target::Bytes(8 << 20),
            hold_seconds: 1,
            ..Plan::default()
        };
        assert_eq!(plan, expected);
        let error = serde_json::from_str::<Changes>(r#"{"limits": {}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `limits`"));
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
