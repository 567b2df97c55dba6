//! The contexts that are played, whatever the weights are packed in.

use super::super::counted::Counted;
use super::super::player::{Player, Recording};
use super::super::{Chunk, DECODES_AT_ONCE, PROMPTS_AT_ONCE};
use crate::cache::{self, KvQuant, Workload};
use crate::model::Model;
use crate::quant::Dtype;

/// The least context that is played.
pub(super) const FIRST_TOKENS: u64 = 16;
/// Beyond this context, what is played is four times as long from one to the next: windows of attention and chunks of
/// caches have ended by then, and what is left grows in proportion.
const STRAIGHT_TOKENS: u64 = 16_384;
/// Tokens by which caches grow while decoding.
const GROWTH: u64 = 256;

/// A context that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung {
    /// A multiple of the prefill step; else 16 tokens, fourfold again and again, within one prefill step.
    pub(super) long: bool,
    /// How far up its side.
    pub(super) index: usize,
}

impl Rung {
    pub(super) const fn long(index: usize) -> Self {
        Self { long: true, index }
    }

    pub(super) const fn short(index: usize) -> Self {
        Self { long: false, index }
    }

    /// The highest that is not above `tokens`: a multiple of `step` if there are as many; the lowest if there are fewer
    /// than are ever played.
    pub(super) fn below(step: u64, tokens: u64) -> Self {
        if tokens < step {
            return Self::short((tokens / FIRST_TOKENS).max(1).ilog2() as usize / 2);
        }
        let shift = (tokens / step).ilog2() as usize;
        let doubled = doublings(step);
        Self::long(if shift <= doubled {
            shift
        } else {
            doubled + (shift - doubled) / 2
        })
    }

    /// The one above on the same side.
    pub(super) const fn above(self) -> Self {
        Self {
            index: self.index + 1,
            ..self
        }
    }

    /// Its tokens: multiples of `step` double at first and are fourfold later.
    pub(super) fn tokens(self, step: u64) -> u64 {
        if !self.long {
            return (FIRST_TOKENS << (2 * self.index.min(20))).min(step);
        }
        let doubled = doublings(step);
        let shift = if self.index <= doubled {
            self.index
        } else {
            doubled + 2 * (self.index - doubled)
        };
        step.saturating_mul(1 << shift.min(62))
    }
}

/// Doublings of a prefill step up to the first context after which everything grows in proportion.
fn doublings(step: u64) -> usize {
    STRAIGHT_TOKENS.div_ceil(step).next_power_of_two().ilog2() as usize
}

/// One of each for every rung up to the highest that was asked for.
#[derive(Debug)]
pub(super) struct Steps<T> {
    long: Vec<T>,
    short: Vec<T>,
}

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self {
            long: Vec::new(),
            short: Vec::new(),
        }
    }
}

impl<T> Steps<T> {
    /// Those on the side of `rung`.
    pub(super) fn side(&mut self, rung: Rung) -> &mut Vec<T> {
        if rung.long {
            &mut self.long
        } else {
            &mut self.short
        }
    }
}

/// What a rung came to, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fullest {
    /// Caches and working set at the fullest moment of the prompt's last chunk.
    pub(super) reading: f64,
    /// The same at the decoding step at which caches grow; 0 where it cannot be above.
    pub(super) writing: f64,
    /// Caches alone, once everything is in.
    pub(super) caches: f64,
    /// No less than either, however weights count.
    pub(super) most: f64,
}

impl Fullest {
    /// The fuller of the two moments.
    pub(super) const fn expected(&self) -> f64 {
        self.reading.max(self.writing)
    }
}

/// Chunks of one sequence that are written.
#[derive(Debug)]
struct Written {
    reading: Recording,
    writing: Recording,
    caches: f64,
    /// What they came to, as weights were counted.
    played: Vec<(Counted, Fullest)>,
}

/// By number of sequences, for caches as they are or quantized.
#[derive(Debug, Default)]
struct Kept {
    one: Steps<Written>,
    /// Two, four, eight … sequences.
    several: Vec<Steps<Fullest>>,
}

/// Everything that was played or written.
#[derive(Debug)]
pub(super) struct Rungs<'a> {
    model: &'a Model,
    dtype: Dtype,
    /// Everything but context and concurrency.
    workload: Workload,
    player: Player<'a>,
    /// Caches as they are, and quantized.
    kept: [Kept; 2],
}

impl<'a> Rungs<'a> {
    pub(super) fn new(
        model: &'a Model,
        dtype: Dtype,
        workload: Workload,
        player: Player<'a>,
    ) -> Self {
        Self {
            model,
            dtype,
            workload,
            player,
            kept: Default::default(),
        }
    }

