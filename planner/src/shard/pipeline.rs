//! A rank's part of a model that is split into stages of whole layers.
//!
//! Source: mlx-lm 0.32.2 `models/pipeline.py`, and `pipeline` of bailing_hybrid and kimi_k3. Embedding, last norm and output head stay on every rank.

use std::ops::Range;

use super::SplitError;
use super::rules::{self, Deal};
use crate::model::{CacheKind, FeedForward, LayerGroup, Mixer, Model, Order, Traits};
use crate::quant::Recipe;

/// The number of layers of each rank.
fn shares(model: &Model, deal: Deal, ranks: u64) -> Result<Vec<u64>, SplitError> {
    let count = model.layer_count;
    let even = |count: u64, more: &dyn Fn(u64) -> bool| -> Vec<u64> {
        (0..ranks)
            .map(|r| count / ranks + u64::from(more(r)))
            .collect()
    };
    let shares = match deal {
        Deal::LowRanks => even(count, &|r| r < count % ranks),
        Deal::HighRanks => even(count, &|r| ranks - 1 - r < count % ranks),
        Deal::Groups => {
            let size = first_latent(model).map_or(count, |layer| layer + 1);
            let (groups, rest) = (count / size, count % size);
            let mut shares = even(groups, &|r| r < groups % ranks);
            for share in &mut shares {
                *share *= size;
            }
            shares[0] += rest;
            shares
        }
    };
    if shares.contains(&0) {
        return Err(SplitError::Layers {
            layers: count,
            ranks,
        });
    }
    Ok(shares)
}

/// The first layer with latent attention, which ends the first group of bailing_hybrid.
fn first_latent(model: &Model) -> Option<u64> {
    let latent = |g: &&LayerGroup| g.mixers.iter().any(|m| matches!(m, Mixer::Latent { .. }));
    let layers = model.groups.iter().filter(latent).flat_map(|g| &g.layers);
    layers.min().map(|&layer| u64::from(layer))
}

/// The layers that `rank` runs: rank 0 has the last.
fn layers(shares: &[u64], rank: usize) -> Range<u64> {
    let start = shares[rank + 1..].iter().sum();
    start..start + shares[rank]
}

/// The model that `rank` of `ranks` holds, and the layers it runs.
pub(super) fn part(
    model: &Model,
    rank: u64,
    ranks: u64,
) -> Result<(Model, Range<u64>), SplitError> {
    let deal = rules::deal_of(model).ok_or(SplitError::NoPipeline {
        family: model.family,
    })?;
    let own = layers(&shares(model, deal, ranks)?, rank as usize);
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
    fn rank_0_has_the_last_layers() {
        let all: Vec<_> = (0..4).map(|rank| layers(&[8, 8, 7, 7], rank)).collect();
        assert_eq!(all, [22..30, 14..22, 7..14, 0..7]);
    }
}
