use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shv_machine::Sample;

use super::holder::Holder;
use super::*;
use crate::sampler::Failures;

const GIB: u64 = 1 << 30;

fn wish(bytes: u64, seconds: u64) -> Wish {
    Wish {
        model: "chat".to_owned(),
        bytes,
        ttl: Duration::from_secs(seconds),
        pid: None,
    }
}

fn at(running: f64, unix_seconds: f64) -> Moment {
    Moment {
        running: Duration::from_secs_f64(running),
        unix_seconds,
    }
}

/// A clock whose two hands a test sets, in milliseconds.
#[derive(Clone, Default)]
struct Hands {
    running: Arc<AtomicU64>,
    unix: Arc<AtomicU64>,
}

impl Hands {
    fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::set_by(move || {
            at(
                hands.running.load(Ordering::SeqCst) as f64 / 1e3,
                hands.unix.load(Ordering::SeqCst) as f64 / 1e3,
            )
        })
    }

    fn set(&self, running_seconds: u64, unix_seconds: u64) {
        self.running.store(running_seconds * 1000, Ordering::SeqCst);
        self.unix.store(unix_seconds * 1000, Ordering::SeqCst);
    }
}

fn reading() -> Reading {
    Reading {
        sequence: 1,
        // Far later than any moment of a test's clock.
        ended_at: Instant::now() + Duration::from_secs(1_000_000),
        duration: Duration::ZERO,
        sample_age: Duration::ZERO,
        outcome: Ok(Sample::default()),
        failures: Failures::default(),
    }
}

/// Numbers that look random and come again with their seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A process that was promised memory and takes it in steps.
#[derive(Debug)]
struct Launched {
    id: String,
    pid: u32,
    promised: u64,
    taken: u64,
}

/// A machine with processes that grow into their reservations, end, or never start; readings that are late; and
/// launches at any moment. At every moment what is taken and what may still be taken is no more than there is.
fn a_day(seed: u64) -> u64 {
    const CAPACITY: u64 = 1000;
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut book = Book::default();
    let mut launched: Vec<Launched> = Vec::new();
    let mut milliseconds = 0;
    // The latest reading: when it began, and what it said was free.
    let mut sample = (Duration::ZERO, CAPACITY);
    let now = |milliseconds: u64| at(milliseconds as f64 / 1e3, 1e9 + milliseconds as f64 / 1e3);
    let used = |launched: &[Launched]| launched.iter().map(|l| l.taken).sum::<u64>();
    for _ in 0..600 {
        milliseconds += 1 + dice.roll(400);
        let moment = now(milliseconds);
        book.expire(moment);
        match dice.roll(8) {
            // Readings: taken now, told later, the first of two perhaps only after the second was begun.
            0 | 1 => {
                let mut readings = Vec::new();
                for _ in 0..=dice.roll(2) {
                    readings.push((now(milliseconds).running, CAPACITY - used(&launched)));
                    for one in &mut launched {
                        grow(one, &book, &mut dice);
                    }
                    milliseconds += 1 + dice.roll(300);
                    book.expire(now(milliseconds));
                }
                for reading in readings {
                    sample = reading;
                    let held: BTreeMap<u32, u64> =
                        launched.iter().map(|l| (l.pid, l.taken)).collect();
                    let footprint = |pid: u32| {
                        held.get(&pid)
                            .map_or(Footprint::Gone, |&bytes| Footprint::Bytes(bytes))
                    };
                    book.observe(reading.0, now(milliseconds), footprint);
                    milliseconds += 1;
                    book.looked(now(milliseconds));
                    let wish = wish(1 + dice.roll(CAPACITY), 20);
                    launch(
                        &mut book,
                        &mut launched,
                        wish,
                        sample.1,
                        now(milliseconds),
                        &mut dice,
                    );
                }
            }
            2 | 3 => {
                for one in &mut launched {
                    grow(one, &book, &mut dice);
                }
            }
            4 if !launched.is_empty() => {
                let which = dice.roll(launched.len() as u64) as usize;
                launched.swap_remove(which);
            }
            5 if !launched.is_empty() => {
                let which = dice.roll(launched.len() as u64) as usize;
                book.release(&launched[which].id.clone(), moment);
            }
            _ => {
                let wish = wish(1 + dice.roll(CAPACITY / 2), 1 + dice.roll(20));
                launch(&mut book, &mut launched, wish, sample.1, moment, &mut dice);
            }
        }
        let promised: u64 = launched
            .iter()
            .map(|l| {
                if book.find(&l.id).is_some() {
                    l.promised.max(l.taken)
                } else {
                    l.taken
                }
            })
            .sum();
        assert!(
            promised <= CAPACITY,
            "seed {seed}: {promised} of {CAPACITY} are promised: {launched:?} {book:?}"
        );
    }
    book.serial
}

