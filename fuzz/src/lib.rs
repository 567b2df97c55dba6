//! What the fuzz targets share: bounds on the memory and the time that a reader takes.

use std::time::Duration;

use cpu_time::ThreadTime;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Longer than this is a hang. Processor time, so that a busy machine makes none.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Runs `read` and panics if it takes over a second, or at any moment holds more than four times its input and
/// `fixed_bytes`.
pub fn within_bounds<T>(input: &[u8], fixed_bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let start = ThreadTime::now();
    let result = read();
    let taken = start.elapsed();
    let taken_bytes = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(
        taken_bytes <= 4 * input.len() + fixed_bytes,
        "{taken_bytes} bytes of memory for {} bytes of input",
        input.len()
    );
    assert!(taken <= TIME_MAX, "{taken:?} for {} bytes of input", input.len());
    result
}

/// Error messages, and what of a reader does not depend on its input.
pub const FIXED_BYTES: usize = 16 << 10;
