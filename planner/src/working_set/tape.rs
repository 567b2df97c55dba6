//! Operations over buffers, in the order in which MLX evaluates them: what each allocates, what it touches, what may go
//! once it is done. The lists of operations by kind of layer write onto it; [`super::replay`] plays it.

mod common;

use super::Stretch;
use super::backend::{Counting, Rules};
use super::counted::Weights;
use crate::quant::Dtype;

/// A buffer on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buf(u32);

/// Touched never before, so that it counts in whatever command buffer comes.
pub(super) const NEVER: i64 = i64::MIN / 2;

#[derive(Debug, Clone, Copy)]
struct Buffer {
    bytes: f64,
    elements: f64,
    /// The operation that touched it last, relative to the first of this stretch.
    last: i64,
    /// Outlives the stretch.
    kept: bool,
    /// Slot of a mask that all layers share.
    mask: Option<u8>,
}

/// An array that an operation touches and that was touched before in its stretch or by the one before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    /// The operation that touched it before, relative to the first of the stretch.
    pub(super) before: i64,
    /// Its elements.
    pub(super) elements: f64,
}

/// One operation, as the replay needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Op {
    /// Bytes of new arrays.
    pub(super) alloc_bytes: f64,
    /// Bytes of arrays that are read here for the last time.
    pub(super) free_bytes: f64,
    /// Elements that count whatever was touched before.
    pub(super) elements: f64,
    /// Elements of a weight matrix, which count as they are stored; and its last dimension.
    pub(super) matrix: f64,
    pub(super) matrix_last: u32,
    /// End of its touches; they begin where the operation before it ends.
    pub(super) touches_end: u32,
    /// Nodes towards the limit of a command buffer.
    pub(super) nodes: u32,
    /// One more than the slot of a shared mask; 0 without.
    pub(super) mask: u8,
}

/// What comes out of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Out {
    /// A new array of elements of the model's type.
    New(f64),
    /// A new array of elements of so many bytes.
    NewOf(f64, f64),
    /// Written over this one, which nobody else holds.
    Into(Buf),
}

/// What an operation computes, for the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Anything that streams through its arrays.
    Stream,
    /// A matrix product with weights.
    Matrix,
    /// The same with chosen experts' weights.
    Experts,
    /// Attention in one kernel.
    Attention,
    /// Attention in steps: products and passes over the scores.
    Scores,
}

/// What an operation is beside its arrays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    /// Kernels that are launched.
    pub(super) kernels: u32,
    /// Views made on the way; the CPU build dispatches one each.
    pub(super) views: u32,
    /// Weights that are read.
    pub(super) weights: Weights,
    /// Floating-point operations.
    pub(super) flops: f64,
    /// What it computes.
    pub(super) work: Work,
}

/// One kernel that streams.
pub(super) const ONE: Spec = Spec {
    kernels: 1,
    views: 0,
    weights: Weights::Fixed(0.0),
    flops: 0.0,
    work: Work::Stream,
};

impl Spec {
    pub(super) const fn kernels(kernels: u32) -> Self {
        Self { kernels, ..ONE }
    }

    pub(super) const fn reads(weights: Weights) -> Self {
        Self { weights, ..ONE }
    }

    pub(super) const fn weights(elements: f64) -> Self {
        Self::reads(Weights::Fixed(elements))
    }

    pub(super) const fn scores(flops: f64) -> Self {
        Self {
            flops,
            work: Work::Scores,
            ..ONE
        }
    }

    pub(super) const fn views(self, views: u32) -> Self {
        Self { views, ..self }
    }
}

/// Work of a stretch of operations, for the speed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Tally {
    /// Kernels.
    pub(crate) kernels: f64,
    /// FLOPs of products with weights that every token reads.
    pub(crate) matrix_flops: f64,
    /// FLOPs of products with experts' weights.
    pub(crate) expert_flops: f64,
    /// FLOPs of fused attention.
    pub(crate) attention_flops: f64,
    /// FLOPs of attention in steps.
    pub(crate) score_flops: f64,
    /// Bytes read and written by operations as large as the scores.
    pub(crate) score_bytes: f64,
    /// Bytes read and written by all that streams.
    pub(crate) stream_bytes: f64,
    /// Tokens through recurrences with a kernel of their own.
    pub(crate) recurrent_tokens: f64,
}

