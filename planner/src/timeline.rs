//! Memory over time: load → prefill chunks → first token → decode, and its peak.

use crate::budget::Backend;
use crate::cache::{self, Moment, Workload};
use crate::model::Model;
use crate::quant::Scheme;
use crate::working_set;

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Not less than this.
    pub low: u64,
    /// Most likely.
    pub expected: u64,
    /// Not more than this.
    pub high: u64,
}

/// A stretch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Weights are read in.
    Load,
    /// A prefill chunk; `tokens` are in the caches when it ends.
    Prefill {
        /// Tokens in the caches at its end.
        tokens: u64,
    },
    /// The last token of the prompt, with its logits.
    FirstToken,
    /// Decoding, the whole context in the caches.
    Decode,
}

/// Bytes of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which phase.
    pub phase: Phase,
    /// Weights, caches and transient arrays at its fullest.
    pub bytes: u64,
}

/// The fullest moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// Phase in which it comes.
    pub phase: Phase,
    /// Caches at that moment.
    pub cache_bytes: u64,
    /// Transient arrays at that moment.
    pub working_set_bytes: u64,
    /// Bytes of the runtime itself.
    pub runtime_bytes: u64,
    /// The sum with weights, and its interval.
    pub bytes: Estimate,
}

/// What the runtime itself holds.
const RUNTIME_BYTES: u64 = 0;

fn at(
    model: &Model,
    scheme: &Scheme,
    workload: &Workload,
    backend: Backend,
    moment: Moment,
) -> (u64, u64) {
    let caches = cache::bytes_at(model, workload, scheme.dtype, moment);
    let transient = match moment {
        Moment::Chunk { before, tokens } => {
            working_set::prefill_bytes(model, scheme, workload, backend, before, tokens)
        }
        Moment::Rest => working_set::decode_bytes(model, scheme, workload, backend),
    };
    (caches, transient)
}

/// The fullest moment of a run whose weights take `weights_bytes`.
#[must_use]
pub fn peak(
    model: &Model,
    weights_bytes: u64,
    scheme: &Scheme,
    workload: &Workload,
    backend: Backend,
) -> Peak {
    let mut most = Peak {
        phase: Phase::Load,
        cache_bytes: 0,
        working_set_bytes: 0,
        runtime_bytes: RUNTIME_BYTES,
        bytes: Estimate {
            low: 0,
            expected: 0,
            high: 0,
        },
    };
    let mut most_bytes = 0;
    for moment in workload.moments() {
        let (caches, transient) = at(model, scheme, workload, backend, moment);
        if caches + transient >= most_bytes {
            most_bytes = caches + transient;
            let phase = match moment {
                Moment::Chunk { before, tokens } => Phase::Prefill {
                    tokens: before + tokens,
                },
                Moment::Rest => Phase::Decode,
            };
            most = Peak {
                phase,
                cache_bytes: caches,
                working_set_bytes: transient,
                ..most
            };
        }
    }
    let base = weights_bytes.saturating_add(most.cache_bytes);
    let expected = base
        .saturating_add(most.working_set_bytes)
        .saturating_add(RUNTIME_BYTES);
    let spread = most.working_set_bytes / 3 + expected / 100;
    most.bytes = Estimate {
        low: expected.saturating_sub(spread).max(base),
        expected,
        high: expected.saturating_add(spread),
    };
    most
}

/// Prefill chunks that a timeline shows one by one; of more, the ones between are left out.
const CHUNKS_SHOWN: u64 = 64;

/// Memory over time, phase by phase.
#[must_use]
pub fn steps(
    model: &Model,
    weights_bytes: u64,
    scheme: &Scheme,
    workload: &Workload,
    backend: Backend,
) -> Vec<Step> {
    let mut all = vec![Step {
        phase: Phase::Load,
        bytes: weights_bytes + RUNTIME_BYTES,
    }];
    let (full, rest) = workload.chunks();
    let size = workload.prefill_step_tokens;
    let stride = full.div_ceil(CHUNKS_SHOWN).max(1);
    let shown = (0..full)
        .filter(|i| (i + 1) % stride == 0 || i + 1 == full)
        .map(|i| (i * size, size));
    let last = (rest > 0).then_some((full * size, rest));
    for (before, tokens) in shown.chain(last) {
        let (caches, transient) = at(
            model,
            scheme,
            workload,
            backend,
            Moment::Chunk { before, tokens },
        );
        all.push(Step {
            phase: Phase::Prefill {
                tokens: before + tokens,
            },
            bytes: weights_bytes + caches + transient,
        });
    }
    let (caches, transient) = at(model, scheme, workload, backend, Moment::Rest);
    all.push(Step {
        phase: Phase::FirstToken,
        bytes: weights_bytes + caches + transient,
    });
    all.push(Step {
        phase: Phase::Decode,
        bytes: weights_bytes + caches + transient,
    });
    all
}