/// Launches what is wished for, if it is granted.
fn launch(
    book: &mut Book,
    launched: &mut Vec<Launched>,
    wish: Wish,
    room_bytes: u64,
    now: Moment,
    dice: &mut Dice,
) {
    let pid = u32::try_from(book.serial + 1).unwrap();
    let promised = wish.bytes;
    let holder = (dice.roll(5) > 0).then_some(holder(pid, 0));
    if let Ok(id) = book.grant(wish, holder, room_bytes, 64, now) {
        launched.push(Launched {
            id,
            pid,
            promised,
            taken: 0,
        });
    }
}

/// A process takes more as long as its reservation lives.
fn grow(one: &mut Launched, book: &Book, dice: &mut Dice) {
    if book.find(&one.id).is_some() && dice.roll(3) == 0 {
        one.taken += dice.roll(one.promised - one.taken + 1);
    }
}

#[test]
fn never_more_is_promised_than_there_is() {
    let granted: u64 = (1..=500).map(a_day).sum();
    assert!(granted > 10_000, "only {granted} were granted");
}

#[test]
fn sixty_four_at_once_share_what_is_left() {
    for seed in 1..=20 {
        let place = tempfile::tempdir().unwrap();
        let reservations = Reservations::open(Some(place.path().to_owned()));
        let room = 20 * GIB;
        let granted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for caller in 0..64 {
                let (reservations, granted) = (&reservations, &granted);
                scope.spawn(move || {
                    let bytes = (1 + Dice(seed * 1000 + caller).roll(8)) * GIB;
                    if let Ok(view) = reservations.desk().grant(wish(bytes, 60), room, 128) {
                        granted.fetch_add(view.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        let granted = granted.into_inner();
        assert!(
            granted <= room && granted > room - GIB,
            "seed {seed}: {granted}"
        );
        assert_eq!(reservations.shown().reserved_bytes, granted);
        drop(reservations);
        let again = Reservations::open(Some(place.path().to_owned()));
        assert_eq!(again.shown().reserved_bytes, granted);
    }
}

#[test]
fn what_expires_returns_with_the_next_reading() {
    let place = tempfile::tempdir().unwrap();
    let hands = Hands::default();
    hands.set(0, 1_000_000);
    let reservations = Reservations::with_clock(Some(place.path().to_owned()), hands.clock());
    reservations.desk().grant(wish(10, 60), 10, 8).unwrap();
    hands.set(59, 1_000_059);
    let refused = reservations.desk().grant(wish(1, 60), 10, 8);
    assert!(refused.unwrap_err().to_string().contains("0 MiB are left"));
    hands.set(60, 1_000_060);
    assert!(reservations.desk().grant(wish(1, 60), 10, 8).is_err());
    reservations.observe_with(&reading(), |_| Footprint::Gone);
    reservations.desk().grant(wish(10, 60), 10, 8).unwrap();
    let counts = reservations.shown().counts;
    assert_eq!((counts.granted, counts.refused, counts.expired), (2, 2, 1));
}

#[test]
fn a_clock_that_jumps_changes_no_length_of_time() {
    for jump in [-500_000_i64, -30, 30, 500_000] {
        let place = tempfile::tempdir().unwrap();
        let hands = Hands::default();
        hands.set(0, 1_000_000);
        let open = || Reservations::with_clock(Some(place.path().to_owned()), hands.clock());
        let reservations = open();
        reservations.desk().grant(wish(10, 60), 10, 8).unwrap();
        let unix = |running: u64| 1_000_000_u64.saturating_add_signed(jump) + running;
        hands.set(30, unix(30));
        // The jump is seen at the next reading and written down.
        reservations.observe_with(&reading(), |_| Footprint::Gone);
        let shown = reservations.shown().reservations[0].clone();
        assert_eq!(shown.expires_unix_seconds, (unix(60)) as f64, "{jump}");
        drop(reservations);
        // A restart ten seconds later goes on where it was.
        hands.set(0, unix(40));
        let reservations = open();
        hands.set(19, unix(59));
        assert_eq!(reservations.desk().list().len(), 1, "{jump}");
        hands.set(20, unix(60));
        assert_eq!(reservations.desk().list().len(), 0, "{jump}");
    }
}

#[test]
fn time_goes_by_while_nobody_runs_and_never_backwards() {
    for (asleep, left) in [
        (-100_000_i64, 60),
        (0, 60),
        (25, 35),
        (60, 0),
        (1_000_000, 0),
    ] {
        let place = tempfile::tempdir().unwrap();
        let hands = Hands::default();
        hands.set(5, 1_000_000);
        let open = || Reservations::with_clock(Some(place.path().to_owned()), hands.clock());
        let reservations = open();
        reservations.desk().grant(wish(10, 60), 10, 8).unwrap();
        drop(reservations);
        let unix = 1_000_000_u64.saturating_add_signed(asleep);
        hands.set(0, unix);
        let shown = open().shown();
        let expires: Vec<_> = shown
            .reservations
            .iter()
            .map(|one| one.expires_unix_seconds - unix as f64)
            .collect();
        let expected = if left > 0 {
            vec![f64::from(left)]
        } else {
            Vec::new()
        };
        assert_eq!(expires, expected, "asleep for {asleep} s");
    }
}

#[test]
fn a_torn_file_is_set_aside_and_never_a_crash() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("reservations.json");
    let open = || Reservations::open(Some(place.path().to_owned()));
    open().desk().grant(wish(10, 600), 10, 8).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len() - 2).chain([whole.len()]) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let reservations = open();
        let torn = length < whole.len();
        let shown = reservations.shown();
        assert_eq!(shown.counts.set_aside, u64::from(torn), "{length}");
        assert_eq!(shown.reservations.len(), usize::from(!torn), "{length}");
        assert_eq!(!path.exists(), torn);
    }
    let aside = place.path().join("reservations.json.unreadable");
    assert_eq!(std::fs::read(&aside).unwrap(), whole[..whole.len() - 3]);
    for nonsense in [
        "[]",
        "{\"schema\":\"other\",\"serial\":0,\"written_unix_seconds\":0,\"reservations\":[]}",
        "\u{0}\u{0}\u{0}",
    ] {
        std::fs::write(&path, nonsense).unwrap();
        assert_eq!(open().shown().counts.set_aside, 1, "{nonsense}");
    }
    let endless = String::from_utf8(whole).unwrap().replace("600", "6e300");
    std::fs::write(&path, endless).unwrap();
    assert_eq!(open().shown().counts.set_aside, 1);
}

#[test]
fn one_daemon_keeps_them_and_another_promises_nothing() {
    let place = tempfile::tempdir().unwrap();
    let open = || Reservations::open(Some(place.path().to_owned()));
    let first = open();
    first.desk().grant(wish(10, 600), 20, 8).unwrap();
    let second = open();
    let refused = second.desk().grant(wish(1, 600), 20, 8).unwrap_err();
    assert!(refused.to_string().contains("another daemon"), "{refused}");
    assert_eq!(second.shown().reserved_bytes, 0);
    assert!(first.desk().grant(wish(10, 600), 20, 8).is_ok());
}

#[test]
fn what_cannot_be_kept_is_not_promised() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let reservations = Reservations::open(Some(file.join("below")));
    let refused = reservations.desk().grant(wish(1, 60), 10, 8);
    assert!(matches!(refused, Err(Denied::NotKept(_))), "{refused:?}");
    assert_eq!(reservations.shown().reserved_bytes, 0);
}

#[test]
fn their_number_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let reservations = Reservations::open(Some(place.path().to_owned()));
    let first = reservations.desk().grant(wish(1, 60), 100, 2).unwrap();
    reservations.desk().grant(wish(1, 60), 100, 2).unwrap();
    let refused = reservations.desk().grant(wish(1, 60), 100, 2).unwrap_err();
    assert!(matches!(refused, Denied::Refused(Refusal::TooMany(2))));
    assert_eq!(reservations.desk().release(&first.id), Some(first.clone()));
    assert_eq!(reservations.desk().release(&first.id), None);
    reservations.desk().grant(wish(1, 60), 100, 2).unwrap();
}

