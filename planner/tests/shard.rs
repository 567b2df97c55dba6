//! What each rank of a split model holds, against mlx-lm's own `shard` and `pipeline` (`shard/generate.py`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where its data is not as expected"
)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use shvplan::cache::{self, Workload};
use shvplan::model::{Model, families};
use shvplan::quant::{Quant, Scheme};
use shvplan::shard::{self, Mode, SplitError};
use shvplan::weights;

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn each_rank(
    model: &Model,
    scheme: &Scheme,
    mode: Mode,
    ranks: u64,
    of: impl Fn(&Model) -> u64,
) -> Result<Vec<u64>, SplitError> {
    (0..ranks)
        .map(|rank| Ok(of(&shard::part(model, scheme, mode, rank, ranks)?.model)))
        .collect()
}

fn numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(Value::as_u64).collect()
}

#[test]
fn each_rank_holds_what_mlx_lm_gives_it() {
    let mut configs: BTreeMap<String, Value> = BTreeMap::new();
    let (mut exact, mut refused, mut wrong) = (0, 0, Vec::new());
    for row in read("shard/expected.json").as_array().unwrap() {
        let source = row["source"].as_str().unwrap();
        let file = configs
            .entry(source.to_owned())
            .or_insert_with(|| read(source));
        let case = file
            .as_array()
            .unwrap()
            .iter()
            .find(|case| {
                case["name"] == row["name"] && case["config"]["model_type"] == row["model_type"]
            })
            .unwrap_or_else(|| panic!("{source}: no case {}", row["name"]));
        let model = families::build(&case["config"]).unwrap();
        let (mode, ranks) = (
            if row["mode"] == "tensor" {
                Mode::Tensor
            } else {
                Mode::Pipeline
            },
            row["ranks"].as_u64().unwrap(),
        );
        let label = format!("{} {} {} × {ranks}", source, row["name"], mode.name());
        let plain = Scheme::new(model.dtype, Quant::Plain(shvplan::quant::Dtype::Bf16));
        let Some(quants) = row["weights"].as_object() else {
            let got = shard::part(&model, &plain, mode, 0, ranks);
            if !matches!(
                got,
                Err(SplitError::NoPipeline { .. } | SplitError::NoTensor { .. })
            ) {
                wrong.push(format!("{label}: mlx-lm cannot split the class"));
            }
            refused += 1;
            continue;
        };
        // What fails when the model runs is refused too, but for what this machine's MLX or the stand-in for the group
        // cannot run, and a stage of deepseek_v41 that is handed single precision, which a checkpoint need not have.
        let runs = row["cache_300_tokens"].as_str().is_none_or(|why| {
            ["Metal", "singleton", "next pipeline stage expects"]
                .iter()
                .any(|part| why.contains(part))
        });
        for (name, expected) in quants {
            let scheme = Scheme::new(model.dtype, name.parse::<Quant>().unwrap());
            let got = each_rank(&model, &scheme, mode, ranks, |part| {
                weights::total_bytes(part, &scheme).unwrap()
            });
            match (&got, numbers(expected).filter(|_| runs)) {
                (Ok(bytes), Some(expected)) if *bytes == expected => exact += 1,
                (Err(_), None) => refused += 1,
                // The class cuts the number of groups down where it does not divide, which no kernel can run.
                (Err(SplitError::Groups { .. }), Some(_)) if model.family == "muse_spark" => {
                    refused += 1;
                }
                (got, _) => wrong.push(format!("{label} {name}: expected {expected}, got {got:?}")),
            }
        }
        if let Some(expected) = numbers(&row["cache_300_tokens"]) {
            let workload = Workload {
                context_tokens: 300,
                ..Workload::default()
            };
            let got = each_rank(&model, &plain, mode, ranks, |part| {
                cache::bytes_at_rest(part, &workload, plain.dtype)
            });
            if got.as_ref().ok() == Some(&expected) {
                exact += 1;
            } else {
                wrong.push(format!("{label} cache: expected {expected:?}, got {got:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{exact} exact, {refused} refused, {} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{exact} exact, {refused} refused");
    assert!(
        exact > 1_000 && refused > 900,
        "{exact} exact, {refused} refused"
    );
}
