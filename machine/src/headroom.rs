//! How far a machine is from trouble, in bytes.
//!
//! Three figures answer three questions. *Reclaimable*: how much can be had without taking a running program's memory?
//! *To warning* and *to critical*: how much more may be allocated before the machine is pressed, or in danger?
//!
//! The rules of macOS are the kernel's own and stand in [`xnu`]; those of Linux are this project's, made of what the
//! kernel publishes, and stand in [`linux`].

pub mod linux;
pub mod xnu;

use serde::{Deserialize, Serialize};

use crate::sample::{PressureLevel, Sample};

/// How far a machine is from trouble. A figure is absent where the sample lacks what it is made of: unknown, not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Headroom {
    /// What can be had without taking a running program's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reclaimable_bytes: Option<u64>,
    /// To the level at which the system starts to be pressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_warning: Option<Distance>,
    /// To the level at which it starts to kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_critical: Option<Distance>,
}

/// Bytes that may still be allocated before a level is reached; zero or less once it is.
///
/// How far a Mac gets depends on how well the memory of other programs compresses when it has to make room, so this is
/// an interval. `low ≤ expected ≤ high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distance {
    /// When nothing else compresses. A gate that must not be wrong takes this.
    pub low_bytes: i64,
    /// When it compresses as well as what is compressed already.
    pub expected_bytes: i64,
    /// When it compresses to nothing.
    pub high_bytes: i64,
}

impl Headroom {
    /// The headroom of one sample: by Linux's rule where the sample says what is available, else by XNU's. Where the
    /// kernel tells its own level and that level is reached, no distance to it is left, whatever the figures say: it
    /// falls later than it rises.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let by_rule = if sample.memory.available_bytes.is_some() {
            linux::headroom
        } else {
            xnu::headroom
        };
        let mut headroom = by_rule(sample);
        let reached = |level| sample.pressure.level.is_some_and(|told| told >= level);
        if reached(PressureLevel::Warning) {
            headroom.to_warning = headroom.to_warning.map(Distance::at_most_zero);
        }
        if reached(PressureLevel::Critical) {
            headroom.to_critical = headroom.to_critical.map(Distance::at_most_zero);
        }
        headroom
    }
}

impl Headroom {
    /// Bytes that a new program may take now: what can be had without taking a running program's memory, and no more
    /// than brings the machine to its warning level when nothing else compresses. A gate decides by this.
    #[must_use]
    pub fn takeable_bytes(&self) -> Option<u64> {
        let to_warning = self.to_warning.map_or(u64::MAX, |distance| {
            u64::try_from(distance.low_bytes).unwrap_or(0)
        });
        Some(self.reclaimable_bytes?.min(to_warning))
    }
}

impl Distance {
    fn at_most_zero(self) -> Self {
        Self {
            low_bytes: self.low_bytes.min(0),
            expected_bytes: self.expected_bytes.min(0),
            high_bytes: self.high_bytes.min(0),
        }
    }

    fn exact(bytes: i128) -> Self {
        Self::between(bytes, bytes, bytes)
    }

    fn between(low: i128, expected: i128, high: i128) -> Self {
        Self {
            low_bytes: clamped(low),
            expected_bytes: clamped(expected),
            high_bytes: clamped(high),
        }
    }
}

fn clamped(bytes: i128) -> i64 {
    i64::try_from(bytes).unwrap_or(if bytes < 0 { i64::MIN } else { i64::MAX })
}

/// What a sample says at the edges. Levels rise and fall at different ones, so that they do not flutter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edges {
    /// The highest level whose rising edge is crossed.
    pub(crate) rising: PressureLevel,
    /// The level that is left of critical once the falling edges are looked at.
    pub(crate) falling: PressureLevel,
}

impl Edges {
    fn new(rises: Crossed, falls: Crossed) -> Self {
        use PressureLevel::{Critical, Normal, Warning};
        Self {
            rising: if rises.critical {
                Critical
            } else if rises.warning {
                Warning
            } else {
                Normal
            },
            falling: if falls.warning {
                Normal
            } else if falls.critical {
                Warning
            } else {
                Critical
            },
        }
    }
}

/// Which of two edges of one direction are crossed.
#[derive(Debug, Clone, Copy)]
struct Crossed {
    warning: bool,
    critical: bool,
}

/// The edges of one sample, by the rule that [`Headroom::of`] takes; `None` where the sample lacks what they need.
pub(crate) fn edges(sample: &Sample) -> Option<Edges> {
    if sample.memory.available_bytes.is_some() {
        linux::edges(sample)
    } else {
        xnu::edges(sample)
    }
}

#[cfg(test)]
mod tests;
