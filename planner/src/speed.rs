//! Roofline: tokens a second with a low and a high.

use crate::budget::Machine;
use crate::cache::{self, Workload};
use crate::model::Model;
use crate::quant::Scheme;

/// A rate with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Not less than this.
    pub low: f64,
    /// Most likely.
    pub expected: f64,
    /// Not more than this.
    pub high: f64,
}

/// What limits the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Bytes streamed from memory.
    Bandwidth,
    /// Launching the kernels of many small layers.
    Launches,
}

impl Bound {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "memory_bandwidth",
            Self::Launches => "kernel_launches",
        }
    }
}

/// Speed of one sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Tokens a second while answering.
    pub decode: Rate,
    /// Tokens a second while reading the prompt.
    pub prefill: Rate,
    /// What limits decoding.
    pub bound_by: Bound,
}

/// Seconds that each layer costs whatever its size.
const LAYER_SECONDS: f64 = 40e-6;
/// Share of the data sheet's bandwidth that decoding reaches.
const BANDWIDTH_SHARE: f64 = 0.85;
/// Floating-point operations a second of one GPU core in half precision.
const CORE_FLOPS: f64 = 0.33e12;

/// Estimates the speed of `model` on `machine`; `active_bytes` are the bytes a token reads of the weights.
#[must_use]
pub fn estimate(
    model: &Model,
    active_bytes: u64,
    scheme: &Scheme,
    workload: &Workload,
    machine: &Machine,
) -> Speed {
    let one = Workload {
        concurrency: 1,
        ..*workload
    };
    let bytes = active_bytes as f64 + cache::bytes_at_rest(model, &one, scheme.dtype) as f64;
    let streaming = bytes / (machine.bandwidth_bytes_per_second as f64 * BANDWIDTH_SHARE);
    let launching = model.layer_count as f64 * LAYER_SECONDS;
    let decode = 1.0 / (streaming + launching);
    let flops = 2.0 * model.active_parameters() as f64;
    let prefill = machine.gpu_cores as f64 * CORE_FLOPS / flops;
    let around = |expected: f64, share: f64| Rate {
        low: expected / share,
        expected,
        high: expected * share,
    };
    Speed {
        decode: around(decode, 1.25),
        prefill: around(prefill, 1.6),
        bound_by: if streaming >= launching {
            Bound::Bandwidth
        } else {
            Bound::Launches
        },
    }
}
