//! The host backend beside the machine's own memory, in one run: filling beside memset, verifying beside reading, all
//! cores, fresh memory of the same size each time.
//!
//! `cargo bench -p shvd --bench host_memory` prints both medians and the median of the rounds' ratios, and fails below 80 %.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use memmap2::MmapMut;
use shvd::engine::backend::{BackendKind, memory};

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 9;
const SHARE_MIN: f64 = 0.8;

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    BYTES as f64 / start.elapsed().as_secs_f64()
}

fn fresh() -> MmapMut {
    let memory = MmapMut::map_anon(BYTES).unwrap();
    #[cfg(target_os = "linux")]
    memory.advise(memmap2::Advice::HugePage).unwrap();
    memory
}

fn set(memory: &mut [u8], threads: usize) {
    let share = memory.len().div_ceil(threads);
    thread::scope(|scope| {
        for part in memory.chunks_mut(share) {
            scope.spawn(|| part.fill(0xA5));
        }
    });
    black_box(memory);
}

fn read(memory: &[u8], threads: usize) {
    let share = memory.len().div_ceil(threads).next_multiple_of(64);
    thread::scope(|scope| {
        for part in memory.chunks(share) {
            scope.spawn(|| {
                let mut sums = [0_u64; 8];
                for line in part.as_chunks::<64>().0 {
                    for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                        *sum ^= u64::from_le_bytes(*word);
                    }
                }
                black_box(sums)
            });
        }
    });
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let threads = thread::available_parallelism().unwrap().get();
    let (mut sets, mut fills, mut reads, mut verifies) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for seed in 0..ROUNDS {
        // Turn about, so that whatever else the machine does meets all four alike.
        let mut plain = fresh();
        sets.push(timed(|| set(&mut plain, threads)));
        reads.push(timed(|| read(&plain, threads)));
        drop(plain);
        let mut held = memory(BackendKind::Host).unwrap();
        fills.push(timed(|| held.hold(BYTES as u64, seed as u64).unwrap()));
        verifies.push(timed(|| assert_eq!(held.verify(0).unwrap().mismatches, 0)));
    }
    let mut good = true;
    for (name, own, peer_name, peer) in [
        ("fill", fills, "memset", sets),
        ("verify", verifies, "read", reads),
    ] {
        // Round by round: what disturbs one round disturbs both sides of it.
        let share = median(
            own.iter()
                .zip(&peer)
                .map(|(own, peer)| own / peer)
                .collect(),
        );
        let (own, peer) = (median(own), median(peer));
        good &= share >= SHARE_MIN;
        println!(
            "{name:<7}{:>7.2} GB/s   {peer_name:<7}{:>7.2} GB/s   {:>4.0} %   ({threads} threads, 1 GiB, median of {ROUNDS})",
            own / 1e9,
            peer / 1e9,
            share * 100.0
        );
    }
    assert!(
        good,
        "below {:.0} % of the machine's own bandwidth",
        SHARE_MIN * 100.0
    );
}
