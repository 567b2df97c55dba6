//! Blocks of random MLX arrays.

use super::mlx_rs::{Array, Dtype, memory, ops};
use super::sys;
use crate::engine::backend::{BackendError, DeviceInfo, Memory, MemoryFigures, Verified};

/// Bytes in one of the words that blocks are made of.
const WORD_BYTES: u64 = 4;

/// Blocks as arrays of 32-bit words.
pub(crate) struct MlxMemory {
    blocks: Vec<Block>,
}

struct Block {
    words: Array,
    seed: u64,
}

impl MlxMemory {
    pub(crate) fn new() -> Result<Self, BackendError> {
        memory::set_cache_limit(0)?;
        memory::clear_cache()?;
        memory::reset_peak_memory()?;
        Ok(Self { blocks: Vec::new() })
    }

    fn block(&self, index: usize) -> Result<&Block, BackendError> {
        let held = self.blocks.len();
        self.blocks
            .get(index)
            .ok_or(BackendError::NoSuchBlock { index, held })
    }
}

impl Memory for MlxMemory {
    fn hold(&mut self, bytes: u64, seed: u64) -> Result<(), BackendError> {
        let words = Some(bytes / WORD_BYTES)
            .filter(|words| *words > 0 && bytes.is_multiple_of(WORD_BYTES))
            .and_then(|words| i32::try_from(words).ok())
            .ok_or(BackendError::BlockSize {
                bytes,
                accepted: "a multiple of 4 from 4 to 8589934588, because an MLX shape is a 32-bit number of words",
            })?;
        let words = sys::random_words(words, seed)?;
        words.eval().map_err(|error| BackendError::Allocation {
            bytes,
            reason: error.what().to_owned(),
        })?;
        sys::synchronize()?;
        self.blocks.push(Block { words, seed });
        Ok(())
    }

    fn verify(&mut self, index: usize) -> Result<Verified, BackendError> {
        let block = self.block(index)?;
        let words = block.words.dim(0);
        let differs = ops::ne(&block.words, sys::random_words(words, block.seed)?)?;
        let mismatches = differs.sum(None)?.try_item_cast::<i32>()?.unsigned_abs();
        let first_mismatch = if mismatches > 0 {
            let word = ops::indexing::argmax(&differs, None)?.try_item_cast::<u32>()?;
            Some(u64::from(word) * WORD_BYTES)
        } else {
            None
        };
        Ok(Verified {
            bytes: block.words.nbytes() as u64,
            mismatches: u64::from(mismatches),
            first_mismatch,
        })
    }

    fn flip_bit(&mut self, index: usize, byte: u64, bit: u8) -> Result<(), BackendError> {
        let block = self.block(index)?;
        let words = block.words.dim(0);
        let word = u32::try_from(byte / WORD_BYTES)
            .ok()
            .filter(|word| {
                byte / WORD_BYTES < u64::from(words.unsigned_abs())
                    && *word <= i32::MAX.unsigned_abs()
            })
            .ok_or(BackendError::BlockSize {
                bytes: byte,
                accepted: "a byte inside the block",
            })?;
        let flip = 1_u32 << (u32::from(bit % 8) + 8 * (byte % WORD_BYTES) as u32);
        let here = ops::eq(
            ops::arange::<i32, u32>(None, words, None)?,
            Array::from_slice(&[word], &[1]),
        )?;
        let mask = ops::multiply(
            here.as_dtype(Dtype::Uint32)?,
            Array::from_slice(&[flip], &[1]),
        )?;
        let flipped = sys::xor(&block.words, &mask)?;
        flipped.eval()?;
        self.blocks[index].words = flipped;
        Ok(())
    }

    fn release(&mut self) -> Result<(), BackendError> {
        self.blocks = Vec::new();
        sys::synchronize()?;
        memory::clear_cache()?;
        Ok(())
    }

    fn figures(&self) -> Result<MemoryFigures, BackendError> {
        Ok(MemoryFigures {
            active_bytes: memory::active_memory()? as u64,
            cache_bytes: memory::cache_memory()? as u64,
            peak_bytes: memory::peak_memory()? as u64,
        })
    }

    fn device(&self) -> Result<DeviceInfo, BackendError> {
        sys::default_device()
    }
}