fn holder(pid: u32, baseline_bytes: u64) -> Holder {
    Holder {
        pid,
        started_unix_seconds: 1,
        baseline_bytes,
    }
}

#[test]
fn a_process_takes_its_place_once_a_reading_shows_it() {
    let mut book = Book::default();
    let second = |s: f64| at(s, 1e9 + s);
    let id = book
        .grant(wish(100, 600), Some(holder(7, 5)), 100, 8, second(0.0))
        .unwrap();
    let look = |book: &mut Book, s: f64, footprint: Footprint| {
        let ended = book.observe(Duration::from_secs_f64(s), second(s + 0.1), |_| footprint);
        book.looked(second(s + 0.2));
        (book.reserved_bytes(), ended)
    };
    assert_eq!(look(&mut book, 1.0, Footprint::Bytes(45)), (100, 0));
    // A reading that began before the look may not show what was seen.
    assert_eq!(look(&mut book, 1.1, Footprint::Bytes(45)), (100, 0));
    assert_eq!(look(&mut book, 2.0, Footprint::Bytes(205)), (60, 0));
    assert_eq!(look(&mut book, 3.0, Footprint::Bytes(5)), (0, 0));
    assert_eq!(look(&mut book, 4.0, Footprint::Gone), (100, 1));
    assert!(book.find(&id).is_none());
    assert_eq!(look(&mut book, 5.0, Footprint::Gone), (0, 0));
}

