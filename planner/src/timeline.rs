//! Memory over time: load → prefill chunks → first token → decode, and its peak with an interval.

use crate::cache::{self, Workload};
use crate::model::{KvQuantSupport, Model};
use crate::quant::Scheme;
use crate::working_set::{
    Assumptions, Chunk, DECODES_AT_ONCE, Height, Ladder, PROMPTS_AT_ONCE, Rules, Tally,
};

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
    /// Bytes of the runtime itself: MLX counts arrays alone.
    pub runtime_bytes: u64,
    /// The sum with weights, and its interval.
    pub bytes: Estimate,
    /// What in it no measurement on a real Mac confirms.
    pub assumptions: Assumptions,
}

/// What mlx-lm's peak counts beside arrays: nothing.
const RUNTIME_BYTES: u64 = 0;

/// What runs: all that a peak depends on beside context and concurrency.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The model.
    pub model: &'a Model,
    /// Bytes of its weights.
    pub weights_bytes: u64,
    /// What it is quantized to.
    pub scheme: &'a Scheme,
    /// The backend's rules.
    pub rules: Rules,
    /// Everything of the workload but context and concurrency counts.
    pub workload: Workload,
}

/// Peaks of one run by context and concurrency; what was played is kept, so that searches are cheap.
#[derive(Debug)]
pub struct Peaks<'a> {
    run: Run<'a>,
    ladder: Ladder<'a>,
    /// Work of chunks that the speed asked for.
    tallies: Vec<(Chunk, Tally)>,
}

/// Chunks whose work is kept, at most; a prompt asks for five.
const TALLIES_KEPT: usize = 64;

impl<'a> Peaks<'a> {
    /// Peaks of `run`.
    #[must_use]
    pub fn new(run: Run<'a>) -> Self {
        let ladder = Ladder::new(
            run.model,
            run.scheme,
            run.rules,
            &run.workload,
            run.weights_bytes,
        );
        Self {
            run,
            ladder,
            tallies: Vec::new(),
        }
    }

    /// Turns to weights in another scheme. What was played is kept, as it depends on the type of the activations alone,
    /// which must be the same.
    pub(crate) fn repack(&mut self, scheme: &'a Scheme, weights_bytes: u64) {
        self.run.scheme = scheme;
        self.run.weights_bytes = weights_bytes;
        self.ladder.repack(scheme, weights_bytes);
    }

