//! The text that `vm_stat` prints on a Mac, of any release and page size.
//!
//! `vm_stat` does not tell how much memory the machine has, nor swap and pressure. Lines that `sysctl` prints may
//! therefore stand before or after the dump, as from
//!
//! ```sh
//! vm_stat; sysctl hw.memsize vm.swapusage kern.memorystatus_vm_pressure_level iogpu.wired_limit_mb
//! ```
//!
//! Lines of counters that this version does not know are skipped when they have a counter's form, so that a newer macOS
//! can be read; anything else is an error that names the line.

use std::io::Read;
use std::time::SystemTime;

use super::mach::sysctl;
use super::{Source, SourceError};
use crate::sample::{Place, Sample, unix_seconds};

/// The most bytes of text that are read. A dump has about two thousand.
const TEXT_BYTES_MAX: u64 = 1 << 20;
const HEADER: &str = "Mach Virtual Memory Statistics:";

/// A dump as a source: gives the same sample at every reading, taken when the text was read.
pub struct VmStatText {
    sample: Sample,
}

impl VmStatText {
    /// Reads the text from `input`; `origin` names it in errors (a file, or `standard input`).
    ///
    /// # Errors
    /// When `input` cannot be read, is longer than 1 MiB, or is not a `vm_stat` dump.
    pub fn new(mut input: impl Read, origin: &str) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Io {
            path: origin.into(),
            error,
        };
        let mut bytes = Vec::new();
        input
            .by_ref()
            .take(TEXT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > TEXT_BYTES_MAX {
            return Err(SourceError::TooLong {
                origin: origin.to_owned(),
                limit_bytes: TEXT_BYTES_MAX,
            });
        }
        let mut sample = parse(&String::from_utf8_lossy(&bytes), origin)?;
        sample.taken_at_unix_seconds = unix_seconds(SystemTime::now());
        Ok(Self { sample })
    }
}

impl Source for VmStatText {
    fn read(&mut self) -> Result<Sample, SourceError> {
        Ok(self.sample.clone())
    }
}

/// Reads a dump. The sample's time is left at 0: the text has none.
///
/// # Errors
/// [`SourceError::Malformed`] with the line, [`SourceError::Missing`] when there is no header or no counter.
pub fn parse(text: &str, origin: &str) -> Result<Sample, SourceError> {
    let mut sample = Sample::default();
    let mut page_size_bytes = None;
    let mut known = vec![false; FIELDS.len()];
    for (index, line) in text.lines().enumerate() {
        let line = Line {
            origin,
            number: index + 1,
            text: line.trim(),
        };
        if line.text.is_empty() {
            continue;
        }
        if let Some(rest) = line.text.strip_prefix(HEADER) {
            if page_size_bytes.is_some() {
                return Err(line.malformed(
                    "header",
                    line.text,
                    "one dump only; run vm_stat without an interval",
                ));
            }
            page_size_bytes = Some(page_size(rest, &line)?);
            continue;
        }
        if read_sysctl(&line, &mut sample)? {
            continue;
        }
        let Some((name, value)) = line
            .text
            .rsplit_once(':')
            .map(|(name, value)| (name.trim(), value.trim()))
        else {
            return Err(line.malformed("line", line.text, "\"name: number.\", as vm_stat prints"));
        };
        // The object cache's line of old releases: "Object cache: 12 hits of 33 lookups (36% hit rate)".
        if name == "Object cache" {
            continue;
        }
        let Some(page_size_bytes) = page_size_bytes else {
            return Err(line.malformed(
                "line",
                line.text,
                "the header \"Mach Virtual Memory Statistics: (page size of N bytes)\" first",
            ));
        };
        let name = name.trim_matches('"');
        let is_cut = !text.ends_with('\n') && text.ends_with(line.text) && !value.ends_with('.');
        if is_cut {
            return Err(line.malformed(
                name,
                value,
                "a number ended by a full stop; the text seems cut off",
            ));
        }
        let number = whole_number(value.strip_suffix('.').unwrap_or(value), name, &line)?;
        let Some(place) = FIELDS.iter().position(|field| field.name == name) else {
            continue;
        };
        if std::mem::replace(&mut known[place], true) {
            return Err(line.malformed(name, value, "each counter once"));
        }
        let unit = match FIELDS[place].unit {
            Unit::Pages => page_size_bytes,
            Unit::Plain => 1,
        };
        let scaled = number
            .checked_mul(unit)
            .ok_or_else(|| line.malformed(name, value, "fewer than 2^64 bytes"))?;
        *(FIELDS[place].place)(&mut sample) = Some(scaled);
    }
    let missing = |field, expected| SourceError::Missing {
        origin: origin.to_owned(),
        field,
        expected,
    };
    sample.page_size_bytes =
        Some(page_size_bytes.ok_or_else(|| missing("the header", "the text that vm_stat prints"))?);
    if !known.contains(&true) {
        return Err(missing(
            "every counter",
            "the whole text that vm_stat prints",
        ));
    }
    Ok(sample)
}

/// One line and where it stands.
struct Line<'text> {
    origin: &'text str,
    number: usize,
    text: &'text str,
}

impl Line<'_> {
    fn malformed(&self, field: &str, found: &str, expected: &'static str) -> SourceError {
        SourceError::malformed(self.origin, self.number, field, found, expected)
    }
}

