//! Readings of the machine on a thread of their own, so that a reading that hangs is seen and not waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shv_machine::sample::Sample;
use shv_machine::source::Source;

/// The newest reading, and when it came.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) number: u64,
    pub(super) sample: Result<Sample, String>,
}

/// Takes readings until it is dropped.
pub(super) struct Sampler {
    latest: Arc<Mutex<Option<Reading>>>,
    stop: Arc<AtomicBool>,
}

impl Sampler {
    pub(super) fn start(mut source: Box<dyn Source>, every: Duration) -> Self {
        let sampler = Self {
            latest: Arc::default(),
            stop: Arc::default(),
        };
        let (latest, stop) = (Arc::clone(&sampler.latest), Arc::clone(&sampler.stop));
        // Never joined: a thread that hangs in a reading must not take anyone with it.
        thread::spawn(move || {
            for number in 1.. {
                let start = Instant::now();
                let sample = source.read().map_err(|error| error.to_string());
                let reading = Reading {
                    at: Instant::now(),
                    number,
                    sample,
                };
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(every.saturating_sub(start.elapsed()));
            }
        });
        sampler
    }

    pub(super) fn latest(&self) -> Option<Reading> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
