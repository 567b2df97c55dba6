//! Goes through the rows: makes the operands, checks the result, times it.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, SystemTime};

use shv_machine::hardware::Hardware;
use shv_machine::sample::unix_seconds;

use super::measure::{Effort, measure};
use super::reference::check;
use super::result::{BenchResult, MachineLimits, Row, SCHEMA};
use super::suite::Case;
use crate::engine::backend::kernels::{Kernel, Kernels, Number};
use crate::engine::backend::{BackendError, BackendKind};

/// A row is left out when one call is expected to last so many times its budget.
const OVER_BUDGET: f64 = 3.0;
/// Rates up to this share above the limit are the clock's tolerance.
const LIMIT_SLACK: f64 = 1.02;

/// How to go through the rows.
#[derive(Debug, Clone)]
pub struct Options {
    /// The backend, for the record.
    pub backend: BackendKind,
    /// Time for one row.
    pub effort: Effort,
    /// From which operands are drawn.
    pub seed: u64,
    /// What the machine can do at most.
    pub limits: MachineLimits,
}

/// Measures `cases` and tells `progress` of each row.
///
/// # Errors
/// When the backend does not tell its device. A row that fails is left out with its reason.
pub fn run(
    backend: &mut dyn Kernels,
    cases: &[Case],
    options: &Options,
    mut progress: impl FnMut(&Row),
) -> Result<BenchResult, BackendError> {
    let device = backend.device()?;
    let machine = Hardware::this();
    let mut rates = Rates::default();
    let mut rows = Vec::new();
    for (index, case) in (0_u64..).zip(cases) {
        let mut row = Row {
            name: case.name.clone(),
            kernel: case.kernel,
            number: case.number,
            work: case.kernel.work(case.number),
            baseline_seconds: case.baseline_seconds,
            floor_seconds: None,
            timing: None,
            check: None,
            left_out: None,
            above_limit: false,
        };
        row.floor_seconds = options.limits.floor_seconds(row.work, row.number);
        let expected = rates.expected_seconds(&row);
        let most = options.effort.budget.as_secs_f64() * OVER_BUDGET;
        if let Some(seconds) = expected.filter(|seconds| *seconds > most) {
            row.left_out = Some(format!(
                "one call would take about {seconds:.0} s; --seconds raises the limit"
            ));
        } else {
            // Every row has operands of its own, and so does every run.
            let seed = options.seed.wrapping_add(index << 32);
            if let Err(error) = fill(backend, &mut row, options.effort, seed) {
                row.left_out = Some(error.to_string());
            }
            rates.learn(&row);
        }
        row.above_limit = match (row.floor_seconds, row.timing) {
            // A transfer to the host and a kernel's cost beyond its counted work have limits of their own.
            (Some(floor), Some(timing)) => timing.median_seconds * LIMIT_SLACK < floor,
            _ => false,
        };
        progress(&row);
        rows.push(row);
    }
    Ok(BenchResult {
        schema: SCHEMA.to_owned(),
        measured_at_unix_seconds: unix_seconds(SystemTime::now()),
        machine_name: machine
            .machine_name()
            .unwrap_or_else(|| device.name.clone()),
        machine,
        backend: options.backend,
        device,
        limits: options.limits.clone(),
        seed: options.seed,
        rows,
    })
}

fn fill(
    backend: &mut dyn Kernels,
    row: &mut Row,
    effort: Effort,
    seed: u64,
) -> Result<(), BackendError> {
    let mut prepared = backend.prepare(&row.kernel, row.number, seed)?;
    row.check = Some(check(prepared.as_mut(), &row.kernel, row.number, seed)?);
    row.timing = Some(measure(prepared.as_mut(), effort)?);
    Ok(())
}

/// The rates seen so far, by kind of kernel: a slow machine is not asked for its largest product.
#[derive(Default)]
struct Rates(HashMap<(Discriminant<Kernel>, Number), f64>);

impl Rates {
    fn size(row: &Row) -> f64 {
        if row.work.flops > 0 {
            row.work.flops as f64
        } else {
            row.work.bytes as f64
        }
    }

    fn learn(&mut self, row: &Row) {
        if let Some(timing) = row.timing {
            self.0.insert(
                (discriminant(&row.kernel), row.number),
                Self::size(row) / timing.median_seconds,
            );
        }
    }

    fn expected_seconds(&self, row: &Row) -> Option<f64> {
        let rate = self.0.get(&(discriminant(&row.kernel), row.number))?;
        Some(Self::size(row) / rate)
    }
}

/// The default time for one row.
pub const BUDGET: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::engine::backend::kernels;

    fn run_two(limits: MachineLimits, budget: Duration) -> BenchResult {
        let case = |size: usize| Case {
            name: format!("matmul-{size}"),
            kernel: Kernel::Matmul { size },
            number: Number::Fp32,
            baseline_seconds: Some(1.0),
        };
        let mut backend = kernels(BackendKind::Host).unwrap();
        let options = Options {
            backend: BackendKind::Host,
            effort: Effort {
                budget,
                width_max: 0.2,
            },
            seed: 3,
            limits,
        };
        run(backend.as_mut(), &[case(64), case(4000)], &options, |_| {}).unwrap()
    }

    #[test]
    fn a_product_that_would_take_too_long_is_left_out_with_its_time() {
        let result = run_two(MachineLimits::default(), Duration::from_millis(5));
        assert!(result.rows[0].timing.is_some() && result.rows[0].ratio().is_some());
        assert!(result.rows[0].check.unwrap().passed());
        let why = result.rows[1].left_out.as_deref().unwrap();
        assert!(why.starts_with("one call would take about"), "{why}");
    }

    #[test]
    fn a_rate_above_the_limit_is_flagged_and_does_not_calibrate() {
        let limits = MachineLimits {
            fp32_flops_per_second: Some(1.0),
            ..MachineLimits::default()
        };
        let result = run_two(limits, Duration::from_millis(5));
        assert!(result.rows[0].above_limit);
        assert_eq!(result.calibration().matrix_flops_per_second.fp32, None);
        let sound = run_two(MachineLimits::default(), Duration::from_millis(5));
        assert!(sound.calibration().matrix_flops_per_second.fp32.unwrap() > 1e6);
    }

    #[test]
    fn the_document_reads_back() {
        let result = run_two(MachineLimits::default(), Duration::from_millis(5));
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<BenchResult>(&text).unwrap(), result);
    }
}
