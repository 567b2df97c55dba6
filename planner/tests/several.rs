//! Several models on one machine, as they are planned from the command line.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn shvplan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = shvplan(&[arguments, &["--format", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn refusal(arguments: &[&str]) -> String {
    let output = shvplan(arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    told
}

fn file(name: &str, text: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("several");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn sum(document: &Value, field: &str) -> u64 {
    let models = document["models"].as_array().unwrap();
    models.iter().map(|m| number(&m[field])).sum()
}

const PAIR: [&str; 6] = [
    "--model",
    "qwen3-8b",
    "--quant",
    "int4",
    "--with",
    "llama-3.1-8b@int8",
];

#[test]
fn weights_and_caches_add_up_and_peaks_do_where_all_work_at_once() {
    let both = json(&PAIR);
    let alone = |model: &str, quant: &str| json(&["--model", model, "--quant", quant]);
    let (a, b) = (alone("qwen3-8b", "int4"), alone("llama-3.1-8b", "int8"));
    for field in ["weights_bytes", "cache_bytes"] {
        let expected = number(&a["footprint"][field]) + number(&b["footprint"][field]);
        assert_eq!(sum(&both, field), expected, "{field}");
    }
    let peaks = number(&a["footprint"]["peak_bytes"]) + number(&b["footprint"]["peak_bytes"]);
    assert_eq!(number(&both["peak_all_at_once"]["bytes"]), peaks);
    assert_eq!(both["decided_by"], "all_at_once");
    let turns = number(&both["peak_taking_turns"]["bytes"]);
    let resident = sum(&both, "weights_bytes") + sum(&both, "cache_bytes");
    assert!(resident < turns && turns < peaks);
    assert!(
        both["peak_while"]["phase"]
            .as_str()
            .unwrap()
            .starts_with("prefilling")
    );
}

#[test]
fn the_outcome_is_an_exit_code_and_turns_can_decide() {
    let code = |more: &[&str]| shvplan(&[&PAIR[..], more].concat()).status.code();
    assert_eq!(code(&["--machine", "m4-pro-48gb"]), Some(0));
    assert_eq!(code(&["--machine", "m4-16gb"]), Some(1));
    let document = json(&[&PAIR[..], &["--turns"]].concat());
    assert_eq!(document["decided_by"], "taking_turns");
}

#[test]
fn a_draft_shares_its_targets_moments_and_prompts() {
    let flags = [
        "--model",
        "qwen3-8b",
        "--quant",
        "int4",
        "--draft",
        "qwen3-0.6b@int4",
    ];
    let document = json(&flags);
    assert_eq!(document["models"][1]["role"], "draft");
    // They never work at the same moment.
    assert_eq!(document["peak_all_at_once"], document["peak_taking_turns"]);
    let kept = json(&[&flags[..], &["--prompt-caches", "10"]].concat());
    assert_eq!(
        number(&kept["models"][0]["prompt_cache_bytes"]),
        10 * sum(&document, "cache_bytes")
    );
    // The server looks at the limit only where it batches, and with a draft it does not.
    let limited = [&flags[..], &["--prompt-cache-bytes", "1GiB"]].concat();
    assert_eq!(
        json(&limited)["models"][0]["prompt_cache_bytes"],
        kept["models"][0]["prompt_cache_bytes"]
    );
    assert!(
        refusal(&[&flags[..], &["--concurrency", "2"]].concat()).contains("one request at a time")
    );
    assert!(
        refusal(&["--model", "mamba2-2.7b", "--draft", "qwen3-0.6b"]).contains("trimmable"),
        "a state cannot be cut back"
    );
}

#[test]
fn kept_prompts_are_bounded_by_count_and_bytes() {
    let flags = [
        "--model",
        "qwen3-8b",
        "--quant",
        "int4",
        "--concurrency",
        "4",
    ];
    let each = number(&json(&flags)["footprint"]["cache_bytes"]) / 4;
    let kept = |more: &[&str]| {
        number(&json(&[&flags[..], more].concat())["models"][0]["prompt_cache_bytes"])
    };
    assert_eq!(kept(&["--prompt-caches", "3"]), 3 * each);
    assert_eq!(kept(&["--prompt-cache-bytes", "1GiB"]), 1 << 30);
    assert_eq!(kept(&["--prompt-cache-bytes", "1TiB"]), 10 * each);
}

#[test]
fn a_file_names_models_adapters_and_embedders() {
    let plan = file(
        "plan.yaml",
        "turns: true\nmodels:\n  - {name: chat, model: qwen3-8b, quant: int4, context: 16384, concurrency: 2, prompt_cache_bytes: 4GiB, adapter: {rank: 8, layers: 16}}\n  - {name: search, model: qwen3-0.6b, quant: int8, context: 512, embedder: true}\n",
    );
    let document = json(&["--plan", &plan]);
    let (chat, search) = (&document["models"][0], &document["models"][1]);
    assert_eq!(chat["context_tokens"], 16_384);
    assert_eq!(chat["concurrency"], 2);
    // Rank 8 over the seven matrices of 16 layers, four bytes an element.
    let widths = [
        (4096, 4096),
        (4096, 1024),
        (4096, 1024),
        (4096, 4096),
        (4096, 12_288),
        (4096, 12_288),
        (12_288, 4096),
    ];
    let elements: u64 = widths.iter().map(|(i, o)| 8 * (i + o)).sum();
    assert_eq!(number(&chat["adapter_bytes"]), 16 * elements * 4);
    assert_eq!(
        (number(&search["cache_bytes"]), search["role"].as_str()),
        (0, Some("embedder"))
    );
    assert_eq!(document["decided_by"], "taking_turns");
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let bad = |text: &str| refusal(&["--plan", &file("bad.yaml", text)]);
    assert!(bad("models: []").contains("from 1 to 64"));
    assert!(bad("models: [{name: a, model: 7b, ctx: 1}]").contains("unknown field `ctx`"));
    assert!(
        bad("models: [{name: a, model: 7b}, {name: a, model: 7b}]").contains("stands there twice")
    );
    assert!(bad("models: [{name: a, model: 7b, context: 0}]").contains("field 'context': 0"));
    assert!(
        bad("models: [{name: a, model: 7b, embedder: true, draft: 7b}]").contains("field 'draft'")
    );
    assert!(
        bad("models: [{name: a, model: 7b, prompt_cache_bytes: lots}]")
            .contains("field 'prompt_cache_bytes'")
    );
    assert!(
        bad("models: [{name: a, model: 7b, adapter: {rank: 8, keys: [self_attn.x_proj]}}]")
            .contains("self_attn.q_proj")
    );
    assert!(refusal(&[&PAIR[..], &["--explain"]].concat()).contains("for one model"));
    assert!(refusal(&["--model", "7b", "--with", "7b@int9"]).contains("int9"));
}
