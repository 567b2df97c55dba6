//! What is reserved, as plain state: no disk, no clock and no process of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use shv_machine::footprints::Footprint;
use shvplan::units::human;

use super::View;
use super::clock::Moment;
use super::holder::Holder;

/// From here on the calendar has jumped, and the end of a reservation is shown where it is now.
const JUMP_SECONDS_MIN: f64 = 1.0;

/// What is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The model it is for.
    pub model: String,
    /// How much.
    pub bytes: u64,
    /// For how long at most.
    pub ttl: Duration,
    /// The process whose footprint is to take its place.
    pub pid: Option<u32>,
}

/// Why nothing is reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not enough is left.
    #[error("{} are wished for, and {} are left beside the {} that are reserved", human(*wished_bytes), human(*left_bytes), human(*reserved_bytes))]
    Short {
        /// What was wished for.
        wished_bytes: u64,
        /// What is left.
        left_bytes: u64,
        /// What others have reserved.
        reserved_bytes: u64,
    },
    /// As many as may be live already.
    #[error(
        "{0} reservations live, the most that reservations.count_max allows: release one, or wait until one ends"
    )]
    TooMany(usize),
}

/// A reservation.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) bytes: u64,
    pub(super) holder: Option<Holder>,
    /// Whether the process was seen to hold half of it or more: from then on its end is the reservation's.
    pub(super) seen: bool,
    pub(super) created_unix_seconds: f64,
    /// As the calendar stood when it was granted or read back.
    expires_unix_seconds: f64,
    /// On the clock that never jumps.
    pub(super) ends: Duration,
    /// What the process had grown by before the latest reading: that reading shows it, so it is not reserved any more.
    taken_bytes: u64,
    /// What it had grown by just after the latest reading.
    growth_bytes: u64,
}

impl Reservation {
    pub(super) fn new(
        id: String,
        wish: Wish,
        holder: Option<Holder>,
        created_unix_seconds: f64,
        now: Moment,
    ) -> Self {
        Self {
            id,
            model: wish.model,
            bytes: wish.bytes,
            holder,
            seen: false,
            created_unix_seconds,
            expires_unix_seconds: now.unix_seconds + wish.ttl.as_secs_f64(),
            ends: now.running.saturating_add(wish.ttl),
            taken_bytes: 0,
            growth_bytes: 0,
        }
    }

    fn remaining_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.taken_bytes)
    }

    pub(super) fn view(&self, now: Moment) -> View {
        let left = self.ends.saturating_sub(now.running).as_secs_f64();
        let reckoned = now.unix_seconds + left;
        let jumped = (reckoned - self.expires_unix_seconds).abs() > JUMP_SECONDS_MIN;
        View {
            id: self.id.clone(),
            model: self.model.clone(),
            bytes: self.bytes,
            remaining_bytes: self.remaining_bytes(),
            pid: self.holder.map(|holder| holder.pid),
            created_unix_seconds: self.created_unix_seconds,
            expires_unix_seconds: if jumped {
                reckoned
            } else {
                self.expires_unix_seconds
            },
        }
    }
}

/// What a reservation held when it ended. It counts until a reading that began later: an earlier one may not show yet
/// what its process took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    bytes: u64,
    at: Duration,
}

/// All reservations.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Book {
    living: Vec<Reservation>,
    ended: Vec<Ended>,
    /// When footprints were last looked at.
    looked_at: Duration,
    /// How many were ever granted: no name is given twice.
    pub(super) serial: u64,
}

impl Book {
    /// A book with what was kept of an earlier one.
    pub(super) fn restored(living: Vec<Reservation>, serial: u64) -> Self {
        Self {
            living,
            serial,
            ..Self::default()
        }
    }

    pub(super) fn living(&self) -> &[Reservation] {
        &self.living
    }

    pub(super) fn find(&self, id: &str) -> Option<&Reservation> {
        self.living.iter().find(|one| one.id == id)
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        let living = self.living.iter().map(Reservation::remaining_bytes);
        let ended = self.ended.iter().map(|ended| ended.bytes);
        living.chain(ended).fold(0, u64::saturating_add)
    }

