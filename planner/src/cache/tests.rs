//! Caches against mlx-lm's own rules, taken step by step.

use super::*;

/// The cache's growth rule of mlx-lm, token counts only, step by step.
fn full_by_steps(tokens: u64, step: u64) -> u64 {
    let (mut room, mut offset) = (0_u64, 0_u64);
    let mut add = |n: u64| {
        if offset + n > room {
            if offset % STEP != 0 {
                room = offset;
            }
            room += n.div_ceil(STEP) * STEP;
        }
        offset += n;
    };
    let mut left = tokens;
    while left > 1 {
        let n = step.min(left - 1);
        add(n);
        left -= n;
    }
    add(1);
    room
}

fn rotating_by_steps(tokens: u64, step: u64, window: u64) -> (u64, u64) {
    let (mut len, mut offset, mut most) = (0_u64, 0_u64, 0_u64);
    let mut add = |n: u64| {
        if n == 1 {
            if offset >= len && len < window {
                len += STEP.min(window - offset);
            }
            len = len.min(window);
        } else {
            len = len.min(window - 1).min(offset) + n;
        }
        offset += n;
        most = most.max(len);
        len
    };
    let mut left = tokens;
    while left > 1 {
        let n = step.min(left - 1);
        add(n);
        left -= n;
    }
    (add(1), most)
}

#[test]
fn room_equals_the_rule_applied_step_by_step() {
    for step in [1, 2, 7, 100, 256, 300, 512, 1000, 2048] {
        for tokens in [
            1, 2, 3, 255, 256, 257, 258, 1000, 2048, 2049, 2050, 4097, 10_001,
        ] {
            assert_eq!(
                full_room(tokens, step, true),
                full_by_steps(tokens, step),
                "full {tokens} by {step}"
            );
            for window in [128, 300, 512, 4096] {
                let work = Workload {
                    context_tokens: tokens,
                    prefill_step_tokens: step,
                    ..Workload::default()
                };
                let kind = CacheKind::Rotating {
                    heads: 1,
                    k_dim: 1,
                    v_dim: 0,
                    window,
                };
                let (rest, most) = rotating_by_steps(tokens, step, window);
                assert_eq!(
                    kind.room_tokens(&work, Moment::Rest),
                    rest,
                    "rotating {tokens} by {step} window {window}"
                );
                let found = work.moments().map(|m| kind.room_tokens(&work, m)).max();
                assert_eq!(
                    found,
                    Some(most),
                    "rotating peak {tokens} by {step} window {window}"
                );
            }
        }
    }
}

#[test]
fn a_chunked_cache_stays_near_its_chunk() {
    assert_eq!(chunked_room(2048, 2048, 8192, true), 2048);
    assert_eq!(
        chunked_room(1_000_001, 2048, 8192, false),
        chunked_room(1_000_001 - 2048, 2048, 8192, false)
    );
    assert!(chunked_room(1_000_000, 2048, 8192, true) <= 8192 + 2048);
}
