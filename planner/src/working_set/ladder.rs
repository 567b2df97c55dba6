//! Caches and working set by context and concurrency, never falling in either.
//!
//! Played exactly, the fullest moment moves by tens of MB from one context to the next, as the ends of command buffers
//! shift. So it is played at some contexts and doubling concurrency ([`rungs`]), never less than before nor than with
//! lighter weights, and straight lines join what was played.

mod rungs;

use super::counted::Counted;
use super::player::Player;
use super::{Assumptions, DECODES_AT_ONCE, Rules};
use crate::cache::{self, KvQuant, Workload};
use crate::model::{KvQuantSupport, Model};
use crate::quant::{Quant, Scheme};
use crate::weights;

use rungs::{FIRST_TOKENS, Fullest, Rung, Rungs, Steps};

/// Caches and working set together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Height {
    /// Most likely, bytes.
    pub(crate) expected: u64,
    /// Not more than this, bytes.
    pub(crate) high: u64,
    /// It comes while decoding.
    pub(crate) decoding: bool,
}

impl Height {
    const NONE: Self = Self {
        expected: 0,
        high: 0,
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

    /// The point of a straight line that is `part` of `whole` on the way from here to `above`, which is higher. In whole
    /// numbers, so that a line that is nowhere lower has no lower point.
    fn between(self, above: Self, part: u64, whole: u64) -> Self {
        let (part, whole) = (part.min(whole), whole.max(1));
        let line = |a: u64, b: u64| {
            let rise = b.saturating_sub(a);
            let risen = rise.checked_mul(part).map_or_else(
                || (u128::from(rise) * u128::from(part) / u128::from(whole)) as u64,
                |product| product / whole,
            );
            a + risen
        };
        Self {
            expected: line(self.expected, above.expected),
            high: line(self.high, above.high),
            decoding: above.decoding,
        }
    }
}

/// Heights of one model, scheme and backend; what was played is kept.
#[derive(Debug)]
pub(crate) struct Ladder<'a> {
    rungs: Rungs<'a>,
    model: &'a Model,
    scheme: &'a Scheme,
    /// Everything but context and concurrency.
    workload: Workload,
    weights_bytes: u64,
    rules: Rules,
    counted: Counted,
    kv_quant: Option<KvQuant>,
    /// By sequences: 1, 2, 4 … 32; caches as they are, and quantized.
    plain: Vec<Steps<Height>>,
    quantized: Vec<Steps<Height>>,
    /// The same model with fewer bits, as far as was looked.
    lighter: Vec<Lighter>,
    still_lighter: std::vec::IntoIter<Quant>,
}

/// Weights of fewer bits.
#[derive(Debug, Clone, Copy)]
struct Lighter {
    counted: Counted,
    weights_bytes: u64,
}

/// Packings of fewer bits than a scheme's; none where it is not the same throughout.
fn lighter_than(model: &Model, scheme: &Scheme) -> std::vec::IntoIter<Quant> {
    let uniform = scheme.overrides.is_none() && scheme.dtype.bytes() == model.dtype.bytes();
    let all: Vec<Quant> = if uniform {
        scheme.quant.lighter().collect()
    } else {
        Vec::new()
    };
    all.into_iter()
}

impl<'a> Ladder<'a> {
    pub(crate) fn new(
        model: &'a Model,
        scheme: &'a Scheme,
        rules: Rules,
        workload: &Workload,
        weights_bytes: u64,
    ) -> Self {
        let player = Player::new(model, scheme.dtype, rules);
        Self {
            rungs: Rungs::new(model, scheme.dtype, *workload, player),
            model,
            scheme,
            workload: *workload,
            weights_bytes,
            rules,
            counted: Counted::stored(scheme),
            kv_quant: workload
                .kv_quant
                .filter(|_| model.kv_quant == KvQuantSupport::Yes),
            plain: Vec::new(),
            quantized: Vec::new(),
            lighter: Vec::new(),
            still_lighter: lighter_than(model, scheme),
        }
    }

    /// The same with weights in another scheme of the same type of activations; what was played is kept.
    pub(crate) fn repack(&mut self, scheme: &'a Scheme, weights_bytes: u64) {
        debug_assert_eq!(self.scheme.dtype, scheme.dtype, "caches are of that type");
        self.scheme = scheme;
        self.weights_bytes = weights_bytes;
        self.counted = Counted::stored(scheme);
        self.plain.clear();
        self.quantized.clear();
        self.lighter.clear();
        self.still_lighter = lighter_than(self.model, scheme);
    }

