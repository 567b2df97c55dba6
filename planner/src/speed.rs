//! Tokens a second with a low and a high: bytes and FLOPs over what a chip achieves, plus what launching kernels costs.
//!
//! Every share and cost stands in `catalog/fitted.json` with the rows it was fitted to and what is left over.

mod fitted;

use crate::budget::{Machine, Tier};
use crate::cache::Workload;
use crate::model::{Flavour, Mixer, Model};
use crate::quant::{Dtype, Scheme};
use crate::timeline::Peaks;
use crate::weights::Totals;
use crate::working_set::{Chunk, Tally};

use fitted::fitted;

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

/// What takes most of a decoding step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Bytes streamed from memory.
    Bandwidth,
    /// Launching the kernels of many small layers.
    Launches,
    /// Attention's arithmetic over a long context.
    Attention,
}

impl Bound {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "memory_bandwidth",
            Self::Launches => "kernel_launches",
            Self::Attention => "attention_arithmetic",
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
    /// Whether a chip of this size and generation is among the rows that the constants were fitted to.
    pub measured: bool,
}

/// FLOPs a second of one GPU core and hertz: 128 lanes, a multiplication and an addition each.
const FLOPS_A_CORE_CYCLE: f64 = 256.0;
/// The clock that attention's rate a core is given at.
const REFERENCE_HZ: f64 = 1.38e9;

/// A chip as the speed sees it.
#[derive(Debug, Clone, Copy)]
struct Chip {
    bandwidth: f64,
    flops: f64,
    /// Cores at the reference clock.
    units: f64,
    ultra: bool,
    generation: u8,
}

impl Chip {
    fn of(machine: &Machine) -> Self {
        let (cores, hz) = (machine.gpu_cores as f64, machine.gpu_clock_hz as f64);
        let measured = machine.measured.unwrap_or_default();
        let (decode, prefill) = (&fitted().decode, &fitted().prefill);
        // Shares are of the data sheet's rates. A measured rate is what large kernels achieve, so it stands for the data
        // sheet's times the share of such kernels; matrix units are in it already.
        let units = if machine.generation >= 5 {
            prefill.matrix_unit_factor
        } else {
            1.0
        };
        Self {
            bandwidth: measured
                .bandwidth_bytes_per_second
                .map_or(machine.bandwidth_bytes_per_second as f64, |rate| {
                    rate / decode.dense_bandwidth_share
                }),
            flops: measured
                .matrix_flops_per_second
                .map_or(cores * FLOPS_A_CORE_CYCLE * hz, |rate| {
                    rate / prefill.matrix_flops_share / units
                }),
            units: cores * hz / REFERENCE_HZ,
            ultra: machine.tier == Tier::Ultra,
            generation: machine.generation,
        }
    }
}

/// Estimates the speed of one sequence of `workload` on `machine`; `totals` are the weights that a token reads.
#[must_use]
pub fn estimate(
    model: &Model,
    totals: Totals,
    scheme: &Scheme,
    workload: &Workload,
    machine: &Machine,
    peaks: &mut Peaks<'_>,
) -> Speed {
    let one = Workload {
        concurrency: 1,
        ..*workload
    };
    let chip = Chip::of(machine);
    let launch = fitted().launch(machine.tier, machine.generation);
    let (seconds, bound_by) = decode_seconds(
        model,
        totals,
        scheme,
        &one,
        chip,
        launch.microseconds * 1e-6,
        peaks,
    );
    let prefill = one.context_tokens as f64 / prefill_seconds(scheme, &one, chip, peaks);
    let intervals = &fitted().intervals;
    let decode = if launch.measured {
        intervals.decode
    } else {
        intervals.decode_chip_not_measured
    };
    let around = |expected: f64, (low, high): (f64, f64)| Rate {
        low: expected / low,
        expected,
        high: expected * high,
    };
    Speed {
        decode: around(1.0 / seconds, decode),
        prefill: around(prefill, intervals.prefill),
        bound_by,
        measured: launch.measured,
    }
}

/// Work of attention over the whole context for one token, all layers.
#[derive(Debug, Clone, Copy, Default)]
struct Attention {
    fused_bytes: f64,
    /// Heads × keys × mean width.
    fused_products: f64,
    stepped_bytes: f64,
    stepped_products: f64,
    latent_flops: f64,
    state_bytes: f64,
}

fn attention(model: &Model, scheme: &Scheme, workload: &Workload) -> Attention {
    let mut sum = Attention::default();
    let quantized = workload.quantized_at(workload.context_tokens);
    let item = quantized.map_or(scheme.dtype.bytes() as f64, |kv| {
        f64::from(kv.bits) / 8.0 + 2.0 * scheme.dtype.bytes() as f64 / f64::from(kv.group_size)
    });
    for group in &model.groups {
        let layers = group.count() as f64;
        for &mixer in &group.mixers {
            match mixer {
                Mixer::Attention {
                    heads,
                    kv_heads,
                    k_dim,
                    v_dim,
                    window,
                    flavour,
                } => {
                    let keys = window
                        .map_or(workload.context_tokens, |w| w.min(workload.context_tokens))
                        as f64;
                    let keys = workload
                        .max_kv_tokens
                        .filter(|_| model.honours_max_kv_size)
                        .map_or(keys, |most| keys.min(most as f64));
                    let width = k_dim as f64 + v_dim as f64;
                    let products = layers * heads as f64 * keys * width / 2.0;
                    let bytes = layers * kv_heads as f64 * keys * width * item;
                    let fuses = matches!(k_dim, 64 | 72 | 80 | 96 | 128 | 256) && k_dim == v_dim;
                    if fuses && flavour != Flavour::Manual && quantized.is_none() {
                        sum.fused_products += products;
                        sum.fused_bytes += bytes;
                    } else {
                        sum.stepped_products += products;
                        sum.stepped_bytes += bytes;
                    }
                }
                Mixer::Latent {
                    heads, rank, rope, ..
                } => {
                    let keys = workload.context_tokens as f64;
                    sum.latent_flops +=
                        layers * 2.0 * heads as f64 * keys * (2.0 * rank as f64 + rope as f64);
                }
                // Read and written, in single precision.
                Mixer::Recurrent { heads, state, .. } => {
                    sum.state_bytes += layers * 8.0 * heads as f64 * state as f64;
                }
                Mixer::Convolution { .. } => {}
            }
        }
    }
    sum
}

