//! A line that follows a pressure run on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use shvplan::units::human;

use crate::engine::pressure::{Handle, State, Status};

const EVERY: Duration = Duration::from_millis(100);
const BAR_CELLS: u64 = 24;

/// Draws until it is dropped; nothing where standard error is no terminal.
pub(super) struct Progress {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(super) fn follow(handle: Handle) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::io::stderr().is_terminal().then(|| {
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut out = std::io::stderr().lock();
                    let _ = write!(out, "\r\x1b[2K{}", line(&handle.status()));
                    let _ = out.flush();
                    drop(out);
                    thread::sleep(EVERY);
                }
                let _ = write!(std::io::stderr(), "\r\x1b[2K");
            })
        });
        Self { stop, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it formats numbers and ignores what the terminal answers.
            let _ = thread.join();
        }
    }
}

fn line(status: &Status) -> String {
    let share = |part: u64, whole: u64| {
        (part.min(whole) * BAR_CELLS)
            .checked_div(whole)
            .unwrap_or(0) as usize
    };
    let filled = share(status.touched_bytes, status.target_bytes);
    let bar = format!(
        "{}{}",
        "█".repeat(filled),
        "·".repeat(BAR_CELLS as usize - filled)
    );
    let what = match status.state {
        State::Holding => format!("verified {}", human(status.verified_bytes)),
        _ => format!(
            "{} of {}",
            human(status.touched_bytes),
            human(status.target_bytes)
        ),
    };
    let rate = match status.state {
        State::Holding => status.verify_bytes_per_second,
        _ => status.fill_bytes_per_second,
    };
    let rate = rate.map_or_else(String::new, |rate| format!("  {}/s", human(rate as u64)));
    let level = status
        .level
        .map_or_else(String::new, |level| format!("  pressure {}", level.name()));
    format!(
        "{:<9} {bar} {what}{rate}{level}  {:.0} s",
        status.state.name(),
        status.seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_share_and_the_rate() {
        let status = Status {
            state: State::Ramping,
            target_bytes: 4 << 30,
            touched_bytes: 1 << 30,
            fill_bytes_per_second: Some(10.0 * f64::from(1 << 30)),
            ..Status::default()
        };
        let line = line(&status);
        assert!(line.contains("██████····"), "{line}");
        assert!(line.contains("10.0 GiB/s"), "{line}");
    }

    #[test]
    fn nothing_known_is_no_division_by_zero() {
        assert!(line(&Status::default()).starts_with("starting"));
    }
}