    /// The player, to look at single chunks.
    pub(crate) fn player(&mut self) -> &mut Player<'a> {
        self.rungs.player()
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
                let both = cache::bytes_at_rest(self.model, &old, dtype)
                    .saturating_add(cache::bytes_at_rest(self.model, &new, dtype));
                let converting = Height {
                    expected: both,
                    high: both,
                    decoding: false,
                };
                plain.max(quantized).max(converting)
            }
        };
        let caches = cache::peak_bytes(self.model, &workload, dtype);
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
                // As asked for here: up to the length at which they are quantized, caches are plain.
                kv_quant: kv.map(|kv| KvQuant {
                    start_tokens: 0,
                    ..kv
                }),
                ..self.workload
            };
            let one = cache::bytes_at_rest(self.model, &one, self.scheme.dtype);
            let more = one.saturating_mul(sequences - at);
            let (relative, _) = self.slack(sequences);
            let slack = (more as f64 * relative) as u64;
            return Height {
                expected: low.expected.saturating_add(more),
                high: low.high.saturating_add(more).saturating_add(slack),
                ..low
            };
        }
        let high = self.by_tokens(tokens, below + 1, kv);
        low.between(high, sequences - at, at)
    }

    fn by_tokens(&mut self, tokens: u64, exponent: usize, kv: Option<KvQuant>) -> Height {
        let step = self.workload.prefill_step_tokens;
        let line = |low: (u64, Height), high: (u64, Height)| {
            low.1
                .between(high.1, tokens.saturating_sub(low.0), high.0 - low.0)
        };
        if tokens >= step {
            let below = Rung::below(step, tokens);
            let at = below.tokens(step);
            let low = self.at(below, exponent, kv);
            if at == tokens {
                return low;
            }
            let high = self.at(below.above(), exponent, kv);
            return line((at, low), (below.above().tokens(step), high));
        }
        let whole = self.at(Rung::long(0), exponent, kv);
        let below = Rung::below(step, tokens);
        let low = self.at(below, exponent, kv).min(whole);
        if tokens <= FIRST_TOKENS {
            return low;
        }
        let next = below.above();
        let high = if next.tokens(step) >= step {
            whole
        } else {
            self.at(next, exponent, kv).min(whole)
        };
        line((below.tokens(step), low), (next.tokens(step), high))
    }

    /// Height at a rung: never less than at the one below, nor than with fewer sequences.
    fn at(&mut self, rung: Rung, exponent: usize, kv: Option<KvQuant>) -> Height {
        let known = self.heights(rung, exponent, kv).len();
        for index in known..=rung.index {
            let rung = Rung { index, ..rung };
            let mut height = self.played(rung, exponent, kv);
            if let Some(&below) = self.heights(rung, exponent, kv).last() {
                height = height.max(below);
            }
            if exponent > 0 {
                height = height.max(self.at(rung, exponent - 1, kv));
            }
            self.heights(rung, exponent, kv).push(height);
        }
        self.heights(rung, exponent, kv)[rung.index]
    }

    /// Heights that are known on the side of a rung.
    fn heights(&mut self, rung: Rung, exponent: usize, kv: Option<KvQuant>) -> &mut Vec<Height> {
        let all = if kv.is_some() {
            &mut self.quantized
        } else {
            &mut self.plain
        };
        while all.len() <= exponent {
            all.push(Steps::default());
        }
        all[exponent].side(rung)
    }

    /// Height at a rung as it is played; with weights never less than with lighter ones.
    fn played(&mut self, rung: Rung, exponent: usize, kv: Option<KvQuant>) -> Height {
        if exponent > 0 {
            let fullest = self.rungs.several(rung, exponent, kv);
            return self.height_of(fullest, self.weights_bytes, 1 << exponent);
        }
        let fullest = self.rungs.one(rung, kv, self.counted);
        let mut height = self.height_of(fullest, self.weights_bytes, 1);
        let (relative, share) = self.slack(1);
        let most_above = (fullest.most - fullest.expected()).max(0.0);
        for i in 0.. {
            let Some(lighter) = self.lighter(i) else {
                break;
            };
            // What weighs so much less cannot come to more, whatever it holds; nor can what weighs less still.
            let less = self.weights_bytes.saturating_sub(lighter.weights_bytes);
            if most_above * (1.0 + relative + share) < less as f64 * (1.0 + relative) {
                break;
            }
            let other = self.rungs.one(rung, kv, lighter.counted);
            let other = self.height_of(other, lighter.weights_bytes, 1);
            height = height.max(Height {
                expected: other.expected.saturating_sub(less),
                high: other.high.saturating_sub(less),
                ..other
            });
        }
        height
    }

    fn height_of(&self, fullest: Fullest, weights_bytes: u64, sequences: u64) -> Height {
        let expected = fullest.expected();
        let (relative, share) = self.slack(sequences);
        let slack = relative * (weights_bytes as f64 + expected)
            + share * (expected - fullest.caches).max(0.0);
        Height {
            expected: expected as u64,
            high: (expected + slack) as u64,
            decoding: fullest.writing > fullest.reading,
        }
    }

    /// The lighter weights of that number, the heaviest first.
    ///
    /// Played as they are, heavier weights end command buffers sooner, and less is held beside them. That outweighs what
    /// the weights grow by only where they are small beside the working set: small models, or very long contexts.
    fn lighter(&mut self, number: usize) -> Option<Lighter> {
        while self.lighter.len() <= number {
            let quant = self.still_lighter.next()?;
            let scheme = Scheme {
                quant,
                ..self.scheme.clone()
            };
            if let Ok(bytes) = weights::total_bytes(self.model, &scheme) {
                self.lighter.push(Lighter {
                    counted: Counted::stored(&scheme),
                    weights_bytes: bytes,
                });
            }
        }
        self.lighter.get(number).copied()
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

/// Half the interval where all kinds of layers were compared with real Macs: shares of peak and of working set.
const MEASURED: (f64, f64) = (0.02, 0.10);
/// The same where a kind was not.
const ASSUMED: (f64, f64) = (0.03, 0.30);

impl Default for Height {
    fn default() -> Self {
        Self::NONE
    }
}
