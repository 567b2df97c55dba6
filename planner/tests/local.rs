//! Models on disk as the program plans them: what their own tensors say goes before their config.json.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

#[path = "support/gguf_file.rs"]
mod gguf_file;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use gguf_file::GgufFile;
use serde_json::{Value, json};
use tempfile::TempDir;

const F32: u32 = 0;
const Q4_K: u32 = 12;
const Q6_K: u32 = 14;

fn shvplan(model: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvplan"));
    command
        .arg("--model")
        .arg(model)
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn report(model: &Path, arguments: &[&str]) -> Value {
    let output = shvplan(
        model,
        &[arguments, &["--format", "json", "--explain"]].concat(),
    );
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let lines = report["footprint"]["ledger"].as_array().unwrap();
    let sum: u64 = lines
        .iter()
        .map(|line| line["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(report["footprint"]["weights_bytes"], sum);
    report
}

fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "intermediate_size": 512,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    })
}

/// Weights of that model: path, rows, columns; 0 rows for a vector.
fn arrays() -> Vec<(String, u64, u64)> {
    let mut arrays = vec![
        ("model.embed_tokens.weight".to_owned(), 96, 256),
        ("lm_head.weight".to_owned(), 96, 256),
        ("model.norm.weight".to_owned(), 0, 256),
    ];
    for layer in 0..2 {
        for (module, rows, columns) in [
            ("self_attn.q_proj", 256, 256),
            ("self_attn.k_proj", 128, 256),
            ("self_attn.v_proj", 128, 256),
            ("self_attn.o_proj", 256, 256),
            ("mlp.gate_proj", 512, 256),
            ("mlp.up_proj", 512, 256),
            ("mlp.down_proj", 256, 512),
            ("input_layernorm", 0, 256),
            ("post_attention_layernorm", 0, 256),
        ] {
            arrays.push((
                format!("model.layers.{layer}.{module}.weight"),
                rows,
                columns,
            ));
        }
    }
    arrays
}

/// Adds a tensor's entry to a header, after what is there.
fn entry(
    header: &mut serde_json::Map<String, Value>,
    end: &mut u64,
    name: &str,
    dtype: &str,
    shape: &[u64],
) {
    let size = match dtype {
        "F32" | "U32" => 4,
        _ => 2,
    };
    let begin = *end;
    *end += shape.iter().product::<u64>() * size;
    header.insert(
        name.to_owned(),
        json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, *end]}),
    );
}

fn write(path: &Path, header: serde_json::Map<String, Value>, data_bytes: u64) {
    let header = Value::Object(header).to_string();
    fs::write(
        path,
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat(),
    )
    .unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(8 + header.len() as u64 + data_bytes).unwrap();
}

/// A directory with the model, packed to 4 bits but for the head at 8 and one projection left plain.
fn packed() -> (TempDir, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (path, rows, columns) in arrays() {
        let module = path.strip_suffix(".weight").unwrap();
        let bits = if module == "lm_head" { 8 } else { 4 };
        if rows == 0 {
            entry(&mut header, &mut end, &path, "F16", &[columns]);
        } else if module.ends_with("1.mlp.up_proj") {
            entry(&mut header, &mut end, &path, "F16", &[rows, columns]);
        } else {
            entry(
                &mut header,
                &mut end,
                &path,
                "U32",
                &[rows, columns * bits / 32],
            );
            for part in ["scales", "biases"] {
                entry(
                    &mut header,
                    &mut end,
                    &format!("{module}.{part}"),
                    "F16",
                    &[rows, columns / 64],
                );
            }
        }
    }
    write(&folder.path().join("model.safetensors"), header, end);
    fs::write(folder.path().join("config.json"), config().to_string()).unwrap();
    (folder, end)
}

#[test]
fn the_tensors_go_before_the_config() {
    let (folder, bytes) = packed();
    let stored = report(folder.path(), &[]);
    assert_eq!(stored["footprint"]["weights_bytes"], bytes);
    assert_eq!(stored["quantization"]["name"], "int4:g64");
    assert!(
        stored["model"].get("notes").is_none(),
        "{}",
        stored["model"]["notes"]
    );
    // A quantization that is named is planned on the type in the files, not on the config's.
    let asked = report(folder.path(), &["--quant", "int8"]);
    assert_eq!(asked["quantization"]["name"], "int8:g64");
    assert_ne!(asked["footprint"]["weights_bytes"], bytes);
    let config_alone = report(&folder.path().join("config.json"), &[]);
    assert_eq!(config_alone["quantization"]["name"], "bf16");
}

