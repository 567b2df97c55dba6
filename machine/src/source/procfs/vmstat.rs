//! `/proc/vmstat`: event counters since boot.

use std::path::Path;

use super::files::{lines, read_if_told};
use crate::sample::{Place, Sample};
use crate::source::SourceError;

/// The counters that mean what a sample's field says. `pgpgin` and `pgpgout` are kibibytes of block input and output,
/// not page-ins and page-outs.
const FIELDS: &[(&str, Place)] = &[
    ("pgfault", |s| &mut s.counters.faults),
    ("pgmajfault", |s| &mut s.counters.major_faults),
    ("pswpin", |s| &mut s.counters.swapins),
    ("pswpout", |s| &mut s.counters.swapouts),
    ("pgpgin", |s| &mut s.counters.block_in_kibibytes),
    ("pgpgout", |s| &mut s.counters.block_out_kibibytes),
    ("oom_kill", |s| &mut s.counters.oom_kills),
];

pub(super) fn describe(path: &Path, sample: &mut Sample) -> Result<(), SourceError> {
    let Some(text) = read_if_told(path)? else {
        return Ok(());
    };
    for (line, row) in lines(path, &text) {
        let Some((name, value)) = row.split_once(' ') else {
            return Err(line.malformed("line", row, "\"name number\""));
        };
        if let Some((_, place)) = FIELDS.iter().find(|(known, _)| *known == name) {
            *place(sample) = Some(line.whole_number(name, value.trim())?);
        }
    }
    Ok(())
}