fn decode_seconds(
    model: &Model,
    totals: Totals,
    scheme: &Scheme,
    workload: &Workload,
    chip: Chip,
    launch_seconds: f64,
    peaks: &mut Peaks<'_>,
) -> (f64, Bound) {
    let f = &fitted().decode;
    let bw = chip.bandwidth;
    let a = attention(model, scheme, workload);
    let mut streaming = totals.dense_bytes as f64 / (bw * f.dense_bandwidth_share)
        + totals.expert_bytes as f64 / (bw * f.expert_bandwidth_share)
        + a.state_bytes / (bw * f.state_bandwidth_share);
    let rate = if chip.ultra {
        f.fused_products_per_core_second_ultra
    } else {
        f.fused_products_per_core_second
    };
    let mut arithmetic = a.latent_flops / (chip.flops * f.latent_flops_share);
    for (bytes, products) in [
        (
            a.fused_bytes / (bw * f.fused_bandwidth_share),
            a.fused_products / (rate * chip.units),
        ),
        (
            a.stepped_bytes / (bw * f.stepped_bandwidth_share),
            a.stepped_products / (f.stepped_products_per_core_second * chip.units),
        ),
    ] {
        if bytes >= products {
            streaming += bytes;
        } else {
            arithmetic += products;
        }
    }
    let kernels = peaks.tally(&single_token(workload)).kernels;
    let launching = kernels * launch_seconds;
    let bound = if streaming >= launching.max(arithmetic) {
        Bound::Bandwidth
    } else if launching >= arithmetic {
        Bound::Launches
    } else {
        Bound::Attention
    };
    (streaming + arithmetic + launching, bound)
}

/// Tokens by which contexts and chunks are looked at: between, work is a straight line.
const STRIDE: u64 = 256;

/// A decoding step at which no cache grows, the same one for all contexts of a stride: how many kernels it takes does not
/// depend on where in it.
fn single_token(workload: &Workload) -> Chunk {
    Chunk {
        tokens: 1,
        before: (workload.context_tokens - 1) / STRIDE * STRIDE + 1,
        sequences: 1.0,
        held: 1.0,
        after_chunk_of: 0,
        quantized: workload.quantized_at(workload.context_tokens),
        logits: true,
    }
}

fn prefill_seconds(scheme: &Scheme, workload: &Workload, chip: Chip, peaks: &mut Peaks<'_>) -> f64 {
    let f = &fitted().prefill;
    let work = prompt_work(workload, peaks);
    // Older chips have no arithmetic in bfloat16.
    let flops = if chip.generation <= 2 && scheme.dtype == Dtype::Bf16 {
        chip.flops * f.bfloat16_share_without_native
    } else {
        chip.flops
    };
    let matrix = if chip.generation >= 5 {
        flops * f.matrix_unit_factor
    } else {
        flops
    };
    work.matrix_flops / (matrix * f.matrix_flops_share)
        + work.expert_flops / (matrix * f.expert_flops_share)
        + work.attention_flops / (flops * f.attention_flops_share)
        + work.score_flops / (flops * f.score_flops_share)
        + work.score_bytes / (chip.bandwidth * f.score_bandwidth_share)
        + work.stream_bytes / (chip.bandwidth * f.stream_bandwidth_share)
        + work.kernels * f.launch_microseconds * 1e-6
        + work.recurrent_tokens * f.recurrent_token_microseconds * 1e-6
}

/// Chunks of a prompt that are looked at one by one; of more, the first, the second and the last full one.
const CHUNKS_ONE_BY_ONE: u64 = 4;

/// The work of a whole prompt. Attention's grows by the same amount from chunk to chunk.
fn prompt_work(workload: &Workload, peaks: &mut Peaks<'_>) -> Tally {
    let step = workload.prefill_step_tokens;
    let (full, rest) = (
        workload.context_tokens / step,
        workload.context_tokens % step,
    );
    let mut total = Tally::default();
    let mut add = |before: u64, tokens: u64, times: f64| {
        let chunk = Chunk {
            tokens,
            before,
            sequences: 1.0,
            held: 1.0,
            after_chunk_of: 0,
            quantized: workload.quantized_at(before).filter(|_| before > 0),
            logits: false,
        };
        total.add(&peaks.tally(&chunk), times);
    };
    if full > CHUNKS_ONE_BY_ONE {
        add(0, step, 1.0);
        let half = (full - 1) as f64 / 2.0;
        add(step, step, half);
        add((full - 1) * step, step, half);
    } else {
        for i in 0..full {
            add(i * step, step, 1.0);
        }
    }
    let below = rest / STRIDE * STRIDE;
    if below == 0 || below == rest {
        if rest > 0 {
            add(full * step, rest, 1.0);
        }
    } else {
        let above = (below + STRIDE).min(step);
        let share = (rest - below) as f64 / (above - below) as f64;
        add(full * step, below, 1.0 - share);
        add(full * step, above, share);
    }
    total
}
