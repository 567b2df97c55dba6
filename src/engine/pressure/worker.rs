//! The process that holds the memory. It knows the backend and its orders, and nothing of the machine: whoever watches
//! decides, and can kill it.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::plan::blocks;
use super::protocol::{Begin, Order, Report};
use super::reason::{Reason, ReasonCode};
use crate::engine::backend::{self, BackendError, BackendKind, Memory};
use crate::engine::state::StateDir;

/// How long the memory may take to be given back once the watching process is gone; then the worker kills itself,
/// which gives it back too.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// How often a waiting worker looks at its orders.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The last order, as the memory thread sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
enum Wanted {
    Grow,
    Hold,
    Release,
    Orphaned,
}

#[derive(Debug, Clone)]
struct Orders(Arc<AtomicU8>);

impl Orders {
    fn set(&self, wanted: Wanted) {
        // Orders only ever get stronger.
        self.0.fetch_max(wanted as u8, Ordering::SeqCst);
    }

    fn now(&self) -> Wanted {
        match self.0.load(Ordering::SeqCst) {
            0 => Wanted::Grow,
            1 => Wanted::Hold,
            2 => Wanted::Release,
            _ => Wanted::Orphaned,
        }
    }

    /// Waits for `time`, or until the orders are stronger than `wanted`.
    fn wait(&self, time: Duration, wanted: Wanted) {
        let until = Instant::now() + time;
        while self.now() <= wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

/// Runs the worker on standard input and output; 0 when everything was given back in order.
#[must_use]
pub fn run(kind: BackendKind) -> ExitCode {
    let orders = Orders(Arc::new(AtomicU8::new(Wanted::Grow as u8)));
    let (begin_sender, begin) = sync_channel(1);
    let (recorded_sender, recorded) = sync_channel(1);
    let listener = orders.clone();
    thread::spawn(move || listen(&listener, &begin_sender, &recorded_sender));
    let ended = work(kind, &orders, &begin).or_else(|error| {
        say(&Report::Failed {
            message: error.to_string(),
        })?;
        Err(error)
    });
    if ended.is_ok() && orders.now() != Wanted::Orphaned {
        return ExitCode::SUCCESS;
    }
    // The memory is given back by now. If nobody listens any more, the reason is still being written.
    let _ = recorded.recv_timeout(ORPHAN_GRACE);
    ExitCode::FAILURE
}

/// Reads orders until the input ends, and sees to it that the process ends soon after.
fn listen(orders: &Orders, begin_sender: &SyncSender<Begin>, recorded: &SyncSender<()>) {
    let mut kept: Option<Begin> = None;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Order::Begin(begin)) => {
                kept = Some(begin.clone());
                let _ = begin_sender.try_send(begin);
            }
            Ok(Order::Enough) => orders.set(Wanted::Hold),
            Ok(Order::Release) => orders.set(Wanted::Release),
            // An order that cannot be read comes from no one this worker should hold memory for.
            Err(_) => break,
        }
    }
    let released = orders.now() == Wanted::Release;
    orders.set(Wanted::Orphaned);
    thread::spawn(|| {
        // Beside the record, so that a disk that hangs does not keep the memory.
        thread::sleep(ORPHAN_GRACE);
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    });
    if let (false, Some(begin)) = (released, kept) {
        record_orphan(&begin);
    }
    let _ = recorded.try_send(());
}

fn record_orphan(begin: &Begin) {
    let detail = "the watching process ended; the worker gave the memory back by itself";
    let mut outcome = Outcome::ended(Reason::new(ReasonCode::ParentDied, detail));
    outcome.target_bytes = begin.target_bytes;
    let _ = StateDir::open(Some(&begin.orphan_directory))
        .and_then(|state| state.write_json(&begin.orphan_name, &outcome));
}

fn say(report: &Report) -> Result<(), BackendError> {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)
        .and_then(|()| out.flush())
        .map_err(|error| BackendError::Allocation {
            bytes: 0,
            reason: format!("nobody listens any more: {error}"),
        })
}

fn work(kind: BackendKind, orders: &Orders, begin: &Receiver<Begin>) -> Result<(), BackendError> {
    let mut memory = backend::memory(kind)?;
    say(&Report::Ready {
        device: memory.device()?,
        figures: memory.figures()?,
    })?;
    // The channel closes when the input ends before an order came.
    let Ok(begin) = begin.recv() else {
        return Ok(());
    };
    let held = grow(memory.as_mut(), orders, &begin)?;
    if let Some(fault) = begin.planted_fault {
        memory.flip_bit(fault.block, fault.byte, fault.bit)?;
    }
    orders.set(Wanted::Hold);
    if orders.now() == Wanted::Hold {
        say(&Report::Holding)?;
        hold(memory.as_mut(), held, orders, &begin)?;
    }
    let start = Instant::now();
    memory.release()?;
    say(&Report::Released {
        seconds: start.elapsed().as_secs_f64(),
        figures: memory.figures()?,
    })
}

/// Takes block after block. Returns how many are held.
fn grow(memory: &mut dyn Memory, orders: &Orders, begin: &Begin) -> Result<usize, BackendError> {
    let ramp = Instant::now();
    let (mut held, mut held_bytes) = (0, 0_u64);
    for bytes in blocks(begin.target_bytes, begin.block_bytes) {
        if orders.now() > Wanted::Grow {
            break;
        }
        if let Some(rate) = begin.ramp_bytes_per_second {
            let due = Duration::from_secs_f64(held_bytes as f64 / rate as f64);
            orders.wait(due.saturating_sub(ramp.elapsed()), Wanted::Grow);
            if orders.now() > Wanted::Grow {
                break;
            }
        }
        let start = Instant::now();
        memory.hold(bytes, begin.seed.wrapping_add(held as u64))?;
        let seconds = start.elapsed().as_secs_f64();
        held += 1;
        held_bytes += bytes;
        say(&Report::Filled {
            bytes,
            seconds,
            figures: memory.figures()?,
        })?;
    }
    Ok(held)
}

/// Reads everything again at once, then from time to time until the hold is over.
fn hold(
    memory: &mut dyn Memory,
    held: usize,
    orders: &Orders,
    begin: &Begin,
) -> Result<(), BackendError> {
    let until = Instant::now() + Duration::from_secs(begin.hold_seconds);
    loop {
        for block in 0..held {
            if orders.now() > Wanted::Hold {
                return Ok(());
            }
            let start = Instant::now();
            let found = memory.verify(block)?;
            say(&Report::Verified {
                block,
                seconds: start.elapsed().as_secs_f64(),
                found,
            })?;
        }
        say(&Report::Pass)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        orders.wait(
            left.min(Duration::from_secs(begin.verify_every_seconds)),
            Wanted::Hold,
        );
        if orders.now() > Wanted::Hold {
            return Ok(());
        }
    }
}
