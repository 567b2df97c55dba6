//! What a benchmark run found, as kept and compared.

use serde::{Deserialize, Serialize};
use shv_machine::hardware::Hardware;

use super::measure::Timing;
use super::reference::Check;
use crate::engine::backend::kernels::{Kernel, Number, Work};
use crate::engine::backend::{BackendKind, DeviceInfo};

/// Names the form of the document.
pub const SCHEMA: &str = "shvd.bench/v1";
/// What the names of kept results begin with; the machine and the time follow.
pub const HISTORY: &str = "bench-";

/// What the machine can do at most, by its maker's data sheet. Whatever is unknown is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineLimits {
    /// Bytes a second to and from memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bandwidth_bytes_per_second: Option<f64>,
    /// Operations a second in products of 32-bit numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fp32_flops_per_second: Option<f64>,
    /// The same for 16-bit numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bf16_flops_per_second: Option<f64>,
    /// Where they come from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

impl MachineLimits {
    /// The operations a second for these numbers.
    #[must_use]
    pub fn flops_per_second(&self, number: Number) -> Option<f64> {
        match number {
            Number::Fp32 => self.fp32_flops_per_second,
            Number::Bf16 => self.bf16_flops_per_second,
        }
    }

    /// The least time that `work` can take, and what binds; `None` where nothing is known.
    #[must_use]
    pub fn floor_seconds(&self, work: Work, number: Number) -> Option<f64> {
        let memory = self
            .bandwidth_bytes_per_second
            .map(|rate| work.bytes as f64 / rate);
        let flops = self
            .flops_per_second(number)
            .map(|rate| work.flops as f64 / rate);
        match (memory, flops) {
            (Some(memory), Some(flops)) => Some(memory.max(flops)),
            (memory, flops) => memory.or(flops),
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it ended, in seconds since 1970-01-01 UTC.
    pub measured_at_unix_seconds: f64,
    /// The computer.
    pub machine: Hardware,
    /// Its name where it has one (`m4-pro-48gb`), else the device's.
    pub machine_name: String,
    /// What ran the kernels.
    pub backend: BackendKind,
    /// On which device.
    pub device: DeviceInfo,
    /// What the machine can do at most.
    pub limits: MachineLimits,
    /// From which the operands were drawn.
    pub seed: u64,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case's name.
    pub name: String,
    /// What ran.
    pub kernel: Kernel,
    /// On which numbers.
    pub number: Number,
    /// Counted from the shape.
    pub work: Work,
    /// What the baseline document has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub baseline_seconds: Option<f64>,
    /// The least time that the machine's limits allow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor_seconds: Option<f64>,
    /// The time, unless it was left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timing: Option<Timing>,
    /// Whether the result is right.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<Check>,
    /// Why there is no time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_out: Option<String>,
    /// The rate is above what the machine can do: a measuring error, or data that a cache held.
    #[serde(default)]
    pub above_limit: bool,
}

impl Row {
    /// Bytes a second, where bytes are counted.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.timing
            .map(|timing| self.work.bytes as f64 / timing.median_seconds)
    }

    /// Operations a second, where the kernel is a product.
    #[must_use]
    pub fn flops_per_second(&self) -> Option<f64> {
        let timing = self.timing.filter(|_| self.work.flops > 0)?;
        Some(self.work.flops as f64 / timing.median_seconds)
    }

    /// Samples a second, where there are samples.
    #[must_use]
    pub fn samples_per_second(&self) -> Option<f64> {
        Some(self.kernel.samples()? as f64 / self.timing?.median_seconds)
    }

    /// How many times as fast as the baseline.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(self.baseline_seconds? / self.timing?.median_seconds)
    }
}

/// What `shvplan --calibration` reads: rates measured here in place of a data sheet's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// `shvd.calibration/v1`.
    pub schema: String,
    /// The machine's name.
    pub machine: String,
    /// The highest rate among the element-wise rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bandwidth_bytes_per_second: Option<u64>,
    /// The highest rates among the matrix products.
    pub matrix_flops_per_second: MatrixRates,
    /// When it was measured, in seconds since 1970-01-01 UTC.
    pub measured_at: f64,
}

/// Operations a second by kind of number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MatrixRates {
    /// 32-bit numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fp32: Option<f64>,
    /// 16-bit numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bf16: Option<f64>,
}

impl BenchResult {
    /// The rates that a plan can use. Rows above the machine's limits or with wrong results do not count.
    #[must_use]
    pub fn calibration(&self) -> Calibration {
        let sound = |row: &&Row| !row.above_limit && row.check.is_some_and(|check| check.passed());
        let best = |rates: &mut dyn Iterator<Item = f64>| rates.max_by(f64::total_cmp);
        let matmul = |number: Number| {
            let rows = self.rows.iter().filter(sound);
            best(
                &mut rows
                    .filter(|row| {
                        row.number == number && matches!(row.kernel, Kernel::Matmul { .. })
                    })
                    .filter_map(Row::flops_per_second),
            )
        };
        let elementwise = self
            .rows
            .iter()
            .filter(sound)
            .filter(|row| matches!(row.kernel, Kernel::Elementwise { .. }))
            .filter_map(Row::bytes_per_second);
        Calibration {
            schema: "shvd.calibration/v1".to_owned(),
            machine: self.machine_name.clone(),
            bandwidth_bytes_per_second: elementwise.max_by(f64::total_cmp).map(|rate| rate as u64),
            matrix_flops_per_second: MatrixRates {
                fp32: matmul(Number::Fp32),
                bf16: matmul(Number::Bf16),
            },
            measured_at: self.measured_at_unix_seconds,
        }
    }
}
