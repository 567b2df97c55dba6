//! `/proc/meminfo` (man 5 proc_meminfo).

use std::path::Path;

use super::files::{lines, read};
use crate::sample::{Place, Sample};
use crate::source::SourceError;

/// The fields that have a place of their own in a sample.
const FIELDS: &[(&str, Place)] = &[
    ("MemTotal", |s| &mut s.memory.total_bytes),
    ("MemFree", |s| &mut s.memory.free_bytes),
    ("MemAvailable", |s| &mut s.memory.available_bytes),
    ("Buffers", |s| &mut s.memory.buffers_bytes),
    ("Cached", |s| &mut s.memory.cached_bytes),
    ("Active", |s| &mut s.memory.active_bytes),
    ("Inactive", |s| &mut s.memory.inactive_bytes),
    ("Unevictable", |s| &mut s.memory.unevictable_bytes),
    ("AnonPages", |s| &mut s.memory.anonymous_bytes),
    ("Shmem", |s| &mut s.memory.shared_bytes),
    ("SReclaimable", |s| &mut s.memory.slab_reclaimable_bytes),
    ("SUnreclaim", |s| &mut s.memory.slab_unreclaimable_bytes),
    ("SwapTotal", |s| &mut s.swap.total_bytes),
];

pub(super) fn describe(path: &Path, sample: &mut Sample) -> Result<(), SourceError> {
    let text = read(path)?;
    let (mut swap_free, mut active_file, mut inactive_file) = (None, None, None);
    for (line, row) in lines(path, &text) {
        let Some((name, value)) = row.split_once(':') else {
            return Err(line.malformed("line", row, "\"Name: number kB\""));
        };
        let place = match name {
            "SwapFree" => &mut swap_free,
            "Active(file)" => &mut active_file,
            "Inactive(file)" => &mut inactive_file,
            _ => match FIELDS.iter().find(|(known, _)| *known == name) {
                Some((_, place)) => place(sample),
                None => continue,
            },
        };
        *place = Some(line.kibibytes(name, value.trim())?);
    }
    sample.memory.file_backed_bytes = active_file
        .zip(inactive_file)
        .and_then(|(a, b)| a.checked_add(b));
    sample.swap.used_bytes = sample
        .swap
        .total_bytes
        .zip(swap_free)
        .map(|(total, free)| total.saturating_sub(free));
    if sample.memory.total_bytes.is_none() {
        return Err(SourceError::Missing {
            origin: path.display().to_string(),
            field: "MemTotal",
            expected: "a line \"MemTotal: number kB\"",
        });
    }
    Ok(())
}
