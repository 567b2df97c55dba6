//! A rank's part of a model that is split into stages of whole layers.
//!
//! Source: mlx-lm 0.32.2 `models/pipeline.py`: an even split, low ranks with a layer more where it does not divide;
//! rank 0 has the last layers. Embedding, last norm and output head stay on every rank.

use std::ops::Range;

use super::{SplitError, rules};
use crate::model::{CacheKind, FeedForward, LayerGroup, Model, Order, Traits};
use crate::quant::Recipe;

/// The layers that `rank` of `ranks` runs.
///
/// # Errors
/// When there are fewer layers than ranks.
pub fn layers(count: u64, rank: u64, ranks: u64) -> Result<Range<u64>, SplitError> {
    if count < ranks {
        return Err(SplitError::Layers {
            layers: count,
            ranks,
        });
    }
    let (base, extra) = (count / ranks, count % ranks);
    let share = |r: u64| base + u64::from(r < extra);
    let start = (rank + 1..ranks).map(share).sum();
    Ok(start..start + share(rank))
}

/// The model that `rank` of `ranks` holds, and the layers it runs.
pub(super) fn part(
    model: &Model,
    rank: u64,
    ranks: u64,
) -> Result<(Model, Range<u64>), SplitError> {
    if !rules::has_pipeline(model) {
        return Err(SplitError::NoPipeline {
            family: model.family,
        });
    }
    let own = layers(model.layer_count, rank, ranks)?;
    // A list beside the model's own stays whole.
    let main = model
        .groups
        .iter()
        .find(|g| !g.caches.is_empty())
        .map(|g| g.prefix.clone());
    let mut part = model.clone();
    let mut places = Vec::with_capacity(model.groups.len());
    part.groups.clear();
    part.traits.clear();
    for (group, traits) in model.groups.iter().zip(&model.traits) {
        let mut kept = group.clone();
        if Some(&group.prefix) == main.as_ref() {
            kept.layers.retain(|&l| own.contains(&u64::from(l)));
            kept.favoured = kept
                .layers
                .iter()
                .filter(|&&l| Recipe::favours(u64::from(l), model.layer_count))
                .count() as u64;
        }
        places.push((!kept.layers.is_empty()).then_some(part.groups.len()));
        if !kept.layers.is_empty() {
            part.groups.push(kept);
            part.traits.push(*traits);
        }
    }
    part.tensors.retain_mut(|tensor| match tensor.group {
        None => true,
        Some(group) => {
            tensor.group = places[group];
            tensor.group.is_some()
        }
    });
    if rank > 0 {
        hand_on(&mut part, own.end);
    }
    part.order = Order::of(&part.groups);
    Ok((part, own))
}

/// A stage that hands its result on computes its last layer whole, where a model's own last layer is read for its cache
/// alone: an empty layer behind it stands for the sending (`cache[-1].keys = mx.depends(cache[-1].keys, h)`).
fn hand_on(part: &mut Model, end: u64) {
    let Some(prefix) = part.groups.last().map(|g| g.prefix.clone()) else {
        return;
    };
    part.groups.push(LayerGroup {
        prefix,
        layers: vec![u32::try_from(end).unwrap_or(u32::MAX)],
        favoured: 0,
        mixers: Vec::new(),
        feed_forward: FeedForward::None,
        caches: vec![CacheKind::State {
            elements: 0,
            f32_elements: 0,
        }],
    });
    part.traits.push(Traits::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ranks_get_the_last_layers_and_one_more() {
        let all: Vec<_> = (0..4).map(|r| layers(30, r, 4).unwrap()).collect();
        assert_eq!(all, [22..30, 14..22, 7..14, 0..7]);
        assert!(layers(3, 0, 4).is_err());
    }
}