impl Tally {
    /// Adds `times` times another.
    pub(crate) fn add(&mut self, other: &Self, times: f64) {
        self.kernels += other.kernels * times;
        self.matrix_flops += other.matrix_flops * times;
        self.expert_flops += other.expert_flops * times;
        self.attention_flops += other.attention_flops * times;
        self.score_flops += other.score_flops * times;
        self.score_bytes += other.score_bytes * times;
        self.stream_bytes += other.stream_bytes * times;
        self.recurrent_tokens += other.recurrent_tokens * times;
    }
}

/// A mask that layers share: its keys and whether it cuts a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mask {
    /// Queries × keys.
    pub(super) elements: f64,
    pub(super) keys: f64,
    pub(super) windowed: bool,
}

/// A place on the tape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    ops: usize,
    touches: usize,
}

/// Masks of different shape in one run.
pub(super) const MASKS_MAX: usize = 8;
/// The masks of one chunk.
pub(super) type Masks = [Option<Mask>; MASKS_MAX];

/// A stretch of operations being written, after others that are finished.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) rules: Rules,
    /// Bytes of an element of the activations.
    pub(super) item: f64,
    buffers: Vec<Buffer>,
    pub(super) ops: Vec<Op>,
    pub(super) touches: Vec<Touch>,
    start: usize,
    pub(super) tally: Tally,
    /// Bytes of caches that were there before.
    resident_bytes: f64,
    /// Bytes of everything the stretch makes.
    made_bytes: f64,
    pub(super) masks: Masks,
}

impl Tape {
    pub(super) fn new(rules: Rules, dtype: Dtype) -> Self {
        Self {
            rules,
            item: dtype.bytes() as f64,
            buffers: Vec::with_capacity(64),
            ops: Vec::with_capacity(256),
            touches: Vec::with_capacity(768),
            start: 0,
            tally: Tally::default(),
            resident_bytes: 0.0,
            made_bytes: 0.0,
            masks: [None; MASKS_MAX],
        }
    }