    /// What they are of.
    #[must_use]
    pub const fn run(&self) -> &Run<'a> {
        &self.run
    }

    /// The interval of the peak with `context_tokens` in each of `concurrency` caches; it never falls in either.
    pub fn estimate(&mut self, context_tokens: u64, concurrency: u64) -> Estimate {
        let height = self.ladder.height(context_tokens, concurrency);
        self.total(height, context_tokens, concurrency).0
    }

    fn total(&self, height: Height, context_tokens: u64, concurrency: u64) -> (Estimate, u64) {
        let workload = Workload {
            context_tokens,
            concurrency,
            ..self.run.workload
        };
        let base = self.run.weights_bytes;
        let at_rest = cache::bytes_at_rest(self.run.model, &workload, self.run.scheme.dtype);
        let slack = height.high.saturating_sub(height.expected);
        let expected = base.saturating_add(height.expected);
        let least = base.saturating_add(at_rest).min(expected);
        (
            Estimate {
                low: expected.saturating_sub(slack).max(least),
                expected,
                high: expected.saturating_add(slack),
            },
            at_rest,
        )
    }

    /// The fullest moment of the run with `context_tokens` in each of `concurrency` caches.
    pub fn peak(&mut self, context_tokens: u64, concurrency: u64) -> Peak {
        let height = self.ladder.height(context_tokens, concurrency);
        let (bytes, at_rest) = self.total(height, context_tokens, concurrency);
        let over_weights = bytes.expected - self.run.weights_bytes;
        let cache_bytes = at_rest.min(over_weights);
        let phase = match (height.decoding, context_tokens) {
            (_, 1) => Phase::FirstToken,
            (true, _) => Phase::Decode,
            (false, n) => Phase::Prefill {
                tokens: fullest_chunk_end(n, self.run.workload.prefill_step_tokens),
            },
        };
        let quantized = self
            .run
            .workload
            .kv_quant
            .is_some_and(|kv| context_tokens >= kv.start_tokens)
            && self.run.model.kv_quant == KvQuantSupport::Yes;
        Peak {
            phase,
            cache_bytes,
            working_set_bytes: over_weights - cache_bytes,
            runtime_bytes: RUNTIME_BYTES,
            bytes,
            assumptions: Assumptions::of(self.run.model, self.run.rules, quantized, concurrency),
        }
    }

    /// The work of one chunk of one sequence over all layers, for the speed.
    pub(crate) fn tally(&mut self, chunk: &Chunk) -> Tally {
        if let Some((_, known)) = self.tallies.iter().find(|(of, _)| of == chunk) {
            return *known;
        }
        let one = Workload {
            concurrency: 1,
            ..self.run.workload
        };
        let work = self.ladder.player().tally(&one, chunk);
        if self.tallies.len() == TALLIES_KEPT {
            self.tallies.clear();
        }
        self.tallies.push((*chunk, work));
        work
    }

    /// Memory over time, phase by phase, each played as it is and none above the peak.
    pub fn steps(&mut self, context_tokens: u64, concurrency: u64) -> Vec<Step> {
        let peak = self.peak(context_tokens, concurrency);
        let workload = Workload {
            context_tokens,
            concurrency,
            ..self.run.workload
        };
        let base = self.run.weights_bytes.saturating_add(RUNTIME_BYTES);
        let mut all = vec![Step {
            phase: Phase::Load,
            bytes: base,
        }];
        let held = concurrency as f64;
        let mut push = |player: &mut crate::working_set::Player<'a>, phase, chunk: Chunk| {
            let least = cache::bytes_at(
                self.run.model,
                &workload,
                self.run.scheme.dtype,
                cache::Moment::Chunk {
                    before: chunk.before,
                    tokens: chunk.tokens,
                },
            );
            let bytes =
                (player.fullest_bytes(&workload, &chunk, self.run.scheme) as u64).max(least);
            let bytes = base.saturating_add(bytes).min(peak.bytes.expected);
            // The moment that the peak was found at has the peak's own figure.
            let bytes = if phase == peak.phase {
                peak.bytes.expected
            } else {
                bytes
            };
            all.push(Step { phase, bytes });
        };
        let reading = Chunk {
            tokens: 1,
            before: 0,
            sequences: concurrency.min(PROMPTS_AT_ONCE) as f64,
            held,
            after_chunk_of: 0,
            quantized: None,
            logits: false,
        };
        let player = self.ladder.player();
        let mut last = 0;
        for (before, tokens) in chunks_shown(&workload) {
            let quantized = quantized_before(self.run.model, &workload, before);
            let chunk = Chunk {
                tokens,
                before,
                quantized,
                ..reading
            };
            push(
                player,
                Phase::Prefill {
                    tokens: before + tokens,
                },
                chunk,
            );
            last = tokens;
        }
        let first = Chunk {
            before: context_tokens - 1,
            after_chunk_of: last,
            quantized: quantized_before(self.run.model, &workload, context_tokens - 1),
            logits: true,
            ..reading
        };
        push(player, Phase::FirstToken, first);
        let decode = Chunk {
            before: context_tokens,
            after_chunk_of: 0,
            sequences: concurrency.min(DECODES_AT_ONCE) as f64,
            quantized: quantized_before(self.run.model, &workload, context_tokens),
            ..first
        };
        push(player, Phase::Decode, decode);
        all
    }
}

fn quantized_before(model: &Model, workload: &Workload, before: u64) -> Option<cache::KvQuant> {
    workload
        .quantized_at(before)
        .filter(|_| before > 0 && model.kv_quant == KvQuantSupport::Yes)
}

/// Tokens in the caches after the prompt's fullest chunk: the last full one, unless the rest is nearly as long.
const fn fullest_chunk_end(context_tokens: u64, step: u64) -> u64 {
    let prompt = context_tokens - 1;
    let rest = prompt % step;
    if prompt < step || rest > step / 2 {
        prompt
    } else {
        prompt - rest
    }
}

/// Prefill chunks that a timeline shows one by one; of more, the ones between are left out.
const CHUNKS_SHOWN: u64 = 64;

/// Chunks that are shown: (tokens before, tokens).
fn chunks_shown(workload: &Workload) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (full, rest) = workload.chunks();
    let size = workload.prefill_step_tokens;
    let stride = full.div_ceil(CHUNKS_SHOWN).max(1);
    // Counted from the end, so that the last full chunk is always there.
    let shown = full.div_ceil(stride);
    let fulls = (0..shown)
        .rev()
        .map(move |back| ((full - 1 - back * stride) * size, size));
    fulls.chain((rest > 0).then_some((full * size, rest)))
}
