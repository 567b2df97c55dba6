//! Reservations on the disk: written whole, synced and renamed before one is promised, and read back after a crash.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::book::{Book, Reservation, Wish};
use super::clock::Moment;
use super::holder::Holder;
use crate::engine::state::{Lock, StateDir, StateError};

const FILE: &str = "reservations.json";
const LOCK: &str = "reservations.lock";
/// What a file that cannot be read is renamed to. One is kept.
const ASIDE: &str = "reservations.json.unreadable";
const SCHEMA: &str = "shvd.reservations-state/v1";
/// The most that is read. A reservation has some three hundred bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most that are taken from a file.
const COUNT_MAX: usize = 4096;
/// The longest time one may have left.
const TTL_SECONDS_MAX: f64 = 30.0 * 24.0 * 3600.0;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: String,
    /// How many were ever granted.
    serial: u64,
    written_unix_seconds: f64,
    reservations: Vec<KeptOne>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptOne {
    id: String,
    model: String,
    bytes: u64,
    holder: Option<Holder>,
    seen: bool,
    created_unix_seconds: f64,
    /// When this was written.
    left_seconds: f64,
}

/// Why earlier reservations are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLoaded {
    /// The file makes no sense, and was renamed.
    #[error("{} cannot be read, and now is {}: {why}", path.display(), aside.display())]
    SetAside {
        path: PathBuf,
        aside: PathBuf,
        why: String,
    },
    /// It could not be had at all.
    #[error("{0}")]
    State(String),
}

impl NotLoaded {
    pub(super) fn is_set_aside(&self) -> bool {
        matches!(self, Self::SetAside { .. })
    }
}

/// Keeps the book on the disk.
pub(super) struct Keeper {
    directory: Option<PathBuf>,
    /// Once it was needed; the lock keeps another daemon from promising the same memory.
    open: Option<(StateDir, Lock)>,
}

impl Keeper {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            open: None,
        }
    }

    /// The book that was kept, as it is at `now`; none where there is none.
    pub(super) fn load(&mut self, now: Moment) -> Result<Option<Book>, NotLoaded> {
        let place = StateDir::place(self.directory.as_deref());
        let Some(path) = place.map(|place| place.join(FILE)) else {
            return Ok(None);
        };
        if !path.exists() {
            return Ok(None);
        }
        let directory = self
            .opened()
            .map_err(|error| NotLoaded::State(error.to_string()))?;
        let aside = directory.file(ASIDE);
        match read(&path).and_then(|kept| kept.book(now)) {
            Ok(book) => Ok(Some(book)),
            Err(why) => {
                let moved = std::fs::rename(&path, &aside);
                moved.map_err(|error| {
                    NotLoaded::State(format!(
                        "{}: {why}; it could not be set aside: {error}",
                        path.display()
                    ))
                })?;
                Err(NotLoaded::SetAside { path, aside, why })
            }
        }
    }

    /// Writes `book`: on the disk when this returns.
    pub(super) fn save(&mut self, book: &Book, now: Moment) -> Result<(), String> {
        let kept = Kept::of(book, now);
        let directory = self.opened().map_err(|error| match error {
            StateError::Busy { path, .. } => format!(
                "another daemon keeps those of this machine (lock: {})",
                path.display()
            ),
            error => error.to_string(),
        })?;
        directory
            .write_json(FILE, &kept)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn opened(&mut self) -> Result<&StateDir, StateError> {
        if self.open.is_none() {
            let directory = StateDir::open(self.directory.as_deref())?;
            let lock = directory.lock(LOCK)?;
            self.open = Some((directory, lock));
        }
        match &self.open {
            Some((directory, _)) => Ok(directory),
            None => Err(StateError::NoPlace),
        }
    }
}

fn read(path: &Path) -> Result<Kept, String> {
    use std::io::Read as _;

    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

impl Kept {
    fn of(book: &Book, now: Moment) -> Self {
        let reservations = book.living().iter().map(|one| KeptOne {
            id: one.id.clone(),
            model: one.model.clone(),
            bytes: one.bytes,
            holder: one.holder,
            seen: one.seen,
            created_unix_seconds: one.created_unix_seconds,
            left_seconds: one.ends.saturating_sub(now.running).as_secs_f64(),
        });
        Self {
            schema: SCHEMA.to_owned(),
            serial: book.serial,
            written_unix_seconds: now.unix_seconds,
            reservations: reservations.collect(),
        }
    }

    /// The book as it is at `now`. While nobody ran, time went by as the calendar says; where that went back, none did:
    /// a reservation never has more left than when it was written.
    fn book(self, now: Moment) -> Result<Book, String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema is '{}', and '{SCHEMA}' is expected",
                self.schema
            ));
        }
        let count = self.reservations.len();
        if count > COUNT_MAX {
            return Err(format!(
                "it has {count} reservations, more than {COUNT_MAX}"
            ));
        }
        let asleep = (now.unix_seconds - self.written_unix_seconds).max(0.0);
        let mut living = Vec::with_capacity(count);
        for one in self.reservations {
            let id_is_good = !one.id.is_empty()
                && one
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !id_is_good || !(0.0..=TTL_SECONDS_MAX).contains(&one.left_seconds) {
                return Err(format!(
                    "reservation '{}' with {} s left is none",
                    one.id.escape_default(),
                    one.left_seconds
                ));
            }
            let left = Duration::try_from_secs_f64(one.left_seconds - asleep).unwrap_or_default();
            if left.is_zero() {
                continue;
            }
            let wish = Wish {
                model: one.model,
                bytes: one.bytes,
                ttl: left,
                pid: None,
            };
            // Its id may be another's by now; then the promise stands until its time is up.
            let holder = one.holder.filter(Holder::is_the_same);
            let mut restored =
                Reservation::new(one.id, wish, holder, one.created_unix_seconds, now);
            restored.seen = one.seen && holder.is_some();
            living.push(restored);
        }
        Ok(Book::restored(living, self.serial))
    }
}