    /// How far it is written.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            ops: self.ops.len(),
            touches: self.touches.len(),
        }
    }

    /// Forgets what was written since, keeping the memory.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.ops.truncate(mark.ops);
        self.touches.truncate(mark.touches);
    }

    /// Begins the stretch of a chunk that shares no masks with those before.
    pub(super) fn begin_chunk(&mut self) {
        self.masks = [None; MASKS_MAX];
    }

    /// Begins a stretch.
    pub(super) fn begin(&mut self) {
        self.buffers.clear();
        self.start = self.ops.len();
        self.tally = Tally::default();
        self.resident_bytes = 0.0;
        self.made_bytes = 0.0;
    }

    fn push(&mut self, elements: f64, bytes: f64, last: i64, kept: bool) -> Buf {
        self.buffers.push(Buffer {
            bytes,
            elements,
            last,
            kept,
            mask: None,
        });
        Buf((self.buffers.len() - 1) as u32)
    }

    fn get(&mut self, buf: Buf) -> &mut Buffer {
        &mut self.buffers[buf.0 as usize]
    }

    /// A cache array from before; `kept` if it outlives the stretch.
    pub(super) fn resident(&mut self, elements: f64, bytes: f64, kept: bool) -> Buf {
        self.resident_bytes += bytes;
        self.push(elements, bytes, NEVER, kept)
    }

    /// What the stretch before left for this one, touched by its last operation.
    pub(super) fn carried(&mut self, elements: f64) -> Buf {
        let bytes = elements * self.item;
        self.push(elements, bytes, -1, false)
    }

    /// Outlives the stretch.
    pub(super) fn keep(&mut self, buf: Buf) {
        self.get(buf).kept = true;
    }

    /// A mask that is made once a chunk and shared by layers; None where there are too many shapes.
    pub(super) fn shared_mask(&mut self, queries: f64, keys: f64, windowed: bool) -> Buf {
        let wanted = Mask {
            elements: queries * keys,
            keys,
            windowed,
        };
        let mut slot = None;
        for (i, mask) in self.masks.iter_mut().enumerate() {
            if *mask == Some(wanted) || mask.is_none() {
                *mask = Some(wanted);
                slot = Some(i as u8);
                break;
            }
        }
        let buf = self.push(wanted.elements, wanted.elements, NEVER, true);
        self.get(buf).mask = slot;
        buf
    }

    /// Notes that the operation `index` touches `buf`; its elements if they count whatever came before.
    fn touch(&mut self, buf: Buf, index: i64, counted: bool, mask: &mut u8) -> f64 {
        let buffer = &mut self.buffers[buf.0 as usize];
        if let Some(slot) = buffer.mask {
            *mask = slot + 1;
            return 0.0;
        }
        if buffer.last == index {
            return 0.0;
        }
        let (before, elements) = (buffer.last, buffer.elements);
        buffer.last = index;
        if !counted {
            return 0.0;
        }
        if before == NEVER || self.rules.counting == Counting::EveryInput {
            return elements;
        }
        self.touches.push(Touch { before, elements });
        0.0
    }

    /// One operation that reads `reads`; its output.
    pub(super) fn op(&mut self, reads: &[Buf], out: Out, spec: Spec) -> Buf {
        let index = i64::try_from(self.ops.len() - self.start).unwrap_or(i64::MAX);
        let counts = self.rules.counting != Counting::Nothing;
        let mut mask = 0;
        let (mut bytes, mut touched) = (0.0, 0.0);
        for &read in reads {
            touched += self.touch(read, index, counts, &mut mask);
            bytes += self.buffers[read.0 as usize].bytes;
        }
        let (output, alloc_bytes) = match out {
            Out::Into(buf) => (buf, 0.0),
            Out::New(elements) => {
                let bytes = elements * self.item;
                (
                    self.push(elements, bytes, NEVER, false),
                    self.rules.rounded(bytes),
                )
            }
            Out::NewOf(elements, item) => {
                let bytes = elements * item;
                (
                    self.push(elements, bytes, NEVER, false),
                    self.rules.rounded(bytes),
                )
            }
        };
        bytes += self.buffers[output.0 as usize].bytes;
        self.made_bytes += alloc_bytes;
        let counts_out = self.rules.counting == Counting::Distinct;
        touched += self.touch(output, index, counts_out, &mut mask);
        let (elements, matrix, last) = match spec.weights {
            Weights::Fixed(elements) => (elements, 0.0, 0),
            Weights::Matrix { elements, last } => (0.0, elements, last),
        };
        self.ops.push(Op {
            alloc_bytes,
            free_bytes: 0.0,
            elements: touched + elements,
            matrix,
            // No group divides the largest number, nor any matrix so wide.
            matrix_last: u32::try_from(last).unwrap_or(u32::MAX),
            touches_end: self.touches.len() as u32,
            nodes: if self.rules.dispatches {
                spec.kernels + 1 + spec.views
            } else {
                spec.kernels
            },
            mask,
        });
        self.note(spec, bytes);
        output
    }

    fn note(&mut self, spec: Spec, bytes: f64) {
        let tally = &mut self.tally;
        tally.kernels += f64::from(spec.kernels);
        match spec.work {
            Work::Stream => tally.stream_bytes += bytes,
            Work::Matrix => tally.matrix_flops += spec.flops,
            Work::Experts => tally.expert_flops += spec.flops,
            Work::Attention => tally.attention_flops += spec.flops,
            Work::Scores => {
                tally.score_flops += spec.flops;
                tally.score_bytes += bytes;
            }
        }
    }

    /// A second output of the operation just written: a state in single precision that is kept.
    pub(super) fn sibling_state(&mut self, bytes: f64) {
        let rounded = self.rules.rounded(bytes);
        self.made_bytes += rounded;
        if let Some(op) = self.ops.last_mut() {
            op.alloc_bytes += rounded;
        }
    }

    /// Arrays of so many elements in all, kept until now, go with the operation just written.
    pub(super) fn release(&mut self, elements: f64) {
        let bytes = elements * self.item;
        if let Some(op) = self.ops.last_mut() {
            op.free_bytes += bytes;
        }
    }

    /// Ends the stretch: what is not kept goes with its last reader.
    pub(super) fn end(&mut self) -> Stretch {
        for buffer in &self.buffers {
            if !buffer.kept && buffer.last >= 0 {
                let free = self.rules.rounded(buffer.bytes);
                self.ops[self.start + buffer.last as usize].free_bytes += free;
            }
        }
        Stretch {
            ops: self.start..self.ops.len(),
            resident_bytes: self.resident_bytes,
            made_bytes: self.made_bytes,
        }
    }
}
