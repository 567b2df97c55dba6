//! Weights and caches of many small configurations against what mlx-lm itself allocates for them
//! (`exact/README.md` says how the figures are made).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where its data is not as expected"
)]

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use shvplan::cache::{self, KvQuant, Workload};
use shvplan::model::{Model, families};
use shvplan::quant::{Quant, Scheme};
use shvplan::weights;

/// What is wrong with a case, one line a figure; empty where everything is exact.
fn differences(case: &Value) -> String {
    let mut wrong = String::new();
    let built = families::build(&case["config"]);
    if let Some(error) = case["error"].as_str() {
        if let Ok(model) = built {
            let _ = writeln!(wrong, "{} built, but mlx-lm: {error}", model.parameters());
        }
        return wrong;
    }
    let model = match built {
        Ok(model) => model,
        Err(error) => return format!("not built: {error}\n"),
    };
    if Some(model.parameters()) != case["parameters"].as_u64() {
        let _ = writeln!(
            wrong,
            "parameters: expected {}, got {}",
            case["parameters"],
            model.parameters()
        );
    }
    for (name, expected) in case["quant"].as_object().unwrap() {
        let quant: Quant = name.parse().unwrap();
        let scheme = Scheme::new(model.dtype, quant);
        let got = weights::total_bytes(&model, &scheme);
        if got.as_ref().ok().copied() != expected.as_u64() {
            let _ = writeln!(wrong, "{name}: expected {expected}, got {got:?}");
        }
        let listed = weights::ledger(&model, &scheme)
            .map(|lines| lines.iter().map(|line| line.bytes).sum::<u64>());
        assert_eq!(listed, got, "the ledger sums to the total");
    }
    for row in case["cache"].as_array().unwrap() {
        let got = cached(&model, row);
        let bytes = row["bytes"].as_u64();
        let expected = bytes.map(|bytes| (bytes, row["peak"].as_u64().unwrap_or(bytes)));
        if got.as_ref().ok().copied() != expected {
            let _ = writeln!(wrong, "{row}: got {got:?}");
        }
    }
    wrong
}

/// Bytes at rest and at most.
fn cached(model: &Model, row: &Value) -> Result<(u64, u64), cache::CacheError> {
    let kv_quant = row["kv"].as_str().map(|kv| {
        let (bits, group) = kv.split_once(':').unwrap();
        KvQuant {
            bits: bits.parse().unwrap(),
            group_size: group.parse().unwrap(),
            start_tokens: 0,
        }
    });
    let work = Workload {
        context_tokens: row["context"].as_u64().unwrap(),
        concurrency: row["concurrency"].as_u64().unwrap(),
        kv_quant,
        ..Workload::default()
    };
    cache::check(model, &work)?;
    Ok((
        cache::bytes_at_rest(model, &work, model.dtype),
        cache::peak_bytes(model, &work, model.dtype),
    ))
}

#[test]
fn figures_equal_what_mlx_lm_allocates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact");
    let only = std::env::var("EXACT").ok();
    let (mut cases, mut wrong) = (0, String::new());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    for path in files {
        let family = path.file_stem().unwrap().to_string_lossy();
        if only.as_deref().is_some_and(|only| only != family) {
            continue;
        }
        let list: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in &list {
            cases += 1;
            for line in differences(case).lines() {
                let _ = writeln!(wrong, "{family} {}: {line}", case["name"]);
            }
        }
    }
    assert!(cases > 0, "no case was found");
    assert!(wrong.is_empty(), "of {cases} cases:\n{wrong}");
}
