//! Times a prepared kernel: warm-up, repetitions until the interval is narrow, median with a 95 % interval.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::backend::BackendError;
use crate::engine::backend::kernels::Prepared;

/// How much time to spend on one row.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Repetitions stop here, however wide the interval.
    pub budget: Duration,
    /// Repetitions stop when the interval's width is this share of the median.
    pub width_max: f64,
}

/// Repetitions of which there are always at least so many: the fewest for which the extremes are a 95 % interval.
const SAMPLES_MIN: usize = 6;
const SAMPLES_MAX: usize = 200;
/// Calls are put together until a sample lasts so long: below, the clock and the hand-over to the device would show.
const SAMPLE_SECONDS_MIN: f64 = 2e-3;
/// Calls before the first that counts go on for so long, unless one alone takes longer.
const WARM_UP: Duration = Duration::from_millis(100);
const CALLS_MAX: usize = 64;
/// A row whose single call lasts longer than this share of the budget gets the fewest samples.
const SLOW_SHARE: f64 = 1.0 / SAMPLES_MIN as f64;
/// The 97.5th percentile of the normal distribution.
const Z_95: f64 = 1.96;

/// The time of one call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median over the samples.
    pub median_seconds: f64,
    /// Lower end of the median's 95 % interval.
    pub low_seconds: f64,
    /// Upper end.
    pub high_seconds: f64,
    /// Samples taken.
    pub samples: usize,
    /// Calls in each; a sample's time is divided by them.
    pub calls_per_sample: usize,
}

/// Times `kernel`.
///
/// # Errors
/// What the backend says.
pub fn measure(kernel: &mut dyn Prepared, effort: Effort) -> Result<Timing, BackendError> {
    let start = Instant::now();
    kernel.run(1)?;
    let mut once = timed(kernel, 1)?;
    // The first calls pay for compilation and fresh memory, a GPU's clock rises over a few, and any one may be
    // interrupted: the shortest tells how many make a sample.
    while start.elapsed() < WARM_UP {
        once = once.min(timed(kernel, 1)?);
    }
    let calls = ((SAMPLE_SECONDS_MIN / once.max(1e-9)).ceil() as usize).clamp(1, CALLS_MAX);
    let slow = once > effort.budget.as_secs_f64() * SLOW_SHARE;
    let mut samples = Vec::new();
    loop {
        samples.push(timed(kernel, calls)? / calls as f64);
        let enough = samples.len() >= SAMPLES_MIN || slow && samples.len() >= 3;
        let timing = summarize(&mut samples.clone(), calls);
        let narrow =
            timing.high_seconds - timing.low_seconds <= effort.width_max * timing.median_seconds;
        if samples.len() >= SAMPLES_MAX || enough && (narrow || start.elapsed() >= effort.budget) {
            return Ok(timing);
        }
    }
}

fn timed(kernel: &mut dyn Prepared, calls: usize) -> Result<f64, BackendError> {
    let start = Instant::now();
    kernel.run(calls)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Median and the interval between the order statistics that bracket it with 95 % probability, by the normal
/// approximation of the binomial distribution (Conover, "Practical Nonparametric Statistics", section 3.2). The extremes
/// where there are too few samples for it.
fn summarize(samples: &mut [f64], calls_per_sample: usize) -> Timing {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    let half = Z_95 * (n as f64).sqrt() / 2.0;
    let low = ((n as f64 / 2.0 - half).floor().max(0.0) as usize).min(n - 1);
    let high = ((n as f64 / 2.0 + half).ceil() as usize).min(n - 1);
    let median = if n.is_multiple_of(2) {
        f64::midpoint(samples[n / 2 - 1], samples[n / 2])
    } else {
        samples[n / 2]
    };
    Timing {
        median_seconds: median,
        low_seconds: samples[low],
        high_seconds: samples[high],
        samples: n,
        calls_per_sample,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::engine::backend::kernels::Operand;

    #[test]
    fn the_interval_brackets_the_median() {
        let mut samples: Vec<f64> = (0..100).map(f64::from).rev().collect();
        let timing = summarize(&mut samples, 1);
        assert_eq!(
            (
                timing.median_seconds,
                timing.low_seconds,
                timing.high_seconds
            ),
            (49.5, 40.0, 60.0)
        );
        let few = summarize(&mut [3.0, 1.0, 2.0], 1);
        assert_eq!(
            (few.median_seconds, few.low_seconds, few.high_seconds),
            (2.0, 1.0, 3.0)
        );
    }

    /// The interval holds the true median in about 95 of 100 experiments.
    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let covered = (0..2000)
            .filter(|_| {
                let mut samples: Vec<f64> = (0..25).map(|_| uniform()).collect();
                let timing = summarize(&mut samples, 1);
                timing.low_seconds <= 0.5 && 0.5 <= timing.high_seconds
            })
            .count();
        assert!((1880..=2000).contains(&covered), "{covered} of 2000");
    }

    /// Takes a fixed time a call.
    struct Sleeps(Duration, usize);
    impl Prepared for Sleeps {
        fn run(&mut self, calls: usize) -> Result<(), BackendError> {
            self.1 += calls;
            std::thread::sleep(self.0 * u32::try_from(calls).unwrap());
            Ok(())
        }

        fn read(
            &mut self,
            _: Operand,
            _: usize,
            _: usize,
            _: usize,
        ) -> Result<Vec<f64>, BackendError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn short_calls_are_put_together_and_long_ones_are_few() {
        let effort = Effort {
            budget: Duration::from_millis(300),
            width_max: 0.5,
        };
        let short = measure(&mut Sleeps(Duration::from_micros(100), 0), effort).unwrap();
        assert!(
            short.calls_per_sample > 5 && short.samples >= SAMPLES_MIN,
            "{short:?}"
        );
        let mut long = Sleeps(Duration::from_millis(100), 0);
        let timing = measure(
            &mut long,
            Effort {
                width_max: 0.0,
                ..effort
            },
        )
        .unwrap();
        assert_eq!((timing.calls_per_sample, timing.samples), (1, 3));
        assert!(timing.median_seconds >= 0.1);
    }
}
