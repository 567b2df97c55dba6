//! The largest workloads that fit, found by search over the function that gives the peak.

use super::{Largest, Request};
use crate::budget::Ceiling;
use crate::cache::{self, Workload};
use crate::timeline::Peaks;
use crate::verdict::{self, Most};

/// The longest context that is searched for; no cache of a longer one fits any machine.
pub const CONTEXT_MAX: u64 = 1 << 30;
/// The most sequences that are searched for.
pub const CONCURRENCY_MAX: u64 = 1 << 20;

/// Limits that were found. The largest context does not depend on the context asked for, nor the largest concurrency on
/// the concurrency.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What a peak may come to, sequences, and the largest context.
    context: Option<((Most, u64), u64)>,
    /// What a peak may come to, tokens, and the most sequences.
    concurrency: Option<((Most, u64), u64)>,
}

impl Known {
    /// The largest context at the concurrency asked for, and the largest concurrency at the context asked for.
    pub(super) fn largest(
        &mut self,
        request: &Request<'_>,
        weights_bytes: u64,
        ceilings: &[Ceiling],
        peaks: &mut Peaks<'_>,
    ) -> Largest {
        let most = verdict::most_that_fits(weights_bytes, ceilings, request.margin_bytes);
        let Workload {
            context_tokens,
            concurrency,
            ..
        } = request.workload;
        // What mlx-lm refuses to quantize runs below the length at which it would be quantized.
        let runs = |tokens: u64| {
            let workload = Workload {
                context_tokens: tokens,
                ..request.workload
            };
            cache::check(request.model, &workload).is_ok()
        };
        Largest {
            context_tokens: found(&mut self.context, (most, concurrency), || {
                last_with_room(CONTEXT_MAX, context_tokens, |n| {
                    let room = most.room_bytes(peaks.estimate(n, concurrency));
                    if room >= 0 && !runs(n) { -1 } else { room }
                })
            }),
            concurrency: found(&mut self.concurrency, (most, context_tokens), || {
                last_with_room(CONCURRENCY_MAX, concurrency, |n| {
                    most.room_bytes(peaks.estimate(context_tokens, n))
                })
            }),
        }
    }
}

/// The answer that is known for `key`, or else found and kept.
fn found<K: PartialEq>(known: &mut Option<(K, u64)>, key: K, find: impl FnOnce() -> u64) -> u64 {
    match known {
        Some((of, answer)) if *of == key => *answer,
        _ => known.insert((key, find())).1,
    }
}

/// The largest n in 1..=most that has room, where room never grows with n; 0 if none has.
///
/// The search goes out from `near` by doubling, so that what is looked at stays near the answer. Between, room is
/// close to a straight line, so every other look is where the line meets nothing; the others halve what is left.
fn last_with_room(most: u64, near: u64, mut room: impl FnMut(u64) -> i64) -> u64 {
    let near = near.clamp(1, most);
    let first = room(near);
    // (n, its room): with room, and the first known without.
    let (mut low, mut high);
    if first >= 0 {
        low = (near, first);
        loop {
            if low.0 == most {
                return most;
            }
            let next = low.0.saturating_mul(2).min(most);
            let left = room(next);
            if left < 0 {
                high = (next, left);
                break;
            }
            low = (next, left);
        }
    } else {
        high = (near, first);
        loop {
            let next = high.0 / 2;
            if next == 0 {
                return 0;
            }
            let left = room(next);
            if left >= 0 {
                low = (next, left);
                break;
            }
            high = (next, left);
        }
    }
    let mut halve = false;
    while low.0 + 1 < high.0 {
        let span = high.0 - low.0;
        let at = if halve {
            low.0 + span / 2
        } else {
            let share = low.1 as f64 / (low.1 as f64 - high.1 as f64);
            low.0 + ((span as f64 * share) as u64).clamp(1, span - 1)
        };
        halve = !halve;
        let left = room(at);
        if left >= 0 {
            low = (at, left);
        } else {
            high = (at, left);
        }
    }
    low.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_exact_from_wherever_it_starts() {
        for want in [0_u64, 1, 2, 3, 7, 100, 1000, 1023, 1024] {
            for near in [1, 2, 5, 100, 999, 1024, 5000] {
                let straight = |n: u64| i64::try_from(want).unwrap() - i64::try_from(n).unwrap();
                let stairs = |n: u64| straight(n).div_euclid(256) * 1_000_000_000;
                let cliff = |n: u64| if n <= want { i64::MAX } else { i64::MIN };
                assert_eq!(last_with_room(1024, near, straight), want, "{near}");
                assert_eq!(last_with_room(1024, near, stairs), want, "{near}");
                assert_eq!(last_with_room(1024, near, cliff), want, "{near}");
            }
        }
    }

    #[test]
    fn few_looks_are_enough_where_room_is_nearly_straight() {
        let mut looks = 0;
        let found = last_with_room(CONTEXT_MAX, 4096, |n| {
            looks += 1;
            30_000_000_000 - i64::try_from(n.div_ceil(256)).unwrap() * 256 * 147_456
        });
        assert_eq!(found, 30_000_000_000 / 147_456 / 256 * 256);
        assert!(looks <= 24, "{looks}");
    }
}
