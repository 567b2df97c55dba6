//! What prefill and decode hold on top of weights and caches: a list of operations a kind of layer, in the order in
//! which MLX evaluates them, played against the rules by which its scheduler runs ahead of the device.
//!
//! No constant in here is fitted to a published peak: see `docs/arithmetic.md`.

mod assumptions;
mod attention;
mod backend;
mod feed_forward;
mod kv;
mod ladder;
mod latent;
mod layer;
mod recurrent;
mod replay;
mod tape;

use std::ops::Range;

use crate::cache::{self, KvQuant, Moment, Workload};
use crate::model::{LayerGroup, Model, Traits};
use crate::quant::Scheme;

pub use assumptions::{Assumption, Assumptions};
pub use backend::{MLX_VERSION, Rules};
pub(crate) use ladder::Ladder;
use replay::Replay;
pub(crate) use tape::Tally;
use tape::{ONE, Out, Spec, Tape};

/// Prompts that a server reads at once (mlx-lm 0.32.2 `server.py`, `prompt_concurrency`).
pub(crate) const PROMPTS_AT_ONCE: u64 = 8;
/// Sequences that a server decodes at once (`decode_concurrency`).
pub(crate) const DECODES_AT_ONCE: u64 = 32;

/// A stretch of a run: some tokens of each of some sequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chunk {
    /// Tokens of each sequence.
    pub(crate) tokens: u64,
    /// Tokens in each cache before.
    pub(crate) before: u64,
    /// Sequences that go through at once.
    pub(crate) sequences: f64,
    /// Sequences whose caches are held.
    pub(crate) held: f64,
    /// For the first token after a prompt: tokens of the prompt's last chunk. 0 otherwise.
    pub(crate) after_chunk_of: u64,
    /// Caches are quantized.
    pub(crate) quantized: Option<KvQuant>,
    /// Logits are computed (the prompt's last token, and decoding).
    pub(crate) logits: bool,
}

impl Chunk {
    /// Rows of the activations.
    fn rows(&self) -> f64 {
        self.tokens as f64 * self.sequences
    }

    /// Tokens in each cache after.
    fn keys(&self) -> f64 {
        self.before as f64 + self.tokens as f64
    }
}

/// What the lists of operations need to know of a layer.
#[derive(Debug, Clone, Copy)]
struct Layer<'a> {
    hidden: u64,
    traits: &'a Traits,
    /// Only its cache is needed: the last layer of a prompt's chunk.
    cache_only: bool,
}

/// A layer's operations on the tape, and the caches that were there before.
#[derive(Debug, Clone, Default)]
struct Stretch {
    ops: Range<usize>,
    resident_bytes: f64,
    /// Bytes of everything it makes.
    made_bytes: f64,
}

/// Whether a layer has more mixers than are played; its caches are then counted whole beside those that are.
fn mixes_beyond(group: &LayerGroup) -> bool {
    group.mixers.len() > layer::MIXERS_MAX
}

