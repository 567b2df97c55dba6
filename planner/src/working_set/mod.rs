//! What prefill and decode hold on top of weights and caches: a list of operations a kind of layer, in the order in
//! which MLX evaluates them, played against the rules by which its scheduler runs ahead of the device.
//!
//! No constant in here is fitted to a published peak: see `docs/arithmetic.md`.

mod assumptions;
mod attention;
mod backend;
mod counted;
mod feed_forward;
mod kv;
mod ladder;
mod latent;
mod layer;
mod player;
mod recurrent;
mod replay;
mod tape;

use std::ops::Range;

use crate::cache::KvQuant;
use crate::model::Traits;

pub use assumptions::{Assumption, Assumptions};
pub use backend::{MLX_VERSION, Rules};
pub(crate) use ladder::{Height, Ladder};
pub(crate) use player::Player;
pub(crate) use tape::Tally;

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
