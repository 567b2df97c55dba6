//! Footprint × budget → fits, tight, does not fit, with the ceiling that binds and machine-readable reasons.

use crate::budget::{Ceiling, CeilingKind};
use crate::timeline::Estimate;
use crate::units::MIB;

/// Bytes that are kept free below every ceiling.
pub const MARGIN_BYTES: u64 = 256 * MIB;

/// Share of the working set above which mlx-lm warns that a model is large (`generate.py`, `wired_limit`).
const WARNING_SHARE: f64 = 0.9;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The interval's high end is below every ceiling.
    Fits,
    /// A ceiling lies inside the interval, or above MLX's own warning line.
    Tight,
    /// The expected peak is above a ceiling.
    DoesNotFit,
}

impl Outcome {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does_not_fit",
        }
    }

    /// The worse of two outcomes.
    #[must_use]
    pub fn worse_of(self, other: Self) -> Self {
        let rank = |outcome| match outcome {
            Self::Fits => 0,
            Self::Tight => 1,
            Self::DoesNotFit => 2,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

/// Why an outcome is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The expected peak is above the ceiling.
    PeakAboveCeiling {
        /// Which.
        ceiling: CeilingKind,
        /// By how many bytes.
        over_bytes: u64,
    },
    /// The interval's high end is above the ceiling less the margin.
    HighAboveCeiling {
        /// Which.
        ceiling: CeilingKind,
        /// By how many bytes.
        over_bytes: u64,
    },
    /// Weights are above the line at which mlx-lm warns.
    AboveWarningLine {
        /// Bytes of the line.
        line_bytes: u64,
    },
    /// The context is beyond what the model was trained for.
    BeyondModelContext {
        /// The model's own maximum.
        max_context_tokens: u64,
    },
    /// The machine's memory is under pressure already.
    UnderPressure {
        /// Whether the kernel's level is critical rather than warning.
        critical: bool,
    },
}

impl Reason {
    /// The name in reports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PeakAboveCeiling { .. } => "peak_above_ceiling",
            Self::HighAboveCeiling { .. } => "high_above_ceiling",
            Self::AboveWarningLine { .. } => "above_mlx_warning_line",
            Self::BeyondModelContext { .. } => "beyond_model_context",
            Self::UnderPressure { critical: true } => "memory_pressure_critical",
            Self::UnderPressure { critical: false } => "memory_pressure_warning",
        }
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub outcome: Outcome,
    /// The lowest ceiling.
    pub binding: CeilingKind,
    /// Bytes between the expected peak and the binding ceiling; negative above it.
    pub headroom_bytes: i64,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Decides, without the reasons.
#[must_use]
pub fn outcome(
    peak: Estimate,
    weights_bytes: u64,
    ceilings: &[Ceiling],
    margin_bytes: u64,
) -> Outcome {
    let least = ceilings.iter().map(|c| c.bytes).min().unwrap_or(0);
    if peak.expected > least {
        Outcome::DoesNotFit
    } else if most_that_fits(weights_bytes, ceilings, margin_bytes).room_bytes(peak) < 0 {
        Outcome::Tight
    } else {
        Outcome::Fits
    }
}

/// What the peak of given weights may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Of the expected peak, and of its high end; none where the weights alone are above MLX's warning line.
    bytes: Option<(u64, u64)>,
}

