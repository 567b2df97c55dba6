//! Byte counts as people write and read them: `48GB`, `40GiB`, `4096`; `17.0 GiB`.
//!
//! Sizes of memory follow the machine's makers: `48GB` of RAM is 48 × 2³⁰ bytes on a Mac, so GB and GiB
//! both mean 2³⁰ where a size is typed. What the program prints is always GiB, or bytes.

use thiserror::Error;

/// Bytes in one KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in one MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in one GiB.
pub const GIB: u64 = 1 << 30;

/// A size that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a number with a known unit.
    #[error(
        "'{given}' is not a size: give a whole number of bytes or a number with KB, MB, GB or TB (KiB, MiB, GiB, TiB), such as 48GB"
    )]
    Form {
        /// What was typed.
        given: String,
    },
    /// A number that does not fit, or none at all.
    #[error("'{given}' is out of range: a size is at least 1 byte and below 8 EiB")]
    Range {
        /// What was typed.
        given: String,
    },
}

/// Reads a size: digits, an optional decimal fraction, an optional unit. Result in bytes, at least 1.
///
/// # Errors
/// [`SizeError`] quotes what was typed and says what is accepted.
pub fn parse_size(given: &str) -> Result<u64, SizeError> {
    let form = || SizeError::Form {
        given: given.to_owned(),
    };
    let range = || SizeError::Range {
        given: given.to_owned(),
    };
    let text = given.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => GIB * 1024,
        _ => return Err(form()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty()
        || fraction.contains('.')
        || (number.contains('.') && fraction.is_empty())
        || fraction.len() > 9
    {
        return Err(form());
    }
    let whole: u64 = whole.parse().map_err(|_| range())?;
    let mut bytes = whole.checked_mul(scale).ok_or_else(range)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| form())?;
        let ten = 10u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
        let part = u128::from(digits) * u128::from(scale) / u128::from(ten);
        bytes = u64::try_from(part)
            .ok()
            .and_then(|p| bytes.checked_add(p))
            .ok_or_else(range)?;
    }
    if bytes == 0 || bytes > i64::MAX as u64 {
        return Err(range());
    }
    Ok(bytes)
}

/// Reads a length of time: a whole number with s, m or h; without a unit, seconds. At most 30 days.
///
/// # Errors
/// Says what is accepted.
pub fn parse_seconds(given: &str) -> Result<u64, String> {
    let text = given.trim();
    let (number, scale) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(scale));
    seconds.filter(|&s| s <= 30 * 24 * 3600).ok_or_else(|| format!("'{given}' is no length of time: a whole number with s, m or h is expected, such as 30s or 10m, up to 720h"))
}

/// Bytes as GiB with one decimal: `17.0 GiB`; small ones as MiB: `512 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    // What would round to 1024 MiB is a GiB.
    if bytes > GIB - MIB {
        format!("{} GiB", gib(bytes))
    } else {
        format!("{} MiB", bytes.div_ceil(MIB))
    }
}

/// Bytes as a bare number of GiB with one decimal.
#[must_use]
pub fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / GIB as f64)
}

/// A whole number with thousands separated by commas: `32,528,943,616`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("48GB"), Ok(48 * GIB));
        assert_eq!(parse_size("40 GiB"), Ok(40 * GIB));
        assert_eq!(parse_size("1.5g"), Ok(GIB * 3 / 2));
        assert_eq!(parse_size("0.5tb"), Ok(512 * GIB));
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_text() {
        for bad in [
            "",
            "GB",
            "48XB",
            "-1",
            "1..2",
            "1.",
            "1e30",
            "0",
            "0GB",
            "99999999999999999999",
            "9999999TB",
        ] {
            let error = parse_size(bad).expect_err(bad).to_string();
            assert!(error.contains(&format!("'{bad}'")), "{error}");
        }
    }

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(parse_seconds("90"), Ok(90));
        assert_eq!(parse_seconds("10m"), Ok(600));
        assert_eq!(parse_seconds("2h"), Ok(7200));
        for bad in ["", "m", "-1s", "1d", "99999999999999999999h", "1.5m", "ä"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_shown() {
        assert_eq!(human(18_298_688_512), "17.0 GiB");
        assert_eq!(human(1), "1 MiB");
        assert_eq!(grouped(32_528_943_616), "32,528,943,616");
        assert_eq!(grouped(7), "7");
    }
}
