//! The level of memory pressure over time.
//!
//! The kernel's own level is taken where it tells one. Elsewhere (Linux, and dumps without it) the level follows the
//! edges of [`crate::headroom`], rising at one and falling at another as XNU's `vm_pressure_response` does, so that a
//! machine at an edge does not flutter between two levels.

use crate::headroom::edges;
use crate::sample::{PressureLevel, Sample};

/// Follows the level from sample to sample.
#[derive(Debug, Clone, Copy)]
pub struct PressureState {
    level: PressureLevel,
}

impl Default for PressureState {
    fn default() -> Self {
        Self {
            level: PressureLevel::Normal,
        }
    }
}

impl PressureState {
    /// The level after `sample`; `None` when it tells neither a level nor enough to find one, in which case the state
    /// stays as it was.
    pub fn observe(&mut self, sample: &Sample) -> Option<PressureLevel> {
        self.level = match sample.pressure.level {
            Some(told) => told,
            None => self.computed(sample)?,
        };
        Some(self.level)
    }

    fn computed(self, sample: &Sample) -> Option<PressureLevel> {
        use PressureLevel::{Critical, Normal, Warning};
        let edges = edges(sample)?;
        Some(match self.level {
            Normal => edges.rising,
            Warning if edges.falling == Normal => Normal,
            Warning if edges.rising == Critical => Critical,
            Warning => Warning,
            Critical => edges.falling,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PressureLevel::{Critical, Normal, Warning};
    use super::*;
    use crate::sample::{Stall, StallTime};

    /// A Mac with `non_compressed` of 100 available pages, the rest in the compressor.
    fn mac(non_compressed: u64) -> Sample {
        let mut sample = Sample::default();
        sample.memory.free_bytes = Some(0);
        sample.memory.file_backed_bytes = Some(0);
        sample.memory.anonymous_bytes = Some(non_compressed);
        sample.compressor.occupied_bytes = Some(100 - non_compressed);
        sample
    }

    fn linux(available: u64, some: f64, full: f64) -> Sample {
        let mut sample = Sample::default();
        sample.memory.total_bytes = Some(100);
        sample.memory.available_bytes = Some(available);
        let time = |ratio_10s| StallTime {
            ratio_10s,
            ..StallTime::default()
        };
        sample.pressure.stall = Some(Stall {
            some: time(some),
            full: time(full),
        });
        sample
    }

    fn levels(samples: &[Sample]) -> Vec<PressureLevel> {
        let mut state = PressureState::default();
        samples
            .iter()
            .filter_map(|sample| state.observe(sample))
            .collect()
    }

    #[test]
    fn a_mac_rises_at_50_and_34_and_falls_at_60_and_40_percent() {
        let samples: Vec<_> = [50, 49, 50, 60, 61, 60, 35, 34, 40, 41, 60, 61, 34, 61]
            .map(mac)
            .into();
        assert_eq!(
            levels(&samples),
            [
                Normal, Warning, Warning, Warning, Normal, Normal, Warning, Critical, Critical,
                Warning, Warning, Normal, Critical, Normal
            ]
        );
    }

    #[test]
    fn linux_follows_bytes_and_stalls() {
        let samples = vec![
            linux(10, 0.0, 0.0),
            linux(9, 0.0, 0.0),
            linux(12, 0.0, 0.0),
            linux(13, 0.0, 0.0),
            linux(50, 0.10, 0.0),
            linux(50, 0.06, 0.0),
            linux(50, 0.04, 0.0),
            linux(50, 0.9, 0.6),
            linux(50, 0.9, 0.4),
            linux(50, 0.9, 0.2),
            linux(4, 0.0, 0.0),
        ];
        assert_eq!(
            levels(&samples),
            [
                Normal, Warning, Warning, Normal, Warning, Warning, Normal, Critical, Critical,
                Warning, Critical
            ]
        );
    }

    #[test]
    fn the_kernels_word_counts_and_silence_changes_nothing() {
        let mut told = mac(90);
        told.pressure.level = Some(Critical);
        let mut state = PressureState::default();
        assert_eq!(state.observe(&told), Some(Critical));
        assert_eq!(state.observe(&Sample::default()), None);
        assert_eq!(
            state.observe(&mac(38)),
            Some(Critical),
            "still above the falling edge of critical"
        );
    }
}