impl Most {
    /// Bytes between a peak and what fits; negative where it does not fit well.
    #[must_use]
    pub fn room_bytes(self, peak: Estimate) -> i64 {
        let Some((expected, high)) = self.bytes else {
            return i64::MIN;
        };
        let room = (i128::from(expected) - i128::from(peak.expected))
            .min(i128::from(high) - i128::from(peak.high));
        room.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// What a peak may come to for the outcome to be that it fits.
#[must_use]
pub fn most_that_fits(weights_bytes: u64, ceilings: &[Ceiling], margin_bytes: u64) -> Most {
    let least = ceilings.iter().map(|c| c.bytes).min().unwrap_or(0);
    let warned = warning_line(ceilings).is_some_and(|line| weights_bytes > line);
    Most {
        bytes: (!warned).then(|| (least, least.saturating_sub(margin_bytes))),
    }
}

fn warning_line(ceilings: &[Ceiling]) -> Option<u64> {
    ceilings
        .iter()
        .find(|c| c.kind == CeilingKind::GpuWorkingSet)
        .map(|c| (c.bytes as f64 * WARNING_SHARE) as u64)
}

/// Decides, and says why.
#[must_use]
pub fn decide(
    peak: Estimate,
    weights_bytes: u64,
    ceilings: &[Ceiling],
    margin_bytes: u64,
) -> Verdict {
    let binding = ceilings.iter().min_by_key(|c| c.bytes);
    let (kind, bytes) = binding.map_or((CeilingKind::PhysicalMemory, 0), |c| (c.kind, c.bytes));
    let mut reasons = Vec::new();
    for ceiling in ceilings {
        if peak.expected > ceiling.bytes {
            reasons.push(Reason::PeakAboveCeiling {
                ceiling: ceiling.kind,
                over_bytes: peak.expected - ceiling.bytes,
            });
        } else if peak.high > ceiling.bytes.saturating_sub(margin_bytes) {
            reasons.push(Reason::HighAboveCeiling {
                ceiling: ceiling.kind,
                over_bytes: peak.high - ceiling.bytes.saturating_sub(margin_bytes),
            });
        }
    }
    if let Some(line_bytes) = warning_line(ceilings).filter(|&line| weights_bytes > line) {
        reasons.push(Reason::AboveWarningLine { line_bytes });
    }
    Verdict {
        outcome: outcome(peak, weights_bytes, ceilings, margin_bytes),
        binding: kind,
        headroom_bytes: (i128::from(bytes) - i128::from(peak.expected))
            .clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(kind: CeilingKind, bytes: u64) -> Ceiling {
        Ceiling {
            kind,
            bytes,
            why: String::new(),
        }
    }

    #[test]
    fn each_outcome_has_its_reason() {
        let gpu = ceiling(CeilingKind::GpuWorkingSet, 100_000);
        let cap = ceiling(CeilingKind::OperatorCap, 90_000);
        let peak = Estimate {
            low: 50_000,
            expected: 60_000,
            high: 70_000,
        };
        let fits = decide(peak, 40_000, &[gpu.clone(), cap.clone()], 1000);
        assert_eq!(
            (
                fits.outcome,
                fits.binding,
                fits.headroom_bytes,
                fits.reasons.len()
            ),
            (Outcome::Fits, CeilingKind::OperatorCap, 30_000, 0)
        );
        let tight = decide(
            Estimate {
                high: 89_500,
                ..peak
            },
            40_000,
            &[gpu.clone(), cap.clone()],
            1000,
        );
        assert_eq!(
            tight.reasons,
            [Reason::HighAboveCeiling {
                ceiling: CeilingKind::OperatorCap,
                over_bytes: 500
            }]
        );
        assert_eq!(tight.outcome, Outcome::Tight);
        let over = decide(
            Estimate {
                low: 91_000,
                expected: 95_000,
                high: 99_900,
            },
            40_000,
            &[gpu.clone(), cap],
            1000,
        );
        assert_eq!(
            (over.outcome, over.headroom_bytes, over.reasons.len()),
            (Outcome::DoesNotFit, -5000, 2)
        );
        let warned = decide(
            Estimate {
                low: 91_000,
                expected: 92_000,
                high: 93_000,
            },
            91_000,
            &[gpu],
            1000,
        );
        assert_eq!(
            (warned.outcome, warned.reasons.as_slice()),
            (
                Outcome::Tight,
                &[Reason::AboveWarningLine { line_bytes: 90_000 }][..]
            )
        );
    }
}
