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

/// A point as it is kept: half the bytes, since figures that are absent take no room of their own.
#[derive(Debug, Clone, Copy)]
struct Packed {
    unix_seconds: f64,
    figures: [u64; 9],
    distances: [i64; 2],
    /// Bit *n* is set where figure *n*, and after them distance *n*, is there.
    present: u16,
    pressure_level: u8,
}

impl Packed {
    fn of(point: &Point) -> Self {
        let figures = [
            point.total_bytes,
            point.free_bytes,
            point.wired_bytes,
            point.app_bytes,
            point.compressor_bytes,
            point.cached_files_bytes,
            point.used_bytes,
            point.swap_used_bytes,
            point.reclaimable_bytes,
        ];
        let distances = [point.to_warning_bytes, point.to_critical_bytes];
        let there = figures
            .iter()
            .map(Option::is_some)
            .chain(distances.iter().map(Option::is_some));
        let present = there
            .enumerate()
            .fold(0, |bits, (n, there)| bits | u16::from(there) << n);
        Self {
            unix_seconds: point.unix_seconds,
            figures: figures.map(Option::unwrap_or_default),
            distances: distances.map(Option::unwrap_or_default),
            present,
            pressure_level: point.pressure_level.unwrap_or(0),
        }
    }

    fn point(&self) -> Point {
        let is_there = |bit: usize| self.present >> bit & 1 == 1;
        let figure = |n: usize| is_there(n).then_some(self.figures[n]);
        let distance = |n: usize| is_there(self.figures.len() + n).then_some(self.distances[n]);
        Point {
            unix_seconds: self.unix_seconds,
            total_bytes: figure(0),
            free_bytes: figure(1),
            wired_bytes: figure(2),
            app_bytes: figure(3),
            compressor_bytes: figure(4),
            cached_files_bytes: figure(5),
            used_bytes: figure(6),
            swap_used_bytes: figure(7),
            reclaimable_bytes: figure(8),
            to_warning_bytes: distance(0),
            to_critical_bytes: distance(1),
            pressure_level: (self.pressure_level > 0).then_some(self.pressure_level),
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

/// Both rings. Their room is set aside at the start and taken as it fills.
#[derive(Debug)]
pub struct History {
    fine: VecDeque<Packed>,
    coarse: VecDeque<Packed>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            fine: VecDeque::with_capacity(FINE_POINTS),
            coarse: VecDeque::with_capacity(COARSE_POINTS),
        }
    }
}

impl History {
    /// Adds a sample's point where it is due: a sampler that is faster than a ring does not fill it faster.
    pub fn add(&mut self, sample: &Sample) {
        let point = Packed::of(&Point::of(sample));
        push(&mut self.fine, point, FINE_SECONDS, FINE_POINTS);
        push(&mut self.coarse, point, COARSE_SECONDS, COARSE_POINTS);
    }

    /// The points of a stretch, oldest first, no more than `most`: of each so many seconds the one with most in use, so
    /// that no peak is lost.
    #[must_use]
    pub fn points(&self, stretch: Stretch, most: usize) -> Vec<Point> {
        let ring = match stretch {
            Stretch::Hour => &self.fine,
            Stretch::Day => &self.coarse,
        };
        let together = ring.len().div_ceil(most.max(1)).max(1);
        let mut points = Vec::with_capacity(ring.len() / together + 1);
        let mut fullest: Option<Point> = None;
        for (at, packed) in ring.iter().enumerate() {
            let point = packed.point();
            if fullest.is_none_or(|other| point.used_bytes >= other.used_bytes) {
                fullest = Some(point);
            }
            if (at + 1) % together == 0 || at + 1 == ring.len() {
                points.extend(fullest.take());
            }
        }
        points
    }
}

fn push(ring: &mut VecDeque<Packed>, point: Packed, seconds: f64, most: usize) {
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
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
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
        let hour = history.points(Stretch::Hour, usize::MAX);
        let day = history.points(Stretch::Day, usize::MAX);
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
        assert_eq!(history.points(Stretch::Hour, usize::MAX).len(), 2);
    }

    #[test]
    fn a_point_is_kept_as_it_is() {
        let full = Point {
            unix_seconds: 1.5,
            total_bytes: Some(1),
            free_bytes: Some(2),
            wired_bytes: Some(3),
            app_bytes: Some(4),
            compressor_bytes: Some(5),
            cached_files_bytes: Some(6),
            used_bytes: Some(7),
            swap_used_bytes: Some(0),
            reclaimable_bytes: Some(9),
            to_warning_bytes: Some(-10),
            to_critical_bytes: Some(11),
            pressure_level: Some(4),
        };
        let bare = Point::of(&at(2.0));
        let mixed = Point {
            to_critical_bytes: None,
            wired_bytes: None,
            ..full
        };
        for point in [full, bare, mixed] {
            assert_eq!(Packed::of(&point).point(), point);
        }
        let bytes = size_of::<Packed>() * (FINE_POINTS + COARSE_POINTS);
        assert!(
            bytes < 1_100_000,
            "{bytes} bytes of the daemon's 12 MB are history"
        );
    }

    #[test]
    fn fewer_points_keep_the_peaks() {
        let mut history = History::default();
        for second in 0..1000_u32 {
            let mut sample = at(f64::from(second));
            sample.memory.total_bytes = Some(1000);
            sample.memory.available_bytes = Some(if second == 502 { 10 } else { 900 });
            history.add(&sample);
        }
        for most in [1, 7, 100, 999, 1000, 5000] {
            let points = history.points(Stretch::Hour, most);
            assert!(points.len() <= most, "{} of {most}", points.len());
            assert!(points.iter().any(|point| point.used_bytes == Some(990)));
            assert!(points.is_sorted_by(|a, b| a.unix_seconds < b.unix_seconds));
        }
        assert_eq!(history.points(Stretch::Hour, 5000).len(), 1000);
        assert!(History::default().points(Stretch::Day, 10).is_empty());
    }
}
