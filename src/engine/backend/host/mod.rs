//! Anonymous memory of the host, written and checked by all cores.

mod kernels;
mod pattern;

use std::num::NonZero;
use std::thread;

use memmap2::MmapMut;

pub(super) use self::kernels::HostKernels;
use self::pattern::{CELL_BYTES, Differences};
use super::{BackendError, DeviceInfo, Memory, MemoryFigures, Verified};

/// Blocks of anonymous memory.
pub(super) struct HostMemory {
    blocks: Vec<Block>,
    peak_bytes: u64,
    threads: usize,
}

struct Block {
    memory: MmapMut,
    seed: u64,
}

impl HostMemory {
    pub(super) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            peak_bytes: 0,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
        }
    }

    fn block(&mut self, index: usize) -> Result<&mut Block, BackendError> {
        let held = self.blocks.len();
        self.blocks
            .get_mut(index)
            .ok_or(BackendError::NoSuchBlock { index, held })
    }

    fn active_bytes(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| block.memory.len() as u64)
            .sum()
    }
}

impl Memory for HostMemory {
    fn hold(&mut self, bytes: u64, seed: u64) -> Result<(), BackendError> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(BackendError::BlockSize {
                bytes,
                accepted: "at least one byte",
            });
        }
        let mut memory = MmapMut::map_anon(length).map_err(|error| BackendError::Allocation {
            bytes,
            reason: error.to_string(),
        })?;
        #[cfg(target_os = "linux")]
        {
            // Huge pages make the first touch several times faster. A kernel without them changes nothing.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        fill(&mut memory, seed, self.threads);
        self.blocks.push(Block { memory, seed });
        self.peak_bytes = self.peak_bytes.max(self.active_bytes());
        Ok(())
    }

    fn verify(&mut self, index: usize) -> Result<Verified, BackendError> {
        let threads = self.threads;
        let block = self.block(index)?;
        let found = compare(&block.memory, block.seed, threads);
        Ok(Verified {
            bytes: block.memory.len() as u64,
            mismatches: found.count,
            first_mismatch: found.first,
        })
    }

    fn flip_bit(&mut self, index: usize, byte: u64, bit: u8) -> Result<(), BackendError> {
        let block = self.block(index)?;
        let place = usize::try_from(byte)
            .ok()
            .and_then(|at| block.memory.get_mut(at));
        match place {
            Some(place) => {
                *place ^= 1 << (bit % 8);
                Ok(())
            }
            None => Err(BackendError::BlockSize {
                bytes: byte,
                accepted: "a byte inside the block",
            }),
        }
    }

    fn release(&mut self) -> Result<(), BackendError> {
        self.blocks = Vec::new();
        Ok(())
    }

    fn figures(&self) -> Result<MemoryFigures, BackendError> {
        Ok(MemoryFigures {
            active_bytes: self.active_bytes(),
            cache_bytes: 0,
            peak_bytes: self.peak_bytes,
        })
    }

    fn device(&self) -> Result<DeviceInfo, BackendError> {
        Ok(DeviceInfo {
            name: format!(
                "host memory ({}-{})",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
            cores: Some(self.threads as u64),
            ..DeviceInfo::default()
        })
    }
}

/// Cells in each thread's share of a block, the last share taking what is left.
fn share_bytes(length: usize, threads: usize) -> usize {
    length.div_ceil(threads).next_multiple_of(CELL_BYTES)
}

/// Writes the pattern of `seed` over `memory`.
fn fill(memory: &mut [u8], seed: u64, threads: usize) {
    let share = share_bytes(memory.len(), threads);
    thread::scope(|scope| {
        for (number, part) in memory.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                let first_cell = (number * share / CELL_BYTES) as u64;
                for (cell, memory) in (first_cell..).zip(part.chunks_mut(CELL_BYTES)) {
                    pattern::fill(memory, seed, cell);
                }
            });
        }
    });
}

/// Compares `memory` with the pattern of `seed`.
fn compare(memory: &[u8], seed: u64, threads: usize) -> Differences {
    let share = share_bytes(memory.len(), threads);
    let mut parts = vec![Differences::default(); memory.len().div_ceil(share)];
    thread::scope(|scope| {
        for ((number, part), found) in memory.chunks(share).enumerate().zip(&mut parts) {
            scope.spawn(move || {
                let first_cell = (number * share / CELL_BYTES) as u64;
                for (cell, memory) in (first_cell..).zip(part.chunks(CELL_BYTES)) {
                    let here = pattern::compare(memory, seed, cell);
                    found.count += here.count;
                    let offset = cell * CELL_BYTES as u64;
                    found.first = found.first.or(here.first.map(|at| offset + at));
                }
            });
        }
    });
    Differences {
        count: parts.iter().map(|part| part.count).sum(),
        first: parts.iter().find_map(|part| part.first),
    }
}
