//! The plan of a model beside what its process took, phase by phase.
//!
//! A process does not say when it has loaded its weights, so phases are read off its memory over time: a *level* is a
//! stretch in which memory hardly moves. The weights are there at the first level that holds most of what is planned for
//! them over the lowest; what the process held at the last level that most of them are over is its own, not the model's.
//! The prompt is the highest moment after that; decoding is the middle of what follows while the weights are still held.
//! A phase that does not show is not told.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use shvplan::units::human;

use super::Moment;

/// A level lasts so long at least, and this share of the whole: what grows steadily is in no level then.
const LEVEL_SECONDS_MIN: f64 = 0.2;
/// See [`LEVEL_SECONDS_MIN`].
const LEVEL_SHARE_MIN: f64 = 0.02;
/// In a level, readings differ by this share of the peak at most.
const LEVEL_WIDTH: f64 = 0.005;
/// The weights are there when this share of them is over the lowest level.
const WEIGHTS_SHARE: f64 = 0.75;
/// While decoding, memory is at most this share below what it was with the weights alone; at the end it falls.
const DECODE_SLACK: f64 = 0.02;

/// What a plan says of each phase, in bytes of arrays: the process's own memory is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The model and what it is asked for, in words.
    pub subject: String,
    /// Weights.
    pub load_bytes: u64,
    /// The fullest moment of the prompt.
    pub prompt_bytes: u64,
    /// The fullest moment of decoding.
    pub decode_bytes: u64,
    /// The expected peak.
    pub peak_bytes: u64,
    /// Low end of its interval.
    pub peak_low_bytes: u64,
    /// High end.
    pub peak_high_bytes: u64,
}

/// A plan beside a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The plan.
    pub expected: Expected,
    /// What the process held before the weights came: interpreter, libraries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before_bytes: Option<u64>,
    /// The phases in order, and the peak.
    pub phases: Vec<Phase>,
}

/// A phase, planned and measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `load`, `prompt`, `decode` or `peak`.
    pub name: String,
    /// Bytes of arrays.
    pub planned_bytes: u64,
    /// The process's memory and when: at its fullest, in decode at its middle; absent where the phase does not show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub measured: Option<Moment>,
    /// What was measured, less what the process held before, over what was planned, less one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub off_ratio: Option<f64>,
}

/// A stretch in which memory hardly moves.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    from: usize,
    to: usize,
    highest: Moment,
}

impl Beside {
    /// Sets `expected` beside the readings.
    #[must_use]
    pub fn of(expected: Expected, samples: &[Moment]) -> Self {
        let levels = levels(samples);
        let enough = (expected.load_bytes as f64 * WEIGHTS_SHARE) as u64;
        let lowest = levels.iter().map(|level| level.highest.bytes).min();
        let over = |level: &Level, below: u64| level.highest.bytes.saturating_sub(below) >= enough;
        let load = lowest.and_then(|lowest| {
            // A process that has the weights from the first reading on shows nothing below them.
            let alone = levels.iter().all(|level| !over(level, lowest));
            let below = if alone { 0 } else { lowest };
            levels.iter().find(|level| over(level, below))
        });
        let before_bytes = load.and_then(|load| {
            let before = levels.iter().take_while(|level| level.from < load.from);
            before
                .filter(|level| over(load, level.highest.bytes))
                .last()
                .map(|level| level.highest.bytes)
        });
        let prompt = load.and_then(|load| highest(&samples[load.to..]));
        let peak = highest(samples);
        let decode = load
            .zip(prompt)
            .and_then(|(load, prompt)| decoding(samples, load, prompt));
        let phase = |name: &str, planned_bytes: u64, measured: Option<Moment>| Phase {
            name: name.to_owned(),
            planned_bytes,
            measured,
            off_ratio: measured.map(|measured| {
                let arrays = measured.bytes.saturating_sub(before_bytes.unwrap_or(0));
                arrays as f64 / planned_bytes.max(1) as f64 - 1.0
            }),
        };
        let phases = vec![
            phase("load", expected.load_bytes, load.map(|load| load.highest)),
            phase("prompt", expected.prompt_bytes, prompt),
            phase("decode", expected.decode_bytes, decode),
            phase("peak", expected.peak_bytes, peak),
        ];
        Self {
            expected,
            before_bytes,
            phases,
        }
    }

