//! The order of a model's layers, shortened to what decides its working set.
//!
//! What is alive at once spans a few layers only, so the last ones are played, and leading ones that differ; the rest
//! just hold their caches. Played whole, the public rows come to the same within 0.01 % in the median.

use super::LayerGroup;

/// Layers that are played at the end, at least.
const TAIL: usize = 8;
/// Layers that are played at the end, at most, where no pattern repeats sooner.
const TAIL_MAX: usize = 64;
/// Leading layers that are played because the end has none like them, at most.
const LEAD_MAX: usize = 4;

/// Which layers are played, as indices of groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// At the start.
    pub lead: Vec<u16>,
    /// At the end; the last of them that keeps something is the last one that a prompt needs.
    pub tail: Vec<u16>,
    /// Layers of each group that are not played.
    pub rest: Vec<u64>,
}

impl Order {
    /// Shortens the layers of `groups`.
    #[must_use]
    pub fn of(groups: &[LayerGroup]) -> Self {
        let all = sequence(groups);
        // A prompt needs nothing behind the last layer that keeps something.
        let n = all
            .iter()
            .rposition(|&g| !groups[usize::from(g)].caches.is_empty())
            .map_or(all.len(), |i| i + 1);
        let needed = &all[..n];
        let pattern = needed
            .last()
            .and_then(|last| needed[..n - 1].iter().rposition(|g| g == last))
            .map_or(n, |i| n - 1 - i);
        let played = n.min(TAIL.max(2 * pattern)).min(TAIL_MAX);
        let tail = &needed[n - played..];
        let lead = needed[..n - played]
            .iter()
            .take(LEAD_MAX)
            .take_while(|g| !tail.contains(g))
            .count();
        let mut rest = vec![0; groups.len()];
        for &group in &needed[lead..n - played] {
            rest[usize::from(group)] += 1;
        }
        Self {
            lead: needed[..lead].to_vec(),
            tail: tail.to_vec(),
            rest,
        }
    }
}

/// The group of every layer in order: lists of layers by their first group, layers by index.
fn sequence(groups: &[LayerGroup]) -> Vec<u16> {
    let mut all: Vec<(usize, u32, u16)> = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        let list = groups
            .iter()
            .position(|g| g.prefix == group.prefix)
            .unwrap_or(i);
        all.extend(group.layers.iter().map(|&layer| (list, layer, i as u16)));
    }
    all.sort_unstable();
    all.into_iter().map(|(_, _, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CacheKind, FeedForward};

    fn group(layers: Vec<u32>, keeps: bool) -> LayerGroup {
        LayerGroup {
            prefix: std::borrow::Cow::Borrowed("layers"),
            layers,
            favoured: 0,
            mixers: Vec::new(),
            feed_forward: FeedForward::None,
            caches: if keeps {
                vec![CacheKind::Full {
                    heads: 1,
                    k_dim: 1,
                    v_dim: 1,
                }]
            } else {
                Vec::new()
            },
        }
    }

    #[test]
    fn alike_layers_are_played_eight_times() {
        let order = Order::of(&[group((0..32).collect(), true)]);
        assert_eq!(
            (order.lead.len(), order.tail.len(), order.rest),
            (0, 8, vec![24])
        );
        let short = Order::of(&[group((0..3).collect(), true)]);
        assert_eq!((short.tail.len(), short.rest), (3, vec![0]));
    }

    #[test]
    fn leading_layers_that_differ_are_played_too() {
        let order = Order::of(&[
            group((0..3).collect(), true),
            group((3..61).collect(), true),
        ]);
        assert_eq!(
            (order.lead, order.tail.len(), order.rest),
            (vec![0, 0, 0], 8, vec![0, 50])
        );
    }

    #[test]
    fn a_pattern_is_played_twice_and_what_follows_the_last_cache_is_not() {
        let full: Vec<u32> = (0..30).filter(|i| i % 6 == 5).collect();
        let sliding: Vec<u32> = (0..30).filter(|i| i % 6 != 5).collect();
        let order = Order::of(&[
            group(sliding, true),
            group(full, true),
            group(vec![30, 31], false),
        ]);
        assert_eq!((order.tail.len(), *order.tail.last().unwrap()), (12, 1));
        assert_eq!(order.rest, vec![15, 3, 0]);
    }

    #[test]
    fn no_layers_are_no_order() {
        assert_eq!(Order::of(&[]), Order::default());
    }
}
