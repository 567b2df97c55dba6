//! Every field of every exact case, one at a time, with values that no model has: the model is built or refused, but
//! nothing panics, overflows or hangs.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop where its data is not as expected"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shvplan::budget::{self, Backend, Limits};
use shvplan::cache::{self, KvQuant, Workload};
use shvplan::model::{Model, families};
use shvplan::plan::{CONTEXT_MAX, Request};
use shvplan::quant::{Quant, Scheme};
use shvplan::weights;

fn hostile() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(8192),
        json!(1_u64 << 40),
        json!(u64::MAX),
        json!(0.5),
        json!(1e300),
        json!("x"),
        json!([]),
        json!(["x", -1, null]),
        json!(vec![7; 40]),
        json!({}),
        json!({"type": 3, "no_op": "x"}),
    ]
}

/// Paths to every value inside, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                places(inner, &place, found);
                found.push(place);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate().take(4) {
                let place = format!("{at}/{index}");
                places(inner, &place, found);
                found.push(place);
            }
        }
        _ => {}
    }
}

/// Plans it for one token and for the longest context.
fn plan_all(model: &Model, scheme: &Scheme) {
    let machine = budget::find(budget::default_name()).unwrap();
    for context_tokens in [1, CONTEXT_MAX] {
        let request = Request {
            model,
            scheme,
            workload: Workload {
                context_tokens,
                ..Workload::default()
            },
            machine: &machine,
            backend: Backend::Metal,
            limits: Limits::default(),
            margin_bytes: 0,
        };
        if let Ok(plan) = request.plan() {
            let footprint = plan.footprint;
            let least = footprint
                .weights_bytes
                .saturating_add(footprint.cache_bytes);
            assert!(footprint.peak.bytes.expected >= least);
        }
    }
}

/// Builds it and computes every figure; what is wrong with it is told as an error.
fn use_all(config: &Value) {
    let Ok(model) = families::build(config) else {
        return;
    };
    for name in ["fp32", "int4:g64", "mxfp4", "mixed_3_6"] {
        let quant: Quant = name.parse().unwrap();
        let scheme = Scheme::new(model.dtype, quant);
        let total = weights::total_bytes(&model, &scheme);
        assert_eq!(
            weights::ledger(&model, &scheme)
                .map(|lines| lines.iter().map(|line| line.bytes).sum::<u64>()),
            total
        );
        if name == "int4:g64" {
            plan_all(&model, &scheme);
        }
    }
    for kv_quant in [
        None,
        Some(KvQuant {
            bits: 8,
            group_size: 64,
            start_tokens: 0,
        }),
    ] {
        let work = Workload {
            kv_quant,
            ..Workload::default()
        };
        if cache::check(&model, &work).is_ok() {
            let _ = cache::peak_bytes(&model, &work, model.dtype);
        }
    }
    let _ = (model.parameters(), model.active_parameters());
}

#[test]
fn no_field_breaks_a_family() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exact");
    let mut tried = 0_u64;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in &cases {
            let mut found = Vec::new();
            places(&case["config"], "", &mut found);
            for place in found {
                for value in hostile() {
                    let mut config = case["config"].clone();
                    *config.pointer_mut(&place).unwrap() = value;
                    let begun = Instant::now();
                    use_all(&config);
                    assert!(
                        begun.elapsed() < Duration::from_secs(1),
                        "{place} of {config} took over a second"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 10_000, "only {tried} configurations were tried");
}
