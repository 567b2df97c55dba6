//! Caches and working set by context and concurrency, never falling in either.
//!
//! Played exactly, the fullest moment moves by tens of MB from one context to the next, as the ends of command buffers
//! shift. So it is played at doubling contexts (fourfold ones where no window ends any more) and doubling concurrency,
//! never less than before, and straight lines join what was played.

use super::{Assumptions, Chunk, DECODES_AT_ONCE, PROMPTS_AT_ONCE, Player, Rules};
use crate::cache::{self, KvQuant, Workload};
use crate::model::{KvQuantSupport, Model};
use crate::quant::Scheme;

/// The least context that is played.
const FIRST_TOKENS: u64 = 16;
/// Beyond this context, what is played is four times as long from one to the next: windows of attention and chunks of
/// caches have ended by then, and what is left grows in proportion.
const STRAIGHT_TOKENS: u64 = 16_384;
/// Tokens by which caches grow while decoding.
const GROWTH: u64 = 256;

/// Caches and working set together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Height {
    /// Most likely, bytes.
    pub(crate) expected: f64,
    /// Not more than this, bytes.
    pub(crate) high: f64,
    /// It comes while decoding.
    pub(crate) decoding: bool,
}

impl Height {
    const NONE: Self = Self {
        expected: 0.0,
        high: 0.0,
        decoding: false,
    };

    fn max(self, other: Self) -> Self {
        Self {
            expected: self.expected.max(other.expected),
            high: self.high.max(other.high),
            decoding: if other.expected > self.expected {
                other.decoding
            } else {
                self.decoding
            },
        }
    }

    fn min(self, other: Self) -> Self {
        Self {
            expected: self.expected.min(other.expected),
            high: self.high.min(other.high),
            ..self
        }
    }

    fn between(self, above: Self, share: f64) -> Self {
        let line = |a: f64, b: f64| a + (b - a) * share;
        Self {
            expected: line(self.expected, above.expected),
            high: line(self.high, above.high),
            decoding: above.decoding,
        }
    }
}

/// Heights by context for one number of sequences.
#[derive(Debug, Default)]
struct Steps {
    /// At one prefill step and its multiples.
    long: Vec<Height>,
    /// At contexts that one prefill step holds, doubling from 16; each as it was played.
    short: Vec<Height>,
}

/// Heights of one model, scheme and backend; what was played is kept.
#[derive(Debug)]
pub(crate) struct Ladder<'a> {
    player: Player<'a>,
    model: &'a Model,
    scheme: &'a Scheme,
    /// Everything but context and concurrency.
    workload: Workload,
    weights_bytes: f64,
    rules: Rules,
    kv_quant: Option<KvQuant>,
    /// By sequences: 1, 2, 4 … 32; caches as they are, and quantized.
    plain: Vec<Steps>,
    quantized: Vec<Steps>,
}

impl<'a> Ladder<'a> {
    pub(crate) fn new(
        model: &'a Model,
        scheme: &'a Scheme,
        rules: Rules,
        workload: &Workload,
        weights_bytes: u64,
    ) -> Self {
        Self {
            player: Player::new(model, scheme, rules),
            model,
            scheme,
            workload: *workload,
            weights_bytes: weights_bytes as f64,
            rules,
            kv_quant: workload
                .kv_quant
                .filter(|_| model.kv_quant == KvQuantSupport::Yes),
            plain: Vec::new(),
            quantized: Vec::new(),
        }
    }

