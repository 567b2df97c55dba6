//! The last hour at one second and the last day at fifteen, in rings that do not grow.

use std::collections::VecDeque;

use serde::Serialize;
use shv_machine::Sample;
use shv_machine::derived::Derived;
use shv_machine::headroom::Headroom;

/// Seconds between points of the hour.
const FINE_SECONDS: f64 = 1.0;
/// Points of the hour.
const FINE_POINTS: usize = 3600;
/// Seconds between points of the day.
const COARSE_SECONDS: f64 = 15.0;
/// Points of the day.
const COARSE_POINTS: usize = 24 * 240;

/// What is kept of a sample: what the page draws. Bytes, except for time and level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Since 1970-01-01 UTC.
    pub unix_seconds: f64,
    /// Physical memory.
    pub total_bytes: Option<u64>,
    /// Free pages.
    pub free_bytes: Option<u64>,
    /// Memory that cannot be paged (macOS).
    pub wired_bytes: Option<u64>,
    /// App memory (macOS).
    pub app_bytes: Option<u64>,
    /// Held by the compressor (macOS).
    pub compressor_bytes: Option<u64>,
    /// Files that can be dropped.
    pub cached_files_bytes: Option<u64>,
    /// In use.
    pub used_bytes: Option<u64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
    /// What can be had without taking a running program's memory.
    pub reclaimable_bytes: Option<u64>,
    /// Bytes to the level at which the system starts to be pressed, as a gate counts them.
    pub to_warning_bytes: Option<i64>,
    /// Bytes to the level at which it starts to kill.
    pub to_critical_bytes: Option<i64>,
    /// 1 normal, 2 warning, 4 critical.
    pub pressure_level: Option<u8>,
}

impl Point {
    /// The point of a sample.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let (headroom, derived) = (Headroom::of(sample), Derived::of(sample));
        Self {
            unix_seconds: sample.taken_at_unix_seconds,
            total_bytes: sample.memory.total_bytes,
            free_bytes: sample.memory.free_bytes,
            wired_bytes: sample.memory.wired_bytes,
            app_bytes: derived.app_bytes,
            compressor_bytes: sample.compressor.occupied_bytes,
            cached_files_bytes: derived.cached_files_bytes,
            used_bytes: derived.used_bytes,
            swap_used_bytes: sample.swap.used_bytes,
            reclaimable_bytes: headroom.reclaimable_bytes,
            to_warning_bytes: headroom.to_warning.map(|d| d.low_bytes),
            to_critical_bytes: headroom.to_critical.map(|d| d.low_bytes),
            pressure_level: sample
                .pressure
                .level
                .map(shv_machine::sample::PressureLevel::code),
        }
    }
}

/// A stretch of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// The last hour at one second.
    Hour,
    /// The last day at fifteen seconds.
    Day,
}

/// Both rings.
#[derive(Debug, Default)]
pub struct History {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
}

impl History {
    /// Adds a sample's point where it is due: a sampler that is faster than a ring does not fill it faster.
    pub fn add(&mut self, sample: &Sample) {
        let point = Point::of(sample);
        push(&mut self.fine, point, FINE_SECONDS, FINE_POINTS);
        push(&mut self.coarse, point, COARSE_SECONDS, COARSE_POINTS);
    }

    /// The points of a stretch, oldest first.
    #[must_use]
    pub fn points(&self, stretch: Stretch) -> Vec<Point> {
        match stretch {
            Stretch::Hour => self.fine.iter().copied().collect(),
            Stretch::Day => self.coarse.iter().copied().collect(),
        }
    }
}

fn push(ring: &mut VecDeque<Point>, point: Point, seconds: f64, most: usize) {
    if let Some(last) = ring.back() {
        let since = point.unix_seconds - last.unix_seconds;
        // Readings come a little early or late; a clock set back starts anew rather than stopping the ring.
        if (0.0..seconds * 0.9).contains(&since) {
            return;
        }
    }
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Sample {
        Sample {
            taken_at_unix_seconds: seconds,
            ..Sample::default()
        }
    }

    #[test]
    fn rings_keep_their_pace_and_their_size() {
        let mut history = History::default();
        for tick in 0..200_000_u32 {
            history.add(&at(f64::from(tick) * 0.5));
        }
        let hour = history.points(Stretch::Hour);
        let day = history.points(Stretch::Day);
        assert_eq!((hour.len(), day.len()), (FINE_POINTS, COARSE_POINTS));
        assert!(
            hour.windows(2)
                .all(|w| (w[1].unix_seconds - w[0].unix_seconds - 1.0).abs() < 0.51)
        );
        assert!(
            day.windows(2)
                .all(|w| (w[1].unix_seconds - w[0].unix_seconds - 15.0).abs() < 1.6)
        );
    }

    #[test]
    fn a_clock_set_back_does_not_stop_it() {
        let mut history = History::default();
        history.add(&at(1000.0));
        history.add(&at(10.0));
        assert_eq!(history.points(Stretch::Hour).len(), 2);
    }
}