    /// The player, to look at single chunks.
    pub(super) fn player(&mut self) -> &mut Player<'a> {
        &mut self.player
    }

    /// What one sequence comes to at a rung with weights that count so. The rungs below on its side come first.
    pub(super) fn one(&mut self, rung: Rung, kv: Option<KvQuant>, counted: Counted) -> Fullest {
        let side = self.kept[usize::from(kv.is_some())].one.side(rung);
        if side.len() <= rung.index {
            let (workload, reading, writing) = chunks(&self.workload, rung, 1, kv);
            side.push(Written {
                reading: self.player.record(&workload, &reading),
                writing: self.player.record(&workload, &writing),
                caches: cache::bytes_at_rest(self.model, &workload, self.dtype) as f64,
                played: Vec::new(),
            });
        }
        let written = &mut side[rung.index];
        if let Some((_, known)) = written.played.iter().find(|(of, _)| *of == counted) {
            return *known;
        }
        let reading = self.player.play(&written.reading, counted, 0.0);
        let fullest = Fullest {
            reading,
            writing: self.player.play(&written.writing, counted, reading),
            caches: written.caches,
            most: written
                .reading
                .most_bytes()
                .max(written.writing.most_bytes()),
        };
        written.played.push((counted, fullest));
        fullest
    }

    /// What 2^`exponent` sequences, two at least, come to at a rung; weights do not count. The rungs below on its side
    /// come first.
    pub(super) fn several(&mut self, rung: Rung, exponent: usize, kv: Option<KvQuant>) -> Fullest {
        let all = &mut self.kept[usize::from(kv.is_some())].several;
        let at = exponent.saturating_sub(1);
        while all.len() <= at {
            all.push(Steps::default());
        }
        let side = all[at].side(rung);
        if side.len() <= rung.index {
            let (workload, reading, writing) = chunks(&self.workload, rung, 1 << exponent, kv);
            let counted = Counted::NOTHING;
            let reading = self.player.fullest_once(&workload, &reading, counted, 0.0);
            let writing = self
                .player
                .fullest_once(&workload, &writing, counted, reading);
            side.push(Fullest {
                reading,
                writing,
                caches: cache::bytes_at_rest(self.model, &workload, self.dtype) as f64,
                most: reading.max(writing),
            });
        }
        side[rung.index]
    }
}

/// The last chunk of a prompt, and the decoding step at which its caches grow.
fn chunks(
    all: &Workload,
    rung: Rung,
    sequences: u64,
    kv: Option<KvQuant>,
) -> (Workload, Chunk, Chunk) {
    let tokens = rung.tokens(all.prefill_step_tokens);
    let workload = Workload {
        context_tokens: tokens,
        concurrency: sequences,
        kv_quant: kv.map(|kv| KvQuant {
            start_tokens: 0,
            ..kv
        }),
        ..*all
    };
    let size = workload.prefill_step_tokens.min(tokens);
    let reading = Chunk {
        tokens: size,
        before: tokens - size,
        sequences: sequences.min(PROMPTS_AT_ONCE) as f64,
        held: sequences as f64,
        after_chunk_of: 0,
        quantized: kv,
        logits: false,
    };
    let writing = Chunk {
        tokens: 1,
        before: tokens
            .div_ceil(GROWTH)
            .saturating_sub(1)
            .saturating_mul(GROWTH),
        sequences: sequences.min(DECODES_AT_ONCE) as f64,
        logits: true,
        ..reading
    };
    (workload, reading, writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_lies_between_two_that_are_played() {
        for step in [1, 100, 512, 2048, 8192, 40_000] {
            assert_eq!(Rung::long(0).tokens(step), step);
            for tokens in (step..step + 300).chain([65_535, 65_536, 65_537, 1 << 30]) {
                let rung = Rung::below(step, tokens);
                assert!(
                    rung.tokens(step) <= tokens && tokens < rung.above().tokens(step),
                    "{step} {tokens}"
                );
            }
            for tokens in FIRST_TOKENS..step {
                let rung = Rung::below(step, tokens);
                let next = rung.above().tokens(step);
                assert!(
                    !rung.long && rung.tokens(step) <= tokens && tokens < next,
                    "{step} {tokens}"
                );
            }
        }
        assert_eq!(
            (0..5)
                .map(|i| Rung::short(i).tokens(2048))
                .collect::<Vec<_>>(),
            [16, 64, 256, 1024, 2048]
        );
        assert_eq!(
            (0..7)
                .map(|i| Rung::long(i).tokens(2048))
                .collect::<Vec<_>>(),
            [2048, 4096, 8192, 16_384, 65_536, 262_144, 1_048_576]
        );
    }
}