    /// The player, to look at single chunks.
    pub(crate) fn player(&mut self) -> &mut Player<'a> {
        &mut self.player
    }

    /// Height of a run with `tokens` in each of `sequences` caches at its end.
    pub(crate) fn height(&mut self, tokens: u64, sequences: u64) -> Height {
        let workload = Workload {
            context_tokens: tokens,
            concurrency: sequences,
            ..self.workload
        };
        let dtype = self.scheme.dtype;
        let mut height = match self.kv_quant.filter(|kv| tokens >= kv.start_tokens) {
            None => self.by_sequences(tokens, sequences, None),
            Some(kv) => {
                // The chunk that reaches the start is still added plain; then old and new are held side by side.
                let step = workload.prefill_step_tokens;
                let reached = kv
                    .start_tokens
                    .max(1)
                    .div_ceil(step)
                    .saturating_mul(step)
                    .min(tokens);
                let plain = self.by_sequences(reached, sequences, None);
                let quantized = self.by_sequences(tokens, sequences, Some(kv));
                let old = Workload {
                    context_tokens: reached,
                    kv_quant: None,
                    ..workload
                };
                let new = Workload {
                    context_tokens: reached,
                    kv_quant: Some(KvQuant {
                        start_tokens: 0,
                        ..kv
                    }),
                    ..workload
                };
                let both = cache::bytes_at_rest(self.model, &old, dtype) as f64
                    + cache::bytes_at_rest(self.model, &new, dtype) as f64;
                let converting = Height {
                    expected: both,
                    high: both,
                    decoding: false,
                };
                plain.max(quantized).max(converting)
            }
        };
        let caches = cache::peak_bytes(self.model, &workload, dtype) as f64;
        height.expected = height.expected.max(caches);
        height.high = height.high.max(height.expected);
        height
    }

    fn by_sequences(&mut self, tokens: u64, sequences: u64, kv: Option<KvQuant>) -> Height {
        let below = sequences.max(1).ilog2().min(DECODES_AT_ONCE.ilog2()) as usize;
        let low = self.by_tokens(tokens, below, kv);
        let at = 1_u64 << below;
        if at == sequences {
            return low;
        }
        if at >= DECODES_AT_ONCE {
            // More are held, but no more are worked on at once.
            let one = Workload {
                context_tokens: tokens,
                concurrency: 1,
                ..self.workload
            };
            let more = (sequences - at) as f64
                * cache::bytes_at_rest(self.model, &one, self.scheme.dtype) as f64;
            let (relative, _) = self.slack(sequences);
            return Height {
                expected: low.expected + more,
                high: low.high + more * (1.0 + relative),
                ..low
            };
        }
        let high = self.by_tokens(tokens, below + 1, kv);
        low.between(high, (sequences - at) as f64 / at as f64)
    }

    fn by_tokens(&mut self, tokens: u64, exponent: usize, kv: Option<KvQuant>) -> Height {
        let step = self.workload.prefill_step_tokens;
        let line = |low: (u64, Height), high: (u64, Height)| {
            let share = (tokens - low.0) as f64 / (high.0 - low.0).max(1) as f64;
            low.1.between(high.1, share.min(1.0))
        };
        if tokens >= step {
            let below = index_of(step, tokens);
            let at = tokens_of(step, below);
            let low = self.long(below, exponent, kv);
            if at == tokens {
                return low;
            }
            let high = self.long(below + 1, exponent, kv);
            return line((at, low), (tokens_of(step, below + 1), high));
        }
        let whole = self.long(0, exponent, kv);
        if tokens <= FIRST_TOKENS {
            return self.short(0, exponent, kv).min(whole);
        }
        let below = (tokens / FIRST_TOKENS).ilog2();
        let at = FIRST_TOKENS << below;
        let low = self.short(below as usize, exponent, kv).min(whole);
        let next = at * 2;
        if next >= step {
            line((at, low), (step, whole))
        } else {
            line(
                (at, low),
                (
                    next,
                    self.short(below as usize + 1, exponent, kv).min(whole),
                ),
            )
        }
    }

    /// Height at the prefill step's multiple of that index.
    fn long(&mut self, index: usize, exponent: usize, kv: Option<KvQuant>) -> Height {
        self.grow(exponent, kv);
        for known in self.steps(exponent, kv).long.len()..=index {
            let tokens = tokens_of(self.workload.prefill_step_tokens, known);
            let mut height = self.played(tokens, 1 << exponent, kv);
            if known > 0 {
                height = height.max(self.steps(exponent, kv).long[known - 1]);
            }
            if exponent > 0 {
                height = height.max(self.long(known, exponent - 1, kv));
            }
            self.steps(exponent, kv).long.push(height);
        }
        self.steps(exponent, kv).long[index]
    }

    /// Height at 16 tokens doubled `index` times, below one prefill step.
    fn short(&mut self, index: usize, exponent: usize, kv: Option<KvQuant>) -> Height {
        self.grow(exponent, kv);
        for known in self.steps(exponent, kv).short.len()..=index {
            let tokens = (FIRST_TOKENS << known).min(self.workload.prefill_step_tokens);
            let mut height = self.played(tokens, 1 << exponent, kv);
            if known > 0 {
                height = height.max(self.steps(exponent, kv).short[known - 1]);
            }
            if exponent > 0 {
                height = height.max(self.short(known, exponent - 1, kv));
            }
            self.steps(exponent, kv).short.push(height);
        }
        self.steps(exponent, kv).short[index]
    }

    fn steps(&mut self, exponent: usize, kv: Option<KvQuant>) -> &mut Steps {
        let all = if kv.is_some() {
            &mut self.quantized
        } else {
            &mut self.plain
        };
        &mut all[exponent]
    }

    fn grow(&mut self, exponent: usize, kv: Option<KvQuant>) {
        let all = if kv.is_some() {
            &mut self.quantized
        } else {
            &mut self.plain
        };
        while all.len() <= exponent {
            all.push(Steps::default());
        }
    }

    /// Plays the last chunk of a prompt of `tokens`, and the decoding step at which its caches grow.
    fn played(&mut self, tokens: u64, sequences: u64, kv: Option<KvQuant>) -> Height {
        let workload = Workload {
            context_tokens: tokens,
            concurrency: sequences,
            kv_quant: kv.map(|kv| KvQuant {
                start_tokens: 0,
                ..kv
            }),
            ..self.workload
        };
        let size = workload.prefill_step_tokens.min(tokens);
        let held = sequences as f64;
        let prompt = Chunk {
            tokens: size,
            before: tokens - size,
            sequences: sequences.min(PROMPTS_AT_ONCE) as f64,
            held,
            after_chunk_of: 0,
            quantized: kv,
            logits: false,
        };
        let reading = self.player.fullest_bytes(&workload, &prompt, 0.0);
        let decoding = Chunk {
            tokens: 1,
            before: tokens
                .div_ceil(GROWTH)
                .saturating_sub(1)
                .saturating_mul(GROWTH),
            sequences: sequences.min(DECODES_AT_ONCE) as f64,
            logits: true,
            ..prompt
        };
        let writing = self.player.fullest_bytes(&workload, &decoding, reading);
        let expected = reading.max(writing);
        let caches = cache::bytes_at_rest(self.model, &workload, self.scheme.dtype) as f64;
        let (relative, share) = self.slack(sequences);
        let slack =
            relative * (self.weights_bytes + expected) + share * (expected - caches).max(0.0);
        Height {
            expected,
            high: expected + slack,
            decoding: writing > reading,
        }
    }

    /// Half the interval: a share of the peak, and a share of the working set.
    fn slack(&self, sequences: u64) -> (f64, f64) {
        let assumptions =
            Assumptions::of(self.model, self.rules, self.kv_quant.is_some(), sequences);
        if assumptions.is_empty() {
            MEASURED
        } else {
            ASSUMED
        }
    }
}

