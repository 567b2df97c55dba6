//! `shvplan train` as it is run. `scripts/mlx-lora.sh` compares it with the real mlx_lm.lora.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::process::{Command, Output};

use serde_json::Value;

fn train(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .arg("train")
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = train(&[arguments, &["--format", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn number(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = train(arguments);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

const BASE: [&str; 4] = ["--model", "llama-3.1-8b", "--quant", "bf16"];

fn with(more: &[&str]) -> Value {
    json(&[&BASE[..], more].concat())
}

#[test]
fn trained_parameters_are_those_that_mlx_lm_printed() {
    // A public report has "Trainable parameters: 83.886M/8030.261M", which is rank 32 over all layers.
    let all = with(&["--layers", "-1", "--rank", "32"]);
    assert_eq!(number(&all, "trainable_parameters"), 83_886_080);
    // Twice the bytes in two moments, and counters of 12 bytes.
    assert_eq!(number(&all, "adapter_bytes"), 83_886_080 * 4);
    assert_eq!(number(&all, "optimizer_bytes"), 83_886_080 * 8 + 12);
}

#[test]
fn full_training_takes_every_parameter_of_its_layers() {
    let model: Value = serde_json::from_slice(
        &Command::new(env!("CARGO_BIN_EXE_shvplan"))
            .args(BASE)
            .args(["--format", "json"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    // Embedding, head and the last norm stay frozen.
    let frozen = 2 * 128_256 * 4096 + 4096;
    let all = with(&["--mode", "full", "--layers", "-1"]);
    assert_eq!(
        number(&all, "trainable_parameters"),
        model["model"]["parameters"].as_u64().unwrap() - frozen
    );
    assert_eq!(
        number(&all, "gradient_bytes"),
        2 * number(&all, "trainable_parameters")
    );
    let half = with(&["--mode", "full", "--layers", "16"]);
    assert_eq!(
        2 * number(&half, "trainable_parameters"),
        number(&all, "trainable_parameters")
    );
}

#[test]
fn more_of_anything_takes_no_less() {
    let peak = |more: &[&str]| number(&with(more), "peak_bytes");
    let base = peak(&[]);
    for more in [
        ["--layers", "20"],
        ["--rank", "16"],
        ["--batch", "5"],
        ["--sequence", "2304"],
        ["--mode", "dora"],
    ] {
        assert!(peak(&more) > base, "{more:?}");
    }
    assert!(peak(&["--grad-checkpoint"]) < base);
    let document = with(&[]);
    let [low, expected, high] =
        ["peak_low_bytes", "peak_bytes", "peak_high_bytes"].map(|f| number(&document, f));
    assert!(low < expected && expected < high);
}

#[test]
fn the_outcome_is_an_exit_code() {
    let small = [
        "--model",
        "qwen3-0.6b",
        "--quant",
        "int4",
        "--sequence",
        "512",
        "--batch",
        "1",
    ];
    assert_eq!(train(&small).status.code(), Some(0));
    let large = [&BASE[..], &["--mode", "full", "--machine", "m4-16gb"]].concat();
    let output = train(&large);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("DOES NOT FIT")
    );
}

#[test]
fn what_mlx_lm_refuses_is_refused_with_its_reason() {
    let told = |more: &[&str]| refusal(&[&BASE[..], more].concat());
    assert!(
        told(&["--layers", "33"])
            .contains("Requested to train 33 layers but the model only has 32 layers")
    );
    assert!(told(&["--layers", "-2"]).contains("-1 for all"));
    assert!(told(&["--keys", "self_attn.x_proj"]).contains("mlp.down_proj"));
    assert!(told(&["--mode", "full", "--keys", "mlp.down_proj"]).contains("--mode lora or dora"));
    assert!(
        refusal(&["--model", "qwen3-0.6b", "--quant", "int4", "--mode", "full"])
            .contains("no gradient wrt the quantized weights")
    );
    assert!(
        refusal(&["--model", "qwen3-30b-a3b", "--mode", "dora"])
            .contains("doesn't support DoRA yet")
    );
    assert!(
        refusal(&["--model", "qwen3-0.6b", "--quant", "int6", "--mode", "dora"]).contains("6 bits")
    );
}