    /// A table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let expected = &self.expected;
        let mut out = format!(
            "{}\n{:<8}{:>12}{:>14}{:>10}{:>9}\n",
            expected.subject, "", "planned", "measured", "at", "off"
        );
        for phase in &self.phases {
            let _ = match (phase.measured, phase.off_ratio) {
                (Some(measured), Some(off)) => writeln!(
                    out,
                    "{:<8}{:>12}{:>14}{:>8.1} s{:>+8.1}%",
                    phase.name,
                    human(phase.planned_bytes),
                    human(measured.bytes),
                    measured.seconds,
                    off * 100.0
                ),
                _ => writeln!(
                    out,
                    "{:<8}{:>12}{:>14}",
                    phase.name,
                    human(phase.planned_bytes),
                    "not seen"
                ),
            };
        }
        let own = self.before_bytes.map_or_else(
            || {
                "what the process held before the weights was not seen, so it counts as theirs"
                    .to_owned()
            },
            |bytes| {
                format!(
                    "off leaves out {}, which the process held before the weights",
                    human(bytes)
                )
            },
        );
        let _ = writeln!(
            out,
            "planned peak {} – {}; {own}",
            human(expected.peak_low_bytes),
            human(expected.peak_high_bytes)
        );
        out
    }
}

fn highest(samples: &[Moment]) -> Option<Moment> {
    samples.iter().copied().max_by_key(|moment| moment.bytes)
}

/// The middle of the readings after the prompt's highest moment that still hold the weights.
fn decoding(samples: &[Moment], load: &Level, prompt: Moment) -> Option<Moment> {
    let least = load.highest.bytes as f64 * (1.0 - DECODE_SLACK);
    let mut after: Vec<Moment> = samples
        .iter()
        .copied()
        .filter(|moment| moment.seconds > prompt.seconds && moment.bytes as f64 >= least)
        .collect();
    let lasts = after.last()?.seconds - after.first()?.seconds;
    after.sort_by_key(|moment| moment.bytes);
    (lasts >= LEVEL_SECONDS_MIN).then(|| after[after.len() / 2])
}

