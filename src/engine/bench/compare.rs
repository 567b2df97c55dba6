//! Sets one run beside an earlier one of the same machine.

use super::result::{BenchResult, Row};

/// A row in both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The row's name.
    pub name: String,
    /// Time now over time then: above 1 is slower.
    pub ratio: f64,
    /// The two 95 % intervals do not touch.
    pub significant: bool,
}

impl Change {
    /// Slower by more than `threshold` (0.05 is 5 %), beyond what chance explains.
    #[must_use]
    pub fn is_regression(&self, threshold: f64) -> bool {
        self.significant && self.ratio > 1.0 + threshold
    }
}

/// Why two runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They are of different devices or backends.
    #[error(
        "the earlier run is of {then}, this one of {now}; only runs of one device and backend compare"
    )]
    Device {
        /// The earlier run's.
        then: String,
        /// This run's.
        now: String,
    },
    /// They have no row in common.
    #[error("the two runs have no measured row in common")]
    NothingShared,
}

/// Compares the rows that both runs measured, in the order of `now`.
///
/// # Errors
/// [`CompareError`] when the runs are of different devices or share no row.
pub fn compare(now: &BenchResult, then: &BenchResult) -> Result<Vec<Change>, CompareError> {
    let who = |run: &BenchResult| format!("{} ({})", run.device.name, run.backend);
    if who(now) != who(then) {
        return Err(CompareError::Device {
            then: who(then),
            now: who(now),
        });
    }
    let changes: Vec<Change> = now
        .rows
        .iter()
        .filter_map(|row| change(row, then))
        .collect();
    if changes.is_empty() {
        Err(CompareError::NothingShared)
    } else {
        Ok(changes)
    }
}

fn change(row: &Row, then: &BenchResult) -> Option<Change> {
    let before = then.rows.iter().find(|before| {
        before.name == row.name && before.kernel == row.kernel && before.number == row.number
    })?;
    let (new, old) = (row.timing?, before.timing?);
    Some(Change {
        name: row.name.clone(),
        ratio: new.median_seconds / old.median_seconds,
        significant: new.low_seconds > old.high_seconds || new.high_seconds < old.low_seconds,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::engine::backend::kernels::{Kernel, Number, Work};
    use crate::engine::backend::{BackendKind, DeviceInfo};
    use crate::engine::bench::measure::Timing;
    use crate::engine::bench::result::{MachineLimits, SCHEMA};

    fn result(median: f64, spread: f64) -> BenchResult {
        let timing = Timing {
            median_seconds: median,
            low_seconds: median - spread,
            high_seconds: median + spread,
            samples: 10,
            calls_per_sample: 1,
        };
        BenchResult {
            schema: SCHEMA.to_owned(),
            measured_at_unix_seconds: 0.0,
            machine: shv_machine::hardware::Hardware::default(),
            machine_name: "m".to_owned(),
            backend: BackendKind::Host,
            device: DeviceInfo::default(),
            limits: MachineLimits::default(),
            seed: 0,
            rows: vec![Row {
                name: "matmul".to_owned(),
                kernel: Kernel::Matmul { size: 2 },
                number: Number::Fp32,
                work: Work::default(),
                baseline_seconds: None,
                floor_seconds: None,
                timing: Some(timing),
                check: None,
                left_out: None,
                above_limit: false,
            }],
        }
    }

    fn regressed(now: BenchResult, then: BenchResult) -> bool {
        compare(&now, &then).unwrap()[0].is_regression(0.05)
    }

    #[test]
    fn slower_is_a_regression_only_beyond_threshold_and_chance() {
        assert!(regressed(result(1.2, 0.05), result(1.0, 0.05)));
        assert!(
            !regressed(result(1.2, 0.15), result(1.0, 0.1)),
            "the intervals touch"
        );
        assert!(
            !regressed(result(1.04, 0.001), result(1.0, 0.001)),
            "below the threshold"
        );
        assert!(!regressed(result(0.5, 0.01), result(1.0, 0.01)), "faster");
    }

    #[test]
    fn other_devices_and_other_rows_do_not_compare() {
        let mut other = result(1.0, 0.1);
        other.device.name = "GPU".to_owned();
        assert!(matches!(
            compare(&result(1.0, 0.1), &other),
            Err(CompareError::Device { .. })
        ));
        let mut other = result(1.0, 0.1);
        other.rows[0].kernel = Kernel::Matmul { size: 3 };
        assert_eq!(
            compare(&result(1.0, 0.1), &other),
            Err(CompareError::NothingShared)
        );
    }
}