#[test]
fn a_starter_that_ends_early_leaves_the_promise_standing() {
    let mut book = Book::default();
    let second = |s: f64| at(s, 1e9 + s);
    let id = book
        .grant(wish(100, 600), Some(holder(7, 0)), 100, 8, second(0.0))
        .unwrap();
    for s in 1..4 {
        let begun = Duration::from_secs(s);
        assert_eq!(
            book.observe(begun, second(s as f64), |_| Footprint::Gone),
            0
        );
        book.looked(second(s as f64));
    }
    assert_eq!(book.reserved_bytes(), 100);
    assert!(book.find(&id).unwrap().holder.is_none());
}

#[test]
fn two_reservations_of_one_process_share_its_growth() {
    let mut book = Book::default();
    let second = |s: f64| at(s, 1e9 + s);
    for _ in 0..2 {
        book.grant(wish(40, 600), Some(holder(7, 10)), 100, 8, second(0.0))
            .unwrap();
    }
    let look = |book: &mut Book, s: f64, bytes: u64| {
        book.observe(Duration::from_secs_f64(s), second(s + 0.1), |_| {
            Footprint::Bytes(bytes)
        });
        book.looked(second(s + 0.2));
        book.reserved_bytes()
    };
    look(&mut book, 1.0, 60);
    assert_eq!(look(&mut book, 2.0, 60), 30);
    look(&mut book, 3.0, 1000);
    assert_eq!(look(&mut book, 4.0, 1000), 0);
}
