//! Pressure stall information: `/proc/pressure/memory` (Documentation/accounting/psi.rst).

use std::path::Path;

use super::files::{Line, lines, read_if_told};
use crate::sample::{Stall, StallTime};
use crate::source::SourceError;

/// `None` where the kernel was built or started without it.
pub(super) fn read(path: &Path) -> Result<Option<Stall>, SourceError> {
    let Some(text) = read_if_told(path)? else {
        return Ok(None);
    };
    let (mut some, mut full) = (None, None);
    for (line, row) in lines(path, &text) {
        match row.split_once(' ') {
            Some(("some", rest)) => some = Some(times(rest, &line)?),
            Some(("full", rest)) => full = Some(times(rest, &line)?),
            _ => return Err(line.malformed("line", row, "\"some …\" or \"full …\"")),
        }
    }
    Ok(some.zip(full).map(|(some, full)| Stall { some, full }))
}

/// `avg10=0.00 avg60=0.00 avg300=0.00 total=0`: percentages and microseconds.
fn times(text: &str, line: &Line) -> Result<StallTime, SourceError> {
    let ratio = |key: &str| {
        let value = value(text, key, line)?;
        value
            .parse::<f64>()
            .ok()
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| percent / 100.0)
            .ok_or_else(|| line.malformed(key, value, "a percentage from 0 to 100"))
    };
    Ok(StallTime {
        ratio_10s: ratio("avg10")?,
        ratio_60s: ratio("avg60")?,
        ratio_300s: ratio("avg300")?,
        total_microseconds: line.whole_number("total", value(text, "total", line)?)?,
    })
}

fn value<'text>(text: &'text str, key: &str, line: &Line) -> Result<&'text str, SourceError> {
    text.split(' ')
        .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        .ok_or_else(|| line.malformed(key, text, "avg10=N avg60=N avg300=N total=N"))
}
