//! Reservations: memory that was promised to a launch and is not in use yet.
//!
//! One decision at a time: whoever decides holds the [`Desk`], and what it grants is on the disk before it is told.
//! A reservation counts until its time is up, it is released, or the process that took it has ended; meanwhile what
//! that process has grown by is taken off, since the readings of the machine show it already.

mod book;
mod clock;
mod file;
mod holder;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use shv_machine::footprints::{self, Footprint};
use tokio::sync::watch;

use book::Book;
pub use book::{Refusal, Reservation, Wish};
use clock::Clock;
pub use clock::Moment;
use file::Keeper;

use crate::sampler::Reading;

/// How far the two clocks may drift apart before the state is written anew, so that a restart reckons rightly.
const SKEW_SECONDS_MAX: f64 = 5.0;

/// A reservation as it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// Its name.
    pub id: String,
    /// The model it is for.
    pub model: String,
    /// What was reserved.
    pub bytes: u64,
    /// Of it, what is not in use yet.
    pub remaining_bytes: u64,
    /// The process that takes its place, while there is one.
    pub pid: Option<u32>,
    /// When it was granted, since 1970-01-01 UTC.
    pub created_unix_seconds: f64,
    /// When it ends, since 1970-01-01 UTC.
    pub expires_unix_seconds: f64,
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// What was asked for does not fit, or there are too many.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The process that is to take its place does not exist.
    #[error("pid: there is no process {0} on this machine")]
    NoProcess(u32),
    /// It could not be kept for after a restart, so it is not promised.
    #[error("reservations cannot be kept: {0}")]
    NotKept(String),
}

/// What has happened to reservations since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Granted.
    pub granted: u64,
    /// Refused: not enough memory, too many, or not to be kept.
    pub refused: u64,
    /// Ended by their time.
    pub expired: u64,
    /// Ended by request.
    pub released: u64,
    /// Ended with their process.
    pub process_ended: u64,
    /// Files of state that could not be read and were set aside.
    pub set_aside: u64,
}

/// All reservations, as they were last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Those that live, oldest first.
    pub reservations: Vec<View>,
    /// What is promised and not in use, what only just ended included.
    pub reserved_bytes: u64,
    /// What has happened.
    pub counts: Counts,
}

/// The reservations of this machine.
pub struct Reservations {
    inner: Mutex<Inner>,
    shown: watch::Sender<Arc<Shown>>,
    clock: Clock,
}

struct Inner {
    book: Book,
    keeper: Keeper,
    counts: Counts,
    saved_at: Moment,
}

impl Reservations {
    /// The reservations that are kept in `directory`, or in the platform's place for state without one. Nothing is
    /// created before the first reservation.
    #[must_use]
    pub fn open(directory: Option<PathBuf>) -> Self {
        Self::with_clock(directory, Clock::system())
    }

    fn with_clock(directory: Option<PathBuf>, clock: Clock) -> Self {
        let now = clock.now();
        let mut keeper = Keeper::new(directory);
        let mut counts = Counts::default();
        let book = match keeper.load(now) {
            Ok(book) => book.unwrap_or_default(),
            Err(why) => {
                tracing::error!("the reservations of before are not known: {why}");
                counts.set_aside += u64::from(why.is_set_aside());
                Book::default()
            }
        };
        if !book.living().is_empty() {
            tracing::info!(count = book.living().len(), "reservations of before hold");
        }
        let reservations = Self {
            inner: Mutex::new(Inner {
                book,
                keeper,
                counts,
                saved_at: now,
            }),
            shown: watch::Sender::default(),
            clock,
        };
        drop(reservations.desk());
        reservations
    }

