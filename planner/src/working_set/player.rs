//! Writes the chunks of one model and plays them.

use std::ops::Range;

use super::counted::{Counted, Weights};
use super::replay::Replay;
use super::tape::{Mark, Masks, ONE, Out, Spec, Tally, Tape};
use super::{Chunk, Layer, Rules, Stretch, layer};
use crate::cache::{self, Moment, Workload};
use crate::model::{LayerGroup, Model};
use crate::quant::{Dtype, Scheme};

/// Whether a layer has more mixers than are played; its caches are then counted whole beside those that are.
fn mixes_beyond(group: &LayerGroup) -> bool {
    group.mixers.len() > layer::MIXERS_MAX
}

/// A chunk that is written: it can be played with weights of any packing.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    /// Its stretches, in the order in which they are played.
    parts: Range<usize>,
    masks: Masks,
    /// Bytes of the caches that are held before it.
    held_bytes: f64,
    /// Bytes of everything it makes.
    made_bytes: f64,
}

impl Recording {
    /// No less than its fullest moment, however weights count.
    pub(super) const fn most_bytes(&self) -> f64 {
        self.held_bytes + self.made_bytes
    }
}

/// Writes chunks of one model and plays them; keeps its memory between them. Nothing in it depends on what the weights
/// are packed in.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    model: &'a Model,
    dtype: Dtype,
    rules: Rules,
    tape: Tape,
    parts: Vec<Range<usize>>,
    /// By group: its layer in the chunk that is being written.
    stretches: Vec<Option<Stretch>>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(model: &'a Model, dtype: Dtype, rules: Rules) -> Self {
        Self {
            model,
            dtype,
            rules,
            tape: Tape::new(rules, dtype),
            parts: Vec::with_capacity(16),
            stretches: Vec::with_capacity(model.groups.len()),
        }
    }

    /// Bytes of caches and working set at the fullest moment of a chunk with weights in `scheme`.
    pub(crate) fn fullest_bytes(
        &mut self,
        workload: &Workload,
        chunk: &Chunk,
        scheme: &Scheme,
    ) -> f64 {
        let counted = if chunk.sequences > 1.0 {
            Counted::NOTHING
        } else {
            Counted::stored(scheme)
        };
        self.fullest_once(workload, chunk, counted, 0.0)
    }

    /// The same for a chunk that is played once; 0 where it cannot be above `known`.
    pub(super) fn fullest_once(
        &mut self,
        workload: &Workload,
        chunk: &Chunk,
        counted: Counted,
        known: f64,
    ) -> f64 {
        let (mark, parts) = (self.tape.mark(), self.parts.len());
        let recording = self.record(workload, chunk);
        let bytes = self.play(&recording, counted, known);
        self.forget(mark, parts);
        bytes
    }

    fn forget(&mut self, mark: Mark, parts: usize) {
        self.tape.rewind(mark);
        self.parts.truncate(parts);
    }

    /// Writes a chunk, behind those that are written.
    pub(super) fn record(&mut self, workload: &Workload, chunk: &Chunk) -> Recording {
        let order = &self.model.order;
        let first = self.parts.len();
        self.tape.begin_chunk();
        self.stretches.clear();
        self.stretches.resize(self.model.groups.len(), None);
        let Some((&last, tail)) = order.tail.split_last() else {
            return Recording {
                parts: first..first,
                masks: Masks::default(),
                held_bytes: 0.0,
                made_bytes: 0.0,
            };
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
        // The start comes first and is written last, when all masks are known.
        self.parts.push(0..0);
        for &group in order.lead.iter().chain(tail) {
            let group = usize::from(group);
            let stretch = self.stretch(workload, chunk, group);
            held_bytes += stretch.resident_bytes;
            made_bytes += stretch.made_bytes;
            self.parts.push(stretch.ops);
            if others > 0.0 {
                held_bytes += others * self.cache_bytes(workload, chunk, group);
            }
        }
        if others > 0.0 {
            held_bytes += others * self.cache_bytes(workload, chunk, usize::from(last));
        }
        let last = self.write(workload, chunk, usize::from(last), !chunk.logits);
        held_bytes += last.resident_bytes;
        made_bytes += last.made_bytes;
        self.parts.push(last.ops);
        if chunk.logits {
            let head = self.write_head(chunk);
            made_bytes += head.made_bytes;
            self.parts.push(head.ops);
        }
        let start = self.write_start(chunk);
        made_bytes += start.made_bytes;
        self.parts[first] = start.ops;
        Recording {
            parts: first..self.parts.len(),
            masks: self.tape.masks,
            held_bytes,
            made_bytes,
        }
    }

    /// Bytes at the fullest moment of a chunk that is written; 0 where it cannot be above `known`.
    pub(super) fn play(&self, recording: &Recording, counted: Counted, known: f64) -> f64 {
        if recording.most_bytes() <= known {
            return 0.0;
        }
        let mut replay = Replay::new(self.rules, counted, &recording.masks, recording.held_bytes);
        for part in &self.parts[recording.parts.clone()] {
            replay.play(&self.tape, part);
        }
        replay.peak_bytes
    }

    /// The work of a chunk over all layers.
    pub(crate) fn tally(&mut self, workload: &Workload, chunk: &Chunk) -> Tally {
        let model = self.model;
        let mut total = Tally::default();
        let (mark, parts) = (self.tape.mark(), self.parts.len());
        self.tape.begin_chunk();
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
        self.forget(mark, parts);
        total
    }

    /// Writes a layer of `group`, once a chunk.
    fn stretch(&mut self, workload: &Workload, chunk: &Chunk, group: usize) -> Stretch {
        if let Some(known) = &self.stretches[group] {
            return known.clone();
        }
        let stretch = self.write(workload, chunk, group, false);
        self.stretches[group] = Some(stretch.clone());
        stretch
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
        let weights = Weights::Matrix {
            elements: vocab * model.hidden as f64,
            last: model.hidden,
        };
        let logits = tape.op(&[x], Out::New(rows * vocab), Spec::reads(weights));
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
            self.dtype,
            moment,
            chunk.quantized,
        ) as f64
    }
}
