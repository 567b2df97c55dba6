//! Measures what the usual recommendations bring on this machine, rather than repeating them.

use serde::{Deserialize, Serialize};

use super::measure::{Effort, Timing, measure};
use crate::engine::backend::BackendError;
use crate::engine::backend::kernels::{Elementwise, Kernel, Kernels, Number};

/// One recommendation, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What is recommended.
    pub recommendation: String,
    /// The recommended way.
    pub with: String,
    /// The other way.
    pub without: String,
    /// How many times as fast the recommended way is for the same work; below 1 it costs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gain: Option<f64>,
    /// The two intervals do not touch: it is no chance.
    pub significant: bool,
    /// Why nothing could be measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_out: Option<String>,
}

/// One way of doing something.
#[derive(Clone, Copy)]
struct Way {
    label: &'static str,
    kernel: Kernel,
    number: Number,
    keep_freed: bool,
}

const fn way(label: &'static str, kernel: Kernel, number: Number) -> Way {
    Way {
        label,
        kernel,
        number,
        keep_freed: true,
    }
}

const fn fresh(label: &'static str, kernel: Kernel) -> Way {
    Way {
        label,
        kernel,
        number: Number::Fp32,
        keep_freed: false,
    }
}

const ADD: Kernel = Kernel::Elementwise {
    operation: Elementwise::Add,
    rows: 4096,
    columns: 4096,
};
const ARRAYS: Kernel = Kernel::Allocate {
    arrays: 20,
    elements: 25_000_000,
};
const TRAIN: Kernel = Kernel::Train {
    batch: 512,
    inputs: 2048,
    hidden: 2048,
    outputs: 256,
};

const fn layer(bits: usize) -> Kernel {
    Kernel::QuantizedMatmul {
        tokens: 1,
        inputs: 4096,
        outputs: 11008,
        bits,
        group: 64,
    }
}

const LINEAR: Kernel = Kernel::Linear {
    tokens: 1,
    inputs: 4096,
    outputs: 11008,
};

const fn matmul(size: usize) -> Kernel {
    Kernel::Matmul { size }
}

/// The recommendations: (what, the recommended way, the other).
const PAIRS: [(&str, Way, Way); 8] = [
    (
        "powers of two",
        way("matmul 1024²", matmul(1024), Number::Fp32),
        way("matmul 1000²", matmul(1000), Number::Fp32),
    ),
    (
        "multiples of 32 and 64",
        way("matmul 4096²", matmul(4096), Number::Fp32),
        way("matmul 4100²", matmul(4100), Number::Fp32),
    ),
    (
        "BF16 to train",
        way("step in bf16", TRAIN, Number::Bf16),
        way("step in fp32", TRAIN, Number::Fp32),
    ),
    (
        "BF16 for products",
        way("4096² bf16", matmul(4096), Number::Bf16),
        way("4096² fp32", matmul(4096), Number::Fp32),
    ),
    (
        "INT4 to serve",
        way("int4 layer", layer(4), Number::Bf16),
        way("bf16 layer", LINEAR, Number::Bf16),
    ),
    (
        "INT8 to serve",
        way("int8 layer", layer(8), Number::Bf16),
        way("bf16 layer", LINEAR, Number::Bf16),
    ),
    (
        "reuse of buffers",
        way("20 × 100 MB, kept", ARRAYS, Number::Fp32),
        fresh("20 × 100 MB, fresh", ARRAYS),
    ),
    (
        "leaving the cache on",
        way("add, cache on", ADD, Number::Fp32),
        fresh("add, cache off", ADD),
    ),
];

/// Measures every recommendation.
///
/// # Errors
/// When the backend cannot be put back as it was.
pub fn advice(
    backend: &mut dyn Kernels,
    effort: Effort,
    seed: u64,
    mut progress: impl FnMut(&Advice),
) -> Result<Vec<Advice>, BackendError> {
    let mut all = Vec::new();
    for (recommendation, with, without) in PAIRS {
        let mut advice = Advice {
            recommendation: recommendation.to_owned(),
            with: with.label.to_owned(),
            without: without.label.to_owned(),
            gain: None,
            significant: false,
            left_out: None,
        };
        match pair(backend, with, without, effort, seed) {
            Ok((good, bad)) => {
                // Per operation, or per byte of the operands where the sizes differ; the same work counts as one.
                let per = |way: Way, timing: f64| timing / amount(way, with, without);
                advice.gain =
                    Some(per(without, bad.median_seconds) / per(with, good.median_seconds));
                advice.significant = per(with, good.high_seconds) < per(without, bad.low_seconds)
                    || per(with, good.low_seconds) > per(without, bad.high_seconds);
            }
            Err(error) => advice.left_out = Some(error.to_string()),
        }
        backend.keep_freed(true)?;
        progress(&advice);
        all.push(advice);
    }
    Ok(all)
}

/// Products of different sizes are compared per operation; everything else does the same work both ways.
fn amount(way: Way, with: Way, without: Way) -> f64 {
    match (with.kernel, without.kernel) {
        (Kernel::Matmul { .. }, Kernel::Matmul { .. }) => way.kernel.work(way.number).flops as f64,
        _ => 1.0,
    }
}

fn pair(
    backend: &mut dyn Kernels,
    with: Way,
    without: Way,
    effort: Effort,
    seed: u64,
) -> Result<(Timing, Timing), BackendError> {
    let mut time = |way: Way| {
        if !backend.keep_freed(way.keep_freed)? && !way.keep_freed {
            return Err(BackendError::Allocation {
                bytes: 0,
                reason: "this backend does not keep freed memory".to_owned(),
            });
        }
        let mut prepared = backend.prepare(&way.kernel, way.number, seed)?;
        measure(prepared.as_mut(), effort)
    };
    Ok((time(with)?, time(without)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Sizes differ only between products, which are compared per operation.
    #[test]
    fn both_ways_do_the_same_work_or_are_divided_by_it() {
        for (recommendation, with, without) in PAIRS {
            let (a, b) = (
                with.kernel.work(Number::Fp32),
                without.kernel.work(Number::Fp32),
            );
            let layers = matches!(with.kernel, Kernel::QuantizedMatmul { .. });
            assert!(
                amount(with, with, without) > 1.0 || a == b || layers && a.flops == b.flops,
                "{recommendation}"
            );
        }
    }
}
