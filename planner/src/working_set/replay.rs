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
        for op in &tape.ops[range.clone()] {
            self.active_bytes += op.alloc_bytes;
            self.peak_bytes = self.peak_bytes.max(self.active_bytes);
            let end = op.touches_end as usize;
            let since = self.first - base;
            for touch in &tape.touches[at..end] {
                if touch.before < since {
                    self.elements += touch.elements;
                }
            }
            at = end;
            if op.mask > 0 {
                self.read_mask(usize::from(op.mask - 1));
            }
            self.elements += op.elements;
            if op.matrix > 0.0 {
                self.elements += self.counted.elements(op.matrix, op.matrix_last);
            }
            self.nodes += op.nodes;
            self.freed_bytes += op.free_bytes;
            self.index += 1;
            if self.nodes > self.rules.nodes_max || self.elements >= self.rules.elements_end {
                self.commit();
            }
        }
    }

    fn read_mask(&mut self, slot: usize) {
        if self.mask_last[slot] < self.first {
            self.elements += self.masks[slot].map_or(0.0, |m| m.elements);
        }
        self.mask_last[slot] = self.index;
    }

    fn commit(&mut self) {
        if self.under_way == self.rules.in_flight {
            self.active_bytes -= self.ring[self.oldest];
            self.oldest = (self.oldest + 1) % RING;
        } else {
            self.under_way += 1;
        }
        self.ring[(self.oldest + self.under_way - 1) % RING] = self.freed_bytes;
        self.freed_bytes = 0.0;
        self.elements = 0.0;
        // The CPU build ends a task every so many dispatches and goes on counting.
        self.nodes = if self.rules.dispatches {
            self.nodes - self.rules.nodes_max - 1
        } else {
            0
        };
        self.first = self.index;
    }
}
