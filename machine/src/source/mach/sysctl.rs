//! The sysctls of memory: which there are, and where each goes in a sample.
//!
//! One table serves the kernel's binary answers and the text that `sysctl` prints, which people append to a `vm_stat`
//! dump. A name that a release lacks leaves its field absent.

use super::calls::HostCalls;
use crate::sample::{Place, PressureLevel, Sample};

/// The sysctls that are a whole number in a sample's own unit.
const NUMBERS: &[(&str, Place)] = &[
    ("hw.memsize", |s| &mut s.memory.total_bytes),
    ("vm.compressor_input_bytes", |s| {
        &mut s.compressor.input_bytes
    }),
    ("vm.compressor_compressed_bytes", |s| {
        &mut s.compressor.compressed_bytes
    }),
    ("vm.compressor_bytes_used", |s| &mut s.compressor.used_bytes),
    ("vm.compressor_segment_pages_compressed", |s| {
        &mut s.compressor.segment_pages
    }),
    ("vm.compressor_segment_pages_compressed_limit", |s| {
        &mut s.compressor.segment_pages_limit
    }),
    ("vm.compressor_swapouts_under_30s", |s| {
        &mut s.compressor.swapouts_under_30s
    }),
    ("vm.compressor_swapouts_under_60s", |s| {
        &mut s.compressor.swapouts_under_60s
    }),
    ("vm.compressor_swapouts_under_300s", |s| {
        &mut s.compressor.swapouts_under_300s
    }),
    ("vm.compressor_swapper_swapout_thrashing_detected", |s| {
        &mut s.compressor.swapout_thrashing
    }),
    ("vm.global_user_wire_limit", |s| {
        &mut s.limits.global_user_wire_bytes
    }),
    ("vm.user_wire_limit", |s| &mut s.limits.user_wire_bytes),
    ("iogpu.rsrc_limit", |s| &mut s.limits.gpu_resources),
];

/// The sysctls that are a number in another unit.
const PRESSURE_LEVEL: &str = "kern.memorystatus_vm_pressure_level";
const FREE_PERCENT: &str = "kern.memorystatus_level";
const GPU_WIRED_LIMIT_MEBIBYTES: &str = "iogpu.wired_limit_mb";
const CONVERTED: &[&str] = &[PRESSURE_LEVEL, FREE_PERCENT, GPU_WIRED_LIMIT_MEBIBYTES];

/// The one sysctl that is a structure: `struct xsw_usage { u64 total, available, used; u32 page_size; bool encrypted }`.
pub(crate) const SWAP_USAGE: &str = "vm.swapusage";

/// Asks the kernel for all of them.
pub(crate) fn describe(host: &mut (impl HostCalls + ?Sized), sample: &mut Sample) {
    for name in NUMBERS.iter().map(|(name, _)| name).chain(CONVERTED) {
        if let Some(value) = number(host, name) {
            put(name, value, sample);
        }
    }
    let mut usage = [0; 64];
    if host
        .sysctl(SWAP_USAGE, &mut usage)
        .is_some_and(|written| written >= 24)
    {
        sample.swap.total_bytes = word(&usage, 0);
        sample.swap.used_bytes = word(&usage, 16);
    }
}

/// Whether [`put`] knows `name`.
pub(crate) fn is_number(name: &str) -> bool {
    CONVERTED.contains(&name) || NUMBERS.iter().any(|(known, _)| *known == name)
}

/// Puts the value of one sysctl into a sample; a name that is not one of memory's changes nothing.
pub(crate) fn put(name: &str, value: u64, sample: &mut Sample) {
    match name {
        PRESSURE_LEVEL => sample.pressure.level = PressureLevel::from_code(value),
        FREE_PERCENT => sample.pressure.free_ratio = Some(value as f64 / 100.0),
        GPU_WIRED_LIMIT_MEBIBYTES => sample.limits.gpu_wired_bytes = value.checked_mul(1 << 20),
        _ => {
            if let Some((_, place)) = NUMBERS.iter().find(|(known, _)| *known == name) {
                *place(sample) = Some(value);
            }
        }
    }
}

/// A sysctl that is a 32- or 64-bit number; `None` when this release lacks it or answers in another width.
pub(crate) fn number(host: &mut (impl HostCalls + ?Sized), name: &str) -> Option<u64> {
    let mut buffer = [0; 8];
    match host.sysctl(name, &mut buffer)? {
        // A limit of -1 ("none") must not become four billion.
        4 => u64::try_from(i32::from_ne_bytes([
            buffer[0], buffer[1], buffer[2], buffer[3],
        ]))
        .ok(),
        8 => Some(u64::from_ne_bytes(buffer)),
        _ => None,
    }
}

/// A sysctl that is text, without its final NUL.
pub(crate) fn text(host: &mut (impl HostCalls + ?Sized), name: &str) -> Option<String> {
    let mut buffer = [0; 256];
    let written = host.sysctl(name, &mut buffer)?;
    let text = std::str::from_utf8(buffer.get(..written)?)
        .ok()?
        .trim_end_matches('\0')
        .trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..offset + 8)?
        .try_into()
        .ok()
        .map(u64::from_ne_bytes)
}
