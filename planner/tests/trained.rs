//! What fine-tuning trains, against mlx-lm's own tuner (`train/generate.py`).

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop where its data is not as expected"
)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use shvplan::budget::Backend;
use shvplan::model::families;
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::training::{Adapter, Method, Optimizer, Training, TrainingError};

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn training(mode: &str, layers: Option<u64>) -> Training {
    Training {
        method: if mode == "full" {
            Method::Full(layers)
        } else {
            Method::Adapter(Adapter {
                rank: 8,
                layers,
                keys: Vec::new(),
                dora: mode == "dora",
            })
        },
        optimizer: Optimizer::Adam,
        batch: 1,
        sequence_tokens: 32,
        grad_checkpoint: false,
    }
}

#[test]
fn what_is_trained_is_what_mlx_lm_trains() {
    let mut files: BTreeMap<String, Value> = BTreeMap::new();
    let (mut exact, mut refused, mut wrong) = (0, 0, Vec::new());
    for row in read("train/expected.json").as_array().unwrap() {
        let source = format!("exact/{}", row["source"].as_str().unwrap());
        let cases = files
            .entry(source.clone())
            .or_insert_with(|| read(&source))
            .as_array()
            .unwrap();
        let case = cases
            .iter()
            .find(|c| c["name"] == row["name"] && c["config"]["model_type"] == row["model_type"])
            .unwrap_or_else(|| panic!("{source}: no case {}", row["name"]));
        let model = families::build(&case["config"]).unwrap();
        let scheme = Scheme::new(Dtype::Bf16, Quant::Plain(Dtype::Bf16));
        for mode in ["lora", "dora", "full"] {
            for (layers, field) in [(None, format!("{mode} -1")), (Some(1), format!("{mode} 1"))] {
                let label = format!("{source} {} {field}", row["name"]);
                let got = training(mode, layers)
                    .footprint(&model, &scheme, Backend::Cpu)
                    .map(|f| (f.trainable_parameters, f.gradient_bytes));
                let expected = row[&field]
                    .as_array()
                    .map(|a| (a[0].as_u64().unwrap(), a[1].as_u64().unwrap()));
                match (expected, &got) {
                    (Some(expected), Ok(got)) if expected == *got => exact += 1,
                    (None | Some((0, _)), Err(_)) | (_, Err(TrainingError::Unknown { .. })) => {
                        refused += 1;
                    }
                    _ => wrong.push(format!("{label}: expected {}, got {got:?}", row[&field])),
                }
            }
        }
    }
    println!("{exact} exact, {refused} refused");
    assert!(
        wrong.is_empty(),
        "{exact} exact, {refused} refused, {} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(exact > 1_500 && refused > 100);
}