#[test]
fn differences_from_the_config_are_told() {
    let (folder, bytes) = packed();
    let mut config = config();
    config["num_hidden_layers"] = json!(1);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let output = shvplan(folder.path(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("21 tensors of") && text.contains("are no part of the model"),
        "{text}"
    );
    let notes = report(folder.path(), &[])["model"]["notes"].to_string();
    assert!(notes.contains("model.layers.1."), "{notes}");

    config["num_hidden_layers"] = json!(3);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let missing = report(folder.path(), &[]);
    let notes = missing["model"]["notes"].to_string();
    assert!(
        notes.contains("9 arrays of the model are not in the files"),
        "{notes}"
    );
    assert!(missing["footprint"]["weights_bytes"].as_u64().unwrap() > bytes);
}

#[test]
fn weights_alone_do_not_say_how_a_model_is_built() {
    let (folder, _) = packed();
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let output = shvplan(&folder.path().join("model.safetensors"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("model.safetensors: no config.json beside it"),
        "{told}"
    );
}

#[test]
fn org_and_name_resolve_without_the_network() {
    let (folder, bytes) = packed();
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("hub/models--org--tiny/snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder.path().join(name), snapshot.join(name)).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .args(["--model", "org/tiny", "--format", "json"])
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE")
        .env("HF_HOME", cache.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["model"]["name"], "org/tiny");
    assert_eq!(report["footprint"]["weights_bytes"], bytes);
}

/// The model as llama.cpp stores it: norms in F32, one projection at 6 bits, the rest at 4.
fn gguf(architecture: &str) -> GgufFile {
    let key = |name: &str| format!("{architecture}.{name}");
    let mut file = GgufFile::bare()
        .text("general.architecture", architecture)
        .u32(&key("block_count"), 2)
        .u32(&key("embedding_length"), 256)
        .u32(&key("feed_forward_length"), 512)
        .u32(&key("attention.head_count"), 4)
        .u32(&key("attention.head_count_kv"), 2)
        .u32(&key("context_length"), 2048);
    for (path, rows, columns) in arrays() {
        let mut name = path
            .replace("model.layers.", "blk.")
            .replace("self_attn.", "attn_")
            .replace("mlp.", "ffn_");
        for (from, to) in [
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("attn_o_proj", "attn_output"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("_proj", ""),
        ] {
            name = name.replace(from, to);
        }
        file = match rows {
            0 => file.tensor(&name, &[columns], F32, 4 * columns as usize),
            _ if name.contains("ffn_down") => file.tensor(
                &name,
                &[columns, rows],
                Q6_K,
                (rows * columns) as usize / 256 * 210,
            ),
            _ => file.tensor(
                &name,
                &[columns, rows],
                Q4_K,
                (rows * columns) as usize / 256 * 144,
            ),
        };
    }
    file
}

#[test]
fn a_gguf_file_is_planned_as_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny-Q4_K_M.gguf");
    fs::write(&path, gguf("llama").bytes()).unwrap();
    let stored = report(&path, &[]);
    let weights: u64 = arrays()
        .iter()
        .map(|(_, rows, columns)| rows * columns)
        .sum();
    let down = 2 * 256 * 512;
    let norms = 5 * 256 * 4;
    assert_eq!(
        stored["footprint"]["weights_bytes"],
        (weights - down) / 256 * 144 + down / 256 * 210 + norms
    );
    assert_eq!(stored["quantization"]["name"], "Q4_K");
    assert_eq!(stored["model"]["architecture"], "llama");
    assert_eq!(stored["model"]["max_context_tokens"], 2048);
    let notes = stored["model"]["notes"].to_string();
    assert!(notes.contains("mx.load would hold"), "{notes}");
    assert_eq!(
        stored["model"]["notes"].as_array().unwrap().len(),
        1,
        "{notes}"
    );

    // The same model, converted for MLX.
    let converted = report(&path, &["--quant", "int4"]);
    let config_path = folder.path().join("config.json");
    fs::write(&config_path, config().to_string()).unwrap();
    let expected = report(&config_path, &["--quant", "int4"]);
    assert_eq!(
        converted["footprint"]["weights_bytes"],
        expected["footprint"]["weights_bytes"]
    );
    assert_eq!(
        converted["footprint"]["cache_bytes"],
        expected["footprint"]["cache_bytes"]
    );
}

#[test]
fn an_architecture_without_a_rule_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, gguf("warpformer").bytes()).unwrap();
    let output = shvplan(&path, &[]);
    assert_eq!(output.status.code(), Some(4));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("GGUF warpformer"), "{told}");
}