/// Plays chunks of one model; keeps its memory between them.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    model: &'a Model,
    scheme: &'a Scheme,
    rules: Rules,
    tape: Tape,
    stretches: Vec<Option<Stretch>>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(model: &'a Model, scheme: &'a Scheme, rules: Rules) -> Self {
        Self {
            model,
            scheme,
            rules,
            tape: Tape::new(rules, scheme),
            stretches: Vec::with_capacity(model.groups.len()),
        }
    }

    /// Bytes of caches and working set at the fullest moment of a chunk; 0 where it cannot be above `known`.
    pub(crate) fn fullest_bytes(&mut self, workload: &Workload, chunk: &Chunk, known: f64) -> f64 {
        let order = &self.model.order;
        self.tape.clear(chunk.sequences > 1.0);
        self.stretches.clear();
        self.stretches.resize(self.model.groups.len(), None);
        let Some((&last, tail)) = order.tail.split_last() else {
            return 0.0;
        };
        let mut held_bytes = 0.0;
        for &group in order.lead.iter().chain(&order.tail) {
            let group = usize::from(group);
            if mixes_beyond(&self.model.groups[group]) {
                held_bytes += chunk.held * self.cache_bytes(workload, chunk, group);
            }
        }
        for (group, &layers) in order.rest.iter().enumerate() {
            if layers > 0 {
                held_bytes += layers as f64 * chunk.held * self.cache_bytes(workload, chunk, group);
            }
        }
        let others = chunk.held - chunk.sequences;
        let mut made_bytes = 0.0;
        for &group in order.lead.iter().chain(tail) {
            let (resident, made) = self.stretch(workload, chunk, usize::from(group));
            held_bytes += resident;
            made_bytes += made;
            if others > 0.0 {
                held_bytes += others * self.cache_bytes(workload, chunk, usize::from(group));
            }
        }
        if others > 0.0 {
            held_bytes += others * self.cache_bytes(workload, chunk, usize::from(last));
        }
        let last = self.write(workload, chunk, usize::from(last), !chunk.logits);
        held_bytes += last.resident_bytes;
        let head = if chunk.logits {
            self.write_head(chunk)
        } else {
            Stretch::default()
        };
        let start = self.write_start(chunk);
        made_bytes += last.made_bytes + head.made_bytes + start.made_bytes;
        if held_bytes + made_bytes <= known {
            return 0.0;
        }

        let mut replay = Replay::new(self.rules, held_bytes);
        replay.play(&self.tape, &start.ops);
        for &group in order.lead.iter().chain(tail) {
            if let Some(stretch) = &self.stretches[usize::from(group)] {
                replay.play(&self.tape, &stretch.ops);
            }
        }
        replay.play(&self.tape, &last.ops);
        replay.play(&self.tape, &head.ops);
        replay.peak_bytes
    }

    /// The work of a chunk over all layers.
    pub(crate) fn tally(&mut self, workload: &Workload, chunk: &Chunk) -> Tally {
        let model = self.model;
        let mut total = Tally::default();
        self.tape.clear(chunk.sequences > 1.0);
        let last = model.order.tail.last().map(|&g| usize::from(g));
        for (group, _) in model.groups.iter().enumerate() {
            let layers = if chunk.logits {
                model.groups[group].count()
            } else {
                let played = model.order.lead.iter().chain(&model.order.tail);
                let played = played.filter(|&&g| usize::from(g) == group).count() as u64;
                (played + model.order.rest[group]).saturating_sub(u64::from(last == Some(group)))
            };
            if layers > 0 {
                self.write(workload, chunk, group, false);
                total.add(&self.tape.tally, layers as f64);
            }
        }
        if let Some(last) = last.filter(|_| !chunk.logits) {
            self.write(workload, chunk, last, true);
            total.add(&self.tape.tally, 1.0);
        }
        if chunk.logits {
            self.write_head(chunk);
            total.add(&self.tape.tally, 1.0);
        }
        self.write_start(chunk);
        total.add(&self.tape.tally, 1.0);
        total
    }

    /// Writes a layer of `group` once; the bytes of its caches from before, and of all it makes.
    fn stretch(&mut self, workload: &Workload, chunk: &Chunk, group: usize) -> (f64, f64) {
        if let Some(known) = &self.stretches[group] {
            return (known.resident_bytes, known.made_bytes);
        }
        let stretch = self.write(workload, chunk, group, false);
        let bytes = (stretch.resident_bytes, stretch.made_bytes);
        self.stretches[group] = Some(stretch);
        bytes
    }

    fn write(
        &mut self,
        workload: &Workload,
        chunk: &Chunk,
        group: usize,
        cache_only: bool,
    ) -> Stretch {
        let model = self.model;
        let layer = Layer {
            hidden: model.hidden,
            traits: &model.traits[group],
            cache_only,
        };
        let group = &model.groups[group];
        let tape = &mut self.tape;
        tape.begin();
        let x = tape.carried(chunk.rows() * model.hidden as f64);
        let caches = group
            .caches
            .iter()
            .map(|&kind| cache::effective(model, kind, workload));
        let y = layer::write(tape, &layer, chunk, group, caches, x);
        if !cache_only {
            tape.keep(y);
        }
        tape.end()
    }

    /// The embedding, and masks that layers share.
    fn write_start(&mut self, chunk: &Chunk) -> Stretch {
        let (tape, model) = (&mut self.tape, self.model);
        tape.begin();
        for mask in tape.masks.into_iter().flatten() {
            let positions = tape.op(
                &[],
                Out::NewOf(chunk.tokens as f64 + mask.keys, 4.0),
                Spec::kernels(2).views(2),
            );
            let made = tape.op(&[positions], Out::NewOf(mask.elements, 1.0), ONE);
            if mask.windowed {
                let window = tape.op(
                    &[positions],
                    Out::NewOf(mask.elements, 1.0),
                    Spec::kernels(2),
                );
                tape.op(&[made, window], Out::Into(made), ONE);
            }
            tape.keep(made);
        }
        let x = tape.op(
            &[],
            Out::New(chunk.rows() * model.hidden as f64),
            Spec::kernels(4),
        );
        tape.keep(x);
        if model.family.starts_with("gemma") {
            tape.over(x);
        }
        tape.end()
    }

    /// The last norm, logits and the choice of a token.
    fn write_head(&mut self, chunk: &Chunk) -> Stretch {
        let (tape, model) = (&mut self.tape, self.model);
        let (rows, vocab) = (chunk.sequences, model.vocab as f64);
        tape.begin();
        let x = tape.carried(rows * model.hidden as f64);
        let x = tape.norm(x, rows, model.hidden, false);
        let weights = tape.weight_elements(vocab * model.hidden as f64, model.hidden);
        let logits = tape.op(&[x], Out::New(rows * vocab), Spec::weights(weights));
        if matches!(model.family, "gemma2" | "gemma4" | "gemma4_text") {
            tape.op(&[logits], Out::Into(logits), Spec::kernels(3));
        }
        let sum = tape.op(&[logits], Out::New(rows), ONE);
        let shares = tape.op(&[logits, sum], Out::New(rows * vocab), ONE);
        tape.from(shares, rows);
        tape.keep(shares);
        tape.end()
    }

    /// Bytes of one sequence's caches in one layer of a group after a chunk.
    fn cache_bytes(&self, workload: &Workload, chunk: &Chunk, group: usize) -> f64 {
        let moment = Moment::Chunk {
            before: chunk.before,
            tokens: chunk.tokens,
        };
        cache::layer_bytes(
            self.model,
            group,
            workload,
            self.scheme.dtype,
            moment,
            chunk.quantized,
        ) as f64
    }
}