/// Doublings of a prefill step up to the first context after which everything grows in proportion.
fn doublings(step: u64) -> usize {
    STRAIGHT_TOKENS.div_ceil(step).next_power_of_two().ilog2() as usize
}

/// Tokens of the multiple of `step` with that index: doubling at first, fourfold later.
fn tokens_of(step: u64, index: usize) -> u64 {
    let doubled = doublings(step);
    let shift = if index <= doubled {
        index
    } else {
        doubled + 2 * (index - doubled)
    };
    step.saturating_mul(1 << shift.min(62))
}

/// The index of the largest multiple of `step` that is not above `tokens`, which are no fewer than `step`.
fn index_of(step: u64, tokens: u64) -> usize {
    let shift = (tokens / step).ilog2() as usize;
    let doubled = doublings(step);
    if shift <= doubled {
        shift
    } else {
        doubled + (shift - doubled) / 2
    }
}

/// Half the interval where all kinds of layers were compared with real Macs: shares of peak and of working set.
const MEASURED: (f64, f64) = (0.02, 0.10);
/// The same where a kind was not.
const ASSUMED: (f64, f64) = (0.03, 0.30);

impl Default for Height {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_lies_between_two_that_are_played() {
        for step in [1, 100, 512, 2048, 8192, 40_000] {
            let played: Vec<u64> = (0..40).map(|i| tokens_of(step, i)).collect();
            assert_eq!(played[0], step);
            for tokens in
                (step..step + 300).chain([16_383, 16_384, 16_385, 65_535, 65_536, 1 << 30])
            {
                if tokens >= step {
                    let index = index_of(step, tokens);
                    assert!(
                        played[index] <= tokens && tokens < played[index + 1],
                        "{step} {tokens}"
                    );
                }
            }
        }
        assert_eq!(
            (0..7).map(|i| tokens_of(2048, i)).collect::<Vec<_>>(),
            [2048, 4096, 8192, 16_384, 65_536, 262_144, 1_048_576]
        );
    }
}