/// ` (page size of 16384 bytes)` → 16384.
fn page_size(rest: &str, line: &Line) -> Result<u64, SourceError> {
    let expected = "(page size of N bytes), N a power of two from 1024 to 1048576";
    let number = rest
        .trim()
        .strip_prefix("(page size of ")
        .and_then(|rest| rest.strip_suffix(" bytes)"));
    number
        .and_then(|number| number.parse::<u64>().ok())
        .filter(|size| size.is_power_of_two() && (1024..=1 << 20).contains(size))
        .ok_or_else(|| line.malformed("page size", rest.trim(), expected))
}

fn whole_number(text: &str, field: &str, line: &Line) -> Result<u64, SourceError> {
    text.parse()
        .map_err(|_| line.malformed(field, text, "a whole number from 0 to 2^64 - 1"))
}

/// Reads a line of `sysctl`; false when it is none.
fn read_sysctl(line: &Line, sample: &mut Sample) -> Result<bool, SourceError> {
    // `sysctl` separates by ": " and `sysctl -e` by "=".
    let Some((name, value)) = line
        .text
        .split_once([':', '='])
        .map(|(name, value)| (name.trim(), value.trim()))
    else {
        return Ok(false);
    };
    if name == sysctl::SWAP_USAGE {
        let expected = "total = 2048.00M  used = 554.62M  free = 1493.38M";
        let part = |key| swap_part(value, key).ok_or_else(|| line.malformed(name, value, expected));
        sample.swap.total_bytes = Some(part("total")?);
        sample.swap.used_bytes = Some(part("used")?);
        return Ok(true);
    }
    if !sysctl::is_number(name) {
        return Ok(false);
    }
    sysctl::put(name, whole_number(value, name, line)?, sample);
    Ok(true)
}

/// `total = 2048.00M  used = …`: the bytes after `key =`. The kernel's tool prints mebibytes with two decimals.
fn swap_part(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    let number = rest
        .trim_start()
        .strip_prefix('=')?
        .split_whitespace()
        .next()?
        .strip_suffix('M')?;
    let mebibytes: f64 = number.parse().ok()?;
    (0.0..1e9)
        .contains(&mebibytes)
        .then(|| (mebibytes * 1_048_576.0).round() as u64)
}

#[derive(Clone, Copy)]
enum Unit {
    Pages,
    Plain,
}

/// One counter of `vm_stat`: its name, its unit, and its place in a sample.
struct Field {
    name: &'static str,
    unit: Unit,
    place: Place,
}

const fn pages(name: &'static str, place: Place) -> Field {
    Field {
        name,
        unit: Unit::Pages,
        place,
    }
}

const fn plain(name: &'static str, place: Place) -> Field {
    Field {
        name,
        unit: Unit::Plain,
        place,
    }
}

/// The lines of system_cmds' `vm_stat.c` that have a place in a sample; those about tags came with macOS 26.
const FIELDS: &[Field] = &[
    pages("Pages free", |s| &mut s.memory.free_bytes),
    pages("Pages active", |s| &mut s.memory.active_bytes),
    pages("Pages inactive", |s| &mut s.memory.inactive_bytes),
    pages("Pages speculative", |s| &mut s.memory.speculative_bytes),
    pages("Pages throttled", |s| &mut s.memory.throttled_bytes),
    pages("Pages wired down", |s| &mut s.memory.wired_bytes),
    pages("Pages purgeable", |s| &mut s.memory.purgeable_bytes),
    pages("File-backed pages", |s| &mut s.memory.file_backed_bytes),
    pages("Anonymous pages", |s| &mut s.memory.anonymous_bytes),
    pages("Pages stored in compressor", |s| {
        &mut s.compressor.stored_bytes
    }),
    pages("Pages occupied by compressor", |s| {
        &mut s.compressor.occupied_bytes
    }),
    plain("Translation faults", |s| &mut s.counters.faults),
    plain("Pages copy-on-write", |s| &mut s.counters.cow_faults),
    plain("Pages zero filled", |s| &mut s.counters.zero_fills),
    plain("Pages reactivated", |s| &mut s.counters.reactivations),
    plain("Pages purged", |s| &mut s.counters.purges),
    plain("Decompressions", |s| &mut s.counters.decompressions),
    plain("Compressions", |s| &mut s.counters.compressions),
    plain("Pageins", |s| &mut s.counters.pageins),
    plain("Pageouts", |s| &mut s.counters.pageouts),
    plain("Swapins", |s| &mut s.counters.swapins),
    plain("Swapouts", |s| &mut s.counters.swapouts),
    pages("Pages tagged", |s| &mut s.tag_storage.tagged_bytes),
    pages("Pages tagged resident", |s| {
        &mut s.tag_storage.tagged_resident_bytes
    }),
    pages("Pages tagged compressed", |s| {
        &mut s.tag_storage.tagged_compressed_bytes
    }),
    pages("Pages tag-storage", |s| &mut s.tag_storage.total_bytes),
    pages("Pages tag-storage holding tags", |s| {
        &mut s.tag_storage.holding_tags_bytes
    }),
    pages("Pages tag-storage free", |s| &mut s.tag_storage.free_bytes),
    pages("Pages tag-storage non-tag pageable", |s| {
        &mut s.tag_storage.nontag_pageable_bytes
    }),
    pages("Pages tag-storage non-tag wired", |s| {
        &mut s.tag_storage.nontag_wired_bytes
    }),
    plain("Bytes of compressed tags", |s| {
        &mut s.tag_storage.compressed_tags_bytes
    }),
    plain("Tagged compressions", |s| {
        &mut s.counters.tagged_compressions
    }),
    plain("Tagged decompressions", |s| {
        &mut s.counters.tagged_decompressions
    }),
];

#[cfg(test)]
mod tests;