    /// Ends those whose time is up, and says how many.
    pub(super) fn expire(&mut self, now: Moment) -> u64 {
        self.end_where(now, |one| one.ends <= now.running)
    }

    pub(super) fn grant(
        &mut self,
        wish: Wish,
        holder: Option<Holder>,
        room_bytes: u64,
        count_max: usize,
        now: Moment,
    ) -> Result<String, Refusal> {
        if self.living.len() >= count_max {
            return Err(Refusal::TooMany(self.living.len()));
        }
        let reserved_bytes = self.reserved_bytes();
        let left_bytes = room_bytes.saturating_sub(reserved_bytes);
        if wish.bytes > left_bytes {
            return Err(Refusal::Short {
                wished_bytes: wish.bytes,
                left_bytes,
                reserved_bytes,
            });
        }
        self.serial += 1;
        // Milliseconds keep names apart should the count be lost with its file.
        let id = format!("{:x}-{}", (now.unix_seconds * 1e3) as u64, self.serial);
        self.living.push(Reservation::new(
            id.clone(),
            wish,
            holder,
            now.unix_seconds,
            now,
        ));
        Ok(id)
    }

    /// Takes back one that was never told.
    pub(super) fn forget(&mut self, id: &str) {
        self.living.retain(|one| one.id != id);
    }

    pub(super) fn release(&mut self, id: &str, now: Moment) -> Option<Reservation> {
        let released = self.find(id)?.clone();
        self.end_where(now, |one| one.id == id);
        Some(released)
    }

    /// A reading that began at `begun` is there, and each holder's footprint is as `footprint` says now. Gives back how
    /// many reservations ended with their process. [`Book::looked`] has to follow.
    ///
    /// What a process had grown by is taken off only once a reading began after it was seen: an earlier one may not
    /// show it, and then the same memory would be promised twice.
    pub(super) fn observe(
        &mut self,
        begun: Duration,
        now: Moment,
        footprint: impl Fn(u32) -> Footprint,
    ) -> u64 {
        self.ended.retain(|ended| ended.at > begun);
        // Several reservations of one process share its growth, each byte counting for one of them.
        let mut counted: BTreeMap<u32, u64> = BTreeMap::new();
        let mut gone = Vec::new();
        let shows_growth = begun >= self.looked_at;
        for one in &mut self.living {
            if shows_growth {
                one.taken_bytes = one.growth_bytes;
            }
            let Some(holder) = one.holder else {
                continue;
            };
            match footprint(holder.pid) {
                Footprint::Bytes(bytes) => {
                    let counted = counted.entry(holder.pid).or_default();
                    let from = holder.baseline_bytes.max(*counted);
                    one.growth_bytes = bytes.saturating_sub(from).min(one.bytes);
                    *counted = from.saturating_add(one.growth_bytes);
                    one.seen |= one.growth_bytes >= one.bytes.div_ceil(2);
                }
                Footprint::Untold => one.growth_bytes = 0,
                Footprint::Gone if one.seen => gone.push(one.id.clone()),
                Footprint::Gone => {
                    // It ended before it took anything, as a script does that starts the model in the background:
                    // there is nobody to watch, and the promise stands until its time is up.
                    one.holder = None;
                    one.growth_bytes = 0;
                }
            }
        }
        self.end_where(now, |one| gone.contains(&one.id))
    }

    /// Footprints were looked at, up to `now`.
    pub(super) fn looked(&mut self, now: Moment) {
        self.looked_at = now.running;
    }

    fn end_where(&mut self, now: Moment, is_over: impl Fn(&Reservation) -> bool) -> u64 {
        let ended = &mut self.ended;
        let before = self.living.len();
        self.living.retain(|one| {
            let over = is_over(one);
            if over {
                ended.push(Ended {
                    bytes: one.remaining_bytes(),
                    at: now.running,
                });
            }
            !over
        });
        (before - self.living.len()) as u64
    }
}
