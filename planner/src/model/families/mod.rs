//! One file a family: the arrays and caches of an mlx-lm model class, from config.json.

use serde_json::Value;

use super::{Config, ConfigError, Model};
use crate::quant::Dtype;

mod baichuan_m1;
mod falcon_h1;
mod llama;
mod mamba;
mod olmo_hybrid;
mod plamo2;
mod qwen2;
mod qwen3;
mod recurrent_gemma;
mod rwkv7;

type Build = fn(&Config<'_>) -> Result<Model, ConfigError>;

/// `model_type` as config.json has it, and what builds it. Aliases follow mlx-lm 0.32.2 `utils.py`, MODEL_REMAPPING.
const FAMILIES: &[(&str, Build)] = &[
    ("baichuan_m1", baichuan_m1::build),
    ("falcon_h1", falcon_h1::build),
    ("falcon_mamba", mamba::build),
    ("iquestcoder", llama::build),
    ("llama", llama::build),
    ("mamba", mamba::build),
    ("mamba2", mamba::build_2),
    ("mistral", llama::build),
    ("olmo_hybrid", olmo_hybrid::build),
    ("plamo2", plamo2::build),
    ("qwen2", qwen2::build),
    ("qwen3", qwen3::build),
    ("recurrent_gemma", recurrent_gemma::build),
    ("rwkv7", rwkv7::build),
    ("xverse", llama::build),
];

/// The architectures that are known, in order.
pub fn known() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Builds the model that a config.json describes.
///
/// # Errors
/// [`ConfigError`] names the field; [`ConfigError::UnknownArchitecture`] where no rule is known.
pub fn build(description: &Value) -> Result<Model, ConfigError> {
    let config = Config::new(description)?;
    let Some(model_type) = config.text("model_type")? else {
        return Err(ConfigError::Missing {
            field: "model_type".to_owned(),
            expected: "the name of an architecture, such as \"llama\", is expected",
        });
    };
    let Some((_, build)) = FAMILIES.iter().find(|(name, _)| *name == model_type) else {
        return Err(ConfigError::UnknownArchitecture {
            model_type: model_type.to_owned(),
            known: FAMILIES.len(),
        });
    };
    let mut model = build(&config)?;
    model_type.clone_into(&mut model.architecture);
    if let Some(dtype) = source_dtype(&config)? {
        model.dtype = dtype;
    }
    Ok(model)
}

/// The type that mlx-lm casts the weights to: `torch_dtype` or `dtype`, at the top or in `text_config`.
fn source_dtype(config: &Config<'_>) -> Result<Option<Dtype>, ConfigError> {
    let inner = config.object("text_config")?;
    for (scope, field) in [
        (Some(*config), "torch_dtype"),
        (Some(*config), "dtype"),
        (inner, "dtype"),
        (inner, "torch_dtype"),
    ] {
        let Some(scope) = scope else { continue };
        match scope.text(field)? {
            Some("float16") => return Ok(Some(Dtype::F16)),
            Some("bfloat16") => return Ok(Some(Dtype::Bf16)),
            Some("float32") => return Ok(Some(Dtype::F32)),
            Some("auto") | None => {}
            Some(_) => return Err(scope.invalid(field, "float16, bfloat16 or float32 is expected")),
        }
    }
    Ok(None)
}