/// The levels in order, none overlapping: each as long as it can be.
fn levels(samples: &[Moment]) -> Vec<Level> {
    let peak = highest(samples).map_or(0, |moment| moment.bytes);
    let width = (peak as f64 * LEVEL_WIDTH) as u64;
    let whole = samples.last().map_or(0.0, |last| last.seconds);
    let seconds_min = LEVEL_SECONDS_MIN.max(whole * LEVEL_SHARE_MIN);
    let mut found = Vec::new();
    let mut from = 0;
    while from < samples.len() {
        let (mut low, mut high) = (samples[from].bytes, samples[from].bytes);
        let mut to = from + 1;
        while let Some(next) = samples.get(to) {
            (low, high) = (low.min(next.bytes), high.max(next.bytes));
            if high - low > width {
                break;
            }
            to += 1;
        }
        let lasts = samples[to - 1].seconds - samples[from].seconds;
        if lasts >= seconds_min {
            found.extend(highest(&samples[from..to]).map(|highest| Level { from, to, highest }));
            from = to;
        } else {
            from += 1;
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Readings twenty a second, of these heights for these numbers of readings.
    fn readings(stretches: &[(u64, usize)]) -> Vec<Moment> {
        let bytes = stretches
            .iter()
            .flat_map(|&(bytes, count)| std::iter::repeat_n(bytes, count));
        (0..)
            .zip(bytes)
            .map(|(index, bytes)| Moment {
                seconds: f64::from(index) * 0.05,
                bytes,
            })
            .collect()
    }

    fn expected() -> Expected {
        Expected {
            subject: "a model".to_owned(),
            load_bytes: 1000,
            prompt_bytes: 1400,
            decode_bytes: 1200,
            peak_bytes: 1400,
            peak_low_bytes: 1390,
            peak_high_bytes: 1410,
        }
    }

    fn measured(beside: &Beside) -> Vec<Option<u64>> {
        let bytes = |phase: &Phase| phase.measured.map(|measured| measured.bytes);
        beside.phases.iter().map(bytes).collect()
    }

    #[test]
    fn phases_are_read_off_the_levels() {
        // Python, the weights streaming in, a pause, the prompt, decoding, the end.
        let samples = readings(&[
            (20, 1),
            (100, 12),
            (400, 1),
            (700, 1),
            (1100, 8),
            (1300, 3),
            (1500, 2),
            (1310, 20),
            (500, 1),
            (5, 1),
        ]);
        let beside = Beside::of(expected(), &samples);
        assert_eq!(beside.before_bytes, Some(100));
        let seen = [Some(1100), Some(1500), Some(1310), Some(1500)];
        assert_eq!(measured(&beside), seen);
        let off: Vec<f64> = beside.phases.iter().filter_map(|p| p.off_ratio).collect();
        assert!(off[0].abs() < 1e-9 && off[1].abs() < 1e-9, "{off:?}");
        assert!((off[2] - (1210.0 / 1200.0 - 1.0)).abs() < 1e-9, "{off:?}");
        let text = beside.text();
        assert!(text.contains("load") && text.contains("+0.8%"), "{text}");
    }

    #[test]
    fn phases_that_do_not_show_are_not_made_up() {
        // The weights come with the prompt, and the process ends at once.
        let samples = readings(&[(100, 12), (700, 1), (1500, 1), (5, 1)]);
        let beside = Beside::of(expected(), &samples);
        assert_eq!(measured(&beside), [None, None, None, Some(1500)]);
        assert_eq!(beside.before_bytes, None);
        assert!(beside.text().contains("not seen"), "{}", beside.text());
        let nothing = Beside::of(expected(), &[]);
        assert_eq!(measured(&nothing), [None; 4]);
        // Far less than planned is no load either.
        let small = Beside::of(expected(), &readings(&[(100, 12), (600, 12)]));
        assert_eq!(measured(&small), [None, None, None, Some(600)]);
    }

    #[test]
    fn weights_that_come_slowly_and_with_a_pause_are_one_load() {
        // Five seconds of growth, a pause of half a second at 400, five more.
        let mut stretches = vec![(100, 30)];
        stretches.extend((1..100).map(|step| (100 + step * 3, 1)));
        stretches.push((400, 10));
        stretches.extend((1..100).map(|step| (400 + step * 7, 1)));
        stretches.extend([(1100, 20), (1500, 3), (1300, 20)]);
        let beside = Beside::of(expected(), &readings(&stretches));
        assert!(
            beside
                .before_bytes
                .is_some_and(|bytes| bytes.abs_diff(100) < 8),
            "{beside:?}"
        );
        let seen = [Some(1100), Some(1500), Some(1300), Some(1500)];
        assert_eq!(measured(&beside), seen);
    }

    #[test]
    fn a_process_that_has_its_weights_already_shows_no_load_of_its_own() {
        let samples = readings(&[(1100, 12), (1500, 3), (1300, 20)]);
        let beside = Beside::of(expected(), &samples);
        assert_eq!(beside.before_bytes, None);
        let seen = [Some(1100), Some(1500), Some(1300), Some(1500)];
        assert_eq!(measured(&beside), seen);
    }

    #[test]
    fn a_level_is_as_long_as_it_can_be_and_slow_growth_is_none() {
        let slope: Vec<Moment> = readings(&[(0, 100)])
            .into_iter()
            .zip(0..)
            .map(|(moment, index)| Moment {
                bytes: index * 1000,
                ..moment
            })
            .collect();
        assert_eq!(levels(&slope), []);
        let flat = readings(&[(1000, 40)]);
        assert_eq!(levels(&flat).len(), 1);
    }

    #[test]
    fn the_document_reads_back() {
        let beside = Beside::of(expected(), &readings(&[(100, 12), (1100, 8)]));
        let text = serde_json::to_string(&beside).unwrap();
        assert_eq!(serde_json::from_str::<Beside>(&text).unwrap(), beside);
    }
}
