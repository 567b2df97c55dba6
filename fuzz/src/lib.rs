//! What the fuzz targets share: a bound on the memory that a reader takes.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Runs `read` and panics if, at any moment, it holds more than four times its input and `fixed_bytes`.
pub fn within_four_times<T>(input: &[u8], fixed_bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = read();
    let taken_bytes = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(
        taken_bytes <= 4 * input.len() + fixed_bytes,
        "{taken_bytes} bytes of memory for {} bytes of input",
        input.len()
    );
    result
}

/// Error messages, and what of a reader does not depend on its input.
pub const FIXED_BYTES: usize = 16 << 10;
