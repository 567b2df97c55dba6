//! What the daemon did, as plain counts: the server and the reload write them, a collector reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use shv_machine::sample::unix_seconds;

/// Why a connection was closed by a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// As many as may be were answering requests.
    TooMany,
    /// It had sent no request and another one came.
    MadeWay,
    /// It took longer than a time limit.
    TooSlow,
    /// Its TLS handshake failed.
    Handshake,
}

impl Dropped {
    /// All reasons, in the order of the counts.
    pub const ALL: [Self; 4] = [Self::TooMany, Self::MadeWay, Self::TooSlow, Self::Handshake];

    /// One word for a label.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::MadeWay => "made_way",
            Self::TooSlow => "too_slow",
            Self::Handshake => "handshake",
        }
    }
}

/// Counts since the start.
#[derive(Debug)]
pub struct Activity {
    requests: Mutex<BTreeMap<u16, u64>>,
    connections: AtomicI64,
    accepted: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    reloads_good: AtomicU64,
    reloads_bad: AtomicU64,
    last_reload_good: AtomicBool,
    last_good_unix_milliseconds: AtomicU64,
}

impl Default for Activity {
    /// Begins with the settings that were just read.
    fn default() -> Self {
        let activity = Self {
            requests: Mutex::default(),
            connections: AtomicI64::new(0),
            accepted: AtomicU64::new(0),
            dropped: Default::default(),
            reloads_good: AtomicU64::new(0),
            reloads_bad: AtomicU64::new(0),
            last_reload_good: AtomicBool::new(true),
            last_good_unix_milliseconds: AtomicU64::new(0),
        };
        activity.settings_took_effect();
        activity
    }
}

impl Activity {
    /// A request was answered with `code`.
    pub fn answered(&self, code: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(code).or_default() += 1;
    }

    /// A connection was accepted; it counts as open until [`Activity::closed`].
    pub fn opened(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is gone.
    pub fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was closed by a limit.
    pub fn dropped(&self, why: Dropped) {
        self.dropped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt to reload ended.
    pub fn reloaded(&self, good: bool) {
        if good {
            self.reloads_good.fetch_add(1, Ordering::Relaxed);
            self.settings_took_effect();
        } else {
            self.reloads_bad.fetch_add(1, Ordering::Relaxed);
        }
        self.last_reload_good.store(good, Ordering::Relaxed);
    }

    fn settings_took_effect(&self) {
        let now = unix_seconds(SystemTime::now()) * 1e3;
        self.last_good_unix_milliseconds
            .store(now as u64, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> BTreeMap<u16, u64> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn connections(&self) -> (i64, u64) {
        (
            self.connections.load(Ordering::Relaxed),
            self.accepted.load(Ordering::Relaxed),
        )
    }

    pub(super) fn dropped_count(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Ordering::Relaxed)
    }

    pub(super) fn reloads(&self) -> Reloads {
        Reloads {
            good: self.reloads_good.load(Ordering::Relaxed),
            bad: self.reloads_bad.load(Ordering::Relaxed),
            last_good: self.last_reload_good.load(Ordering::Relaxed),
            in_use_since_unix_seconds: self.last_good_unix_milliseconds.load(Ordering::Relaxed)
                as f64
                / 1e3,
        }
    }
}

/// How reloads went.
pub(super) struct Reloads {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) last_good: bool,
    pub(super) in_use_since_unix_seconds: f64,
}
