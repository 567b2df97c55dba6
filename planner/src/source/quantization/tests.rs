#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use serde_json::{Value, json};

use super::declared;
use crate::model::families;
use crate::quant::Scheme;
use crate::source::catalog;
use crate::weights;

fn llama(quantization: &Value) -> Value {
    let mut config = json!({
        "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "intermediate_size": 512,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "torch_dtype": "float16",
    });
    for (field, value) in quantization.as_object().unwrap() {
        config[field] = value.clone();
    }
    config
}

fn scheme(quantization: &Value) -> Option<Scheme> {
    let config = llama(quantization);
    declared(&families::build(&config).unwrap(), &config).unwrap()
}

fn refusal(quantization: &Value) -> String {
    let config = llama(quantization);
    declared(&families::build(&config).unwrap(), &config)
        .unwrap_err()
        .to_string()
}

/// Bytes by the last part of a path's module.
fn stored(quantization: &Value, path: &str) -> String {
    let config = llama(quantization);
    let model = families::build(&config).unwrap();
    let lines = weights::ledger(&model, &declared(&model, &config).unwrap().unwrap()).unwrap();
    let forms: Vec<String> = lines
        .iter()
        .filter(|line| line.path.contains(path))
        .map(|line| format!("{} {}", line.count, line.stored))
        .collect();
    forms.join(", ")
}

#[test]
fn mlx_says_it_by_path() {
    assert!(scheme(&json!({})).is_none());
    let own = json!({"quantization": {
        "group_size": 64, "bits": 4, "lm_head": false, "model.embed_tokens": true,
        "model.layers.1.mlp.up_proj": {"group_size": 32, "bits": 8},
    }});
    assert_eq!(scheme(&own).unwrap().quant.to_string(), "int4:g64");
    assert_eq!(stored(&own, "lm_head"), "1 fp16");
    assert_eq!(stored(&own, "embed_tokens"), "1 int4:g64");
    assert_eq!(stored(&own, "up_proj"), "1 int4:g64, 1 int8:g32");
    // As rwkv7 is saved: what is left out is the mode's own, whatever the rest of the model has.
    let short = json!({"quantization": {
        "group_size": 128, "bits": 4, "lm_head": {"bits": 8}, "model.embed_tokens": {"mode": "mxfp4"},
    }});
    assert_eq!(stored(&short, "lm_head"), "1 int8:g64");
    assert_eq!(stored(&short, "embed_tokens"), "1 mxfp4");
    let mode = json!({"quantization": {"group_size": 16, "bits": 4, "mode": "nvfp4"}});
    assert_eq!(scheme(&mode).unwrap().quant.to_string(), "nvfp4");
}

#[test]
fn other_libraries_leave_embeddings_and_what_they_name() {
    let awq = json!({"quantization_config": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["o_proj"]
    }});
    assert_eq!(scheme(&awq).unwrap().quant.to_string(), "int4:g128");
    assert_eq!(stored(&awq, "embed_tokens"), "1 fp16");
    assert_eq!(stored(&awq, "lm_head"), "1 fp16");
    assert_eq!(stored(&awq, "o_proj"), "2 fp16");
    assert_eq!(stored(&awq, "q_proj"), "2 int4:g128");
    for (config, name) in [
        (
            json!({"quant_method": "gptq", "bits": 4}),
            Some("int4:g128"),
        ),
        (json!({"quant_method": "mxfp4"}), Some("mxfp4")),
        (
            json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}),
            Some("int4:g32"),
        ),
        (
            json!({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}),
            Some("nvfp4"),
        ),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            Some("nvfp4"),
        ),
        (
            json!({"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}),
            Some("nvfp4"),
        ),
        (
            json!({"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [32, 32]}),
            Some("mxfp8"),
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
            None,
        ),
    ] {
        let scheme = scheme(&json!({"quantization_config": config}));
        assert_eq!(
            scheme.map(|scheme| scheme.quant.to_string()).as_deref(),
            name,
            "{config}"
        );
    }
}

#[test]
fn what_mlx_lm_refuses_is_told() {
    for (config, told) in [
        (
            json!({"quantization": {"group_size": 64, "bits": 7}}),
            "field 'quantization.bits' holds 7: 2 or 3 or 4 or 5 or 6 or 8 is expected with mode affine",
        ),
        (
            json!({"quantization": {"group_size": 64, "bits": 4, "mode": "mxfp4"}}),
            "field 'quantization.group_size' holds 64: 32 is expected with mode mxfp4",
        ),
        (
            json!({"quantization": {"bits": 4}}),
            "field 'group_size' is missing: a whole number is expected",
        ),
        (
            json!({"quantization_config": {"quant_method": "awq", "bits": 3}}),
            "field 'quantization_config.bits' holds 3: 4 is what mlx-lm reads of AutoAWQ and GPTQ",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes"}}),
            "field 'quantization_config.quant_method' holds \"bitsandbytes\": mxfp4, mxfp8, fp8, bitnet, \
             compressed-tensors, modelopt, awq or gptq is what mlx-lm reads",
        ),
        (
            json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized"}}),
            "mlx-lm refuses this model: unsupported compressed-tensors format; dequantize to bf16 before converting",
        ),
    ] {
        assert_eq!(refusal(&config), told);
    }
}

#[test]
fn a_native_checkpoint_of_gpt_oss_has_its_published_bytes() {
    let entry = catalog::find("gpt-oss-120b").unwrap();
    let description = entry.description().unwrap();
    let model = families::build(&description).unwrap();
    let scheme = declared(&model, &description).unwrap().unwrap();
    // Experts in mxfp4, the rest in bf16: what mlx 0.32.2 holds of it.
    assert_eq!(
        weights::total_bytes(&model, &scheme).unwrap(),
        65_248_815_744
    );
}
