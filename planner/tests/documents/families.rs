//! docs/families.md: every architecture that is known, what its layers are, and on how many cases its bytes were
//! compared with mlx-lm's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use shvplan::model::{CacheKind, FeedForward, Flavour, Mixer, Model, families};
use shvplan::source::catalog::MODELS;

#[derive(Default)]
struct Row {
    class: BTreeSet<&'static str>,
    mixers: BTreeSet<&'static str>,
    feed_forward: BTreeSet<&'static str>,
    caches: BTreeSet<&'static str>,
    cases: u64,
}

pub(crate) fn text() -> String {
    let mut rows: BTreeMap<&str, Row> = families::known()
        .map(|name| (name, Row::default()))
        .collect();
    for entry in MODELS {
        note(&mut rows, &entry.description().unwrap(), 0);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    for file in files {
        let cases: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let quants = case["quant"].as_object().map_or(0, |q| q.len() as u64);
            let caches = case["cache"].as_array().map_or(0, |c| c.len() as u64);
            note(&mut rows, &case["config"], quants + caches);
        }
    }
    let total: u64 = rows.values().map(|row| row.cases).sum();
    let mut out = format!(
        "# Families\n\nEvery `model_type` that is known ({}), as mlx-lm 0.32.2 builds it. *Figures* counts the weights (by \
         quantization) and caches (by context, batch and KV quantization) that `cargo test` compares with mlx-lm's own bytes, {total} in \
         all; each must be equal. Anything else is unknown (exit 4). This page is generated: `SHV_DOCS=write cargo test -p shvplan \
         --test docs` writes it.\n\n| model_type | class | attention and mixers | feed-forward | caches | figures |\n|---|---|---|---|---|---:|\n",
        rows.len()
    );
    for (name, row) in rows {
        let list = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            out,
            "| `{name}` | {} | {} | {} | {} | {} |",
            list(&row.class),
            list(&row.mixers),
            list(&row.feed_forward),
            list(&row.caches),
            row.cases
        );
    }
    out
}

fn note(rows: &mut BTreeMap<&str, Row>, description: &Value, cases: u64) {
    let Some(row) = description["model_type"]
        .as_str()
        .and_then(|name| rows.get_mut(name))
    else {
        return;
    };
    let Ok(model) = families::build(description) else {
        return;
    };
    row.cases += cases;
    row.class.insert(model.family);
    describe(row, &model);
}

fn describe(row: &mut Row, model: &Model) {
    for group in &model.groups {
        row.mixers.extend(group.mixers.iter().map(mixer));
        row.feed_forward.insert(match group.feed_forward {
            FeedForward::None => "none",
            FeedForward::Dense { gated: true, .. } => "gated",
            FeedForward::Dense { gated: false, .. } => "two matrices",
            FeedForward::Experts { shared_ff: 0, .. } => "experts",
            FeedForward::Experts { .. } => "experts and a shared network",
        });
        row.caches
            .extend(group.caches.iter().map(|cache| match cache {
                CacheKind::Full { heads: 1, .. } => "full or latent (one head)",
                CacheKind::Full { .. } => "full",
                CacheKind::Rotating { .. } => "rotating",
                CacheKind::Chunked { .. } => "chunked",
                CacheKind::Tail { .. } => "tail",
                CacheKind::Groups { .. } => "grouped rows",
                CacheKind::State { .. } => "state",
            }));
    }
}

fn mixer(mixer: &Mixer) -> &'static str {
    match mixer {
        Mixer::Attention {
            flavour: Flavour::Sinks,
            ..
        } => "attention with sinks",
        Mixer::Attention {
            window: Some(_), ..
        } => "windowed attention",
        Mixer::Attention {
            heads, kv_heads, ..
        } if heads == kv_heads => "multi-head attention",
        Mixer::Attention { .. } => "grouped-query attention",
        Mixer::Latent { .. } => "latent attention",
        Mixer::Recurrent { .. } => "recurrence",
        Mixer::Convolution { .. } => "short convolution",
    }
}
