//! Reading little-endian fields from the start of a file of which only some bytes are at hand.

use super::super::quote::quote;
use super::error::GgufError;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file goes on, the bytes at hand do not: this many from its start are needed.
    Need(u64),
    Refused(GgufError),
}

impl From<GgufError> for Stop {
    fn from(error: GgufError) -> Self {
        Self::Refused(error)
    }
}

/// What is being read, for errors: a part of the header, or of the key or tensor named.
#[derive(Debug, Clone, Copy)]
pub(super) struct What<'a> {
    pub(super) part: &'static str,
    pub(super) of: Option<&'a str>,
}

impl What<'_> {
    pub(super) fn describe(self) -> String {
        match self.of {
            Some(name) => format!("{} of {}", self.part, quote(name)),
            None => self.part.to_owned(),
        }
    }
}

pub(super) fn part(part: &'static str) -> What<'static> {
    What { part, of: None }
}

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file_bytes: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_bytes: u64) -> Self {
        Self {
            bytes,
            at: 0,
            file_bytes,
        }
    }

    /// Bytes from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// Bytes of the file that follow.
    pub(super) fn left(&self) -> u64 {
        self.file_bytes.saturating_sub(self.offset())
    }

    /// Bytes at hand that follow.
    pub(super) fn at_hand(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: u64, what: What<'_>) -> Result<&'a [u8], Stop> {
        if length > self.left() {
            let (offset, left) = (self.offset(), self.left());
            return Err(GgufError::Truncated {
                offset,
                what: what.describe(),
                wanted: length,
                left,
            }
            .into());
        }
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| Stop::Need(self.offset() + length))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: What<'_>) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: What<'_>) -> Result<u32, Stop> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: What<'_>) -> Result<u64, Stop> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things, each of which takes at least `bytes_min` bytes of what follows.
    pub(super) fn count(&mut self, things: &'static str, bytes_min: u64) -> Result<u64, Stop> {
        let offset = self.offset();
        let count = self.u64(part(things))?;
        self.check_count(offset, things, count, bytes_min)?;
        Ok(count)
    }

    pub(super) fn check_count(
        &self,
        offset: u64,
        things: &'static str,
        count: u64,
        bytes_min: u64,
    ) -> Result<(), GgufError> {
        let left = self.left();
        if count > left / bytes_min {
            return Err(GgufError::Count {
                offset,
                things,
                count,
                left,
                bytes_min,
            });
        }
        Ok(())
    }

    /// The bytes of a string: their number as u64, then the bytes.
    pub(super) fn string_bytes(&mut self, what: What<'_>) -> Result<&'a [u8], Stop> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    pub(super) fn string(&mut self, what: What<'_>) -> Result<&'a str, Stop> {
        let offset = self.offset();
        let bytes = self.string_bytes(what)?;
        std::str::from_utf8(bytes).map_err(|_| {
            GgufError::NotUtf8 {
                offset,
                what: what.describe(),
            }
            .into()
        })
    }

    /// A string that names something.
    pub(super) fn name(&mut self, what: What<'_>) -> Result<&'a str, Stop> {
        let offset = self.offset();
        let name = self.string(what)?;
        if name.is_empty() {
            return Err(GgufError::EmptyName {
                offset,
                what: what.describe(),
            }
            .into());
        }
        Ok(name)
    }
}