    /// All of them as they were last; never waits for a decision that is being made.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.borrow().clone()
    }

    /// Waits for its turn to decide. May take as long as another's write to the disk.
    #[must_use]
    pub fn desk(&self) -> Desk<'_> {
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.expire(now);
        Desk {
            inner,
            of: self,
            now,
        }
    }

    /// Whether nothing is reserved, so that a reading changes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let shown = self.shown.borrow();
        shown.reservations.is_empty() && shown.reserved_bytes == 0
    }

    /// Takes a new reading into account, and what the processes hold that took reservations. May block.
    pub fn observe(&self, reading: &Reading) {
        self.observe_with(reading, footprints::of);
    }

    fn observe_with(&self, reading: &Reading, footprint: impl Fn(u32) -> Footprint) {
        let mut desk = self.desk();
        let now = desk.now;
        // The kernel's earlier answer, given again, says nothing of what has happened since.
        let fresh = reading
            .outcome
            .as_ref()
            .is_ok_and(|sample| !sample.kernel_cached);
        let ended = if fresh {
            let begun = self
                .clock
                .at(reading.ended_at)
                .saturating_sub(reading.duration);
            let ended = desk.inner.book.observe(begun, now, footprint);
            desk.inner.book.looked(self.clock.now());
            ended
        } else {
            0
        };
        desk.inner.counts.process_ended += ended;
        let skew = now.skew_seconds(desk.inner.saved_at);
        if ended > 0 || (!desk.inner.book.living().is_empty() && skew > SKEW_SECONDS_MAX) {
            desk.inner.save_or_say(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn expire(&mut self, now: Moment) {
        let expired = self.book.expire(now);
        if expired > 0 {
            self.counts.expired += expired;
            self.save_or_say(now);
        }
    }

    fn save(&mut self, now: Moment) -> Result<(), String> {
        self.keeper.save(&self.book, now)?;
        self.saved_at = now;
        Ok(())
    }

    /// Writes that one has ended. Where that fails the file still has it, which costs memory after a restart and
    /// promises none twice.
    fn save_or_say(&mut self, now: Moment) {
        if let Err(why) = self.save(now) {
            tracing::warn!("the end of a reservation could not be kept: {why}");
        }
    }
}

/// The place where one decision at a time is made.
pub struct Desk<'a> {
    inner: MutexGuard<'a, Inner>,
    of: &'a Reservations,
    now: Moment,
}

impl Desk<'_> {
    /// What is promised and not in use yet.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.inner.book.reserved_bytes()
    }

    /// Reserves what is wished for, if it fits into `room_bytes` beside what is reserved and fewer than `count_max`
    /// live.
    ///
    /// # Errors
    /// Why not; then nothing is reserved.
    pub fn grant(&mut self, wish: Wish, room_bytes: u64, count_max: usize) -> Result<View, Denied> {
        let granted = self.try_grant(wish, room_bytes, count_max);
        match &granted {
            Ok(_) => self.inner.counts.granted += 1,
            Err(_) => self.inner.counts.refused += 1,
        }
        granted
    }

    fn try_grant(&mut self, wish: Wish, room_bytes: u64, count_max: usize) -> Result<View, Denied> {
        let holder = wish.pid.map(holder::find).transpose()?.flatten();
        let id = self
            .inner
            .book
            .grant(wish, holder, room_bytes, count_max, self.now)?;
        if let Err(why) = self.inner.save(self.now) {
            self.inner.book.forget(&id);
            return Err(Denied::NotKept(why));
        }
        let reservation = self.inner.book.find(&id);
        reservation
            .map(|reservation| reservation.view(self.now))
            .ok_or_else(|| Denied::NotKept("it is gone already".to_owned()))
    }

    /// Ends the reservation called `id`, as it was; none when there is none.
    pub fn release(&mut self, id: &str) -> Option<View> {
        let released = self.inner.book.release(id, self.now)?;
        self.inner.counts.released += 1;
        self.inner.save_or_say(self.now);
        Some(released.view(self.now))
    }

    /// Those that live, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<View> {
        let living = self.inner.book.living().iter();
        living.map(|one| one.view(self.now)).collect()
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        let shown = Shown {
            reservations: self.list(),
            reserved_bytes: self.reserved_bytes(),
            counts: self.inner.counts,
        };
        self.of.shown.send_replace(Arc::new(shown));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
