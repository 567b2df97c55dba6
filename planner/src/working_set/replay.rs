//! Plays operations the way MLX's scheduler runs them ahead of the device, and finds the fullest moment.
//!
//! A command buffer ends when its nodes or its elements pass a limit; an array that an operation reads stays until that
//! command buffer has completed; so many command buffers are under way at once (mlx 0.32.2 `metal/device.cpp`,
//! `metal/eval.cpp`, `transforms.cpp`). While a prompt is read the device is always behind, so the window is full.

use super::backend::Rules;
use super::counted::Counted;
use super::tape::{MASKS_MAX, Masks, NEVER, Tape};

/// Command buffers under way, at most.
const RING: usize = 16;

/// The state of a run of stretches, one after the other.
#[derive(Debug)]
pub(super) struct Replay<'m> {
    rules: Rules,
    counted: Counted,
    masks: &'m Masks,
    active_bytes: f64,
    pub(super) peak_bytes: f64,
    /// Bytes that go when the command buffer being written has completed.
    freed_bytes: f64,
    elements: f64,
    nodes: u32,
    /// Operations so far, and the first of this command buffer.
    index: i64,
    first: i64,
    ring: [f64; RING],
    oldest: usize,
    under_way: usize,
    mask_last: [i64; MASKS_MAX],
}

impl<'m> Replay<'m> {
    /// Begins with `bytes` held.
    pub(super) fn new(rules: Rules, counted: Counted, masks: &'m Masks, bytes: f64) -> Self {
        Self {
            rules,
            counted,
            masks,
            active_bytes: bytes,
            peak_bytes: bytes,
            freed_bytes: 0.0,
            elements: 0.0,
            nodes: 0,
            index: 0,
            first: 0,
            ring: [0.0; RING],
            oldest: 0,
            under_way: 0,
            mask_last: [NEVER; MASKS_MAX],
        }
    }

    /// Plays one stretch of the tape.
    pub(super) fn play(&mut self, tape: &Tape, range: &std::ops::Range<usize>) {
        let mut at = range
            .start
            .checked_sub(1)
            .map_or(0, |i| tape.ops[i].touches_end as usize);
        let base = self.index;
        let (nodes_max, elements_end) = (self.rules.nodes_max, self.rules.elements_end);
        // Kept apart from the rest of the state, so that they stay in registers.
        let (mut active, mut peak) = (self.active_bytes, self.peak_bytes);
        let (mut freed, mut elements, mut nodes) = (self.freed_bytes, self.elements, self.nodes);
        let mut index = base;
        for op in &tape.ops[range.clone()] {
            active += op.alloc_bytes;
            peak = if active > peak { active } else { peak };
            let end = op.touches_end as usize;
            if at < end {
                let since = self.first - base;
                for touch in &tape.touches[at..end] {
                    elements += if touch.before < since {
                        touch.elements
                    } else {
                        0.0
                    };
                }
                at = end;
            }
            if op.mask > 0 {
                elements += self.read_mask(usize::from(op.mask - 1), index);
            }
            elements += op.elements;
            if op.matrix > 0.0 {
                elements += self.counted.elements(op.matrix, op.matrix_last);
            }
            nodes += op.nodes;
            freed += op.free_bytes;
            index += 1;
            if nodes > nodes_max || elements >= elements_end {
                active -= self.commit(freed);
                self.first = index;
                (freed, elements) = (0.0, 0.0);
                // The CPU build ends a task every so many dispatches and goes on counting.
                nodes = if self.rules.dispatches {
                    nodes - nodes_max - 1
                } else {
                    0
                };
            }
        }
        self.index = index;
        (self.active_bytes, self.peak_bytes) = (active, peak);
        (self.freed_bytes, self.elements, self.nodes) = (freed, elements, nodes);
    }

    /// What a shared mask counts for, read by the operation `index`.
    fn read_mask(&mut self, slot: usize, index: i64) -> f64 {
        let last = std::mem::replace(&mut self.mask_last[slot], index);
        if last < self.first {
            self.masks[slot].map_or(0.0, |m| m.elements)
        } else {
            0.0
        }
    }

    /// Ends a command buffer whose arrays take `freed` bytes; the bytes that go now, as the oldest has completed.
    fn commit(&mut self, freed: f64) -> f64 {
        let slot = (self.oldest + self.under_way) % RING;
        if self.under_way < self.rules.in_flight {
            self.under_way += 1;
            self.ring[slot] = freed;
            return 0.0;
        }
        let gone = self.ring[self.oldest];
        self.oldest = (self.oldest + 1) % RING;
        self.ring[slot] = freed;
        gone
    }
}
