//! One file a family: the arrays and caches of an mlx-lm model class, from config.json.

use serde_json::Value;

use super::{Config, ConfigError, Model};
use crate::quant::Dtype;

mod cohere;
mod exaone;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod gpt;
mod llama;
mod llama_like;
mod loops;
mod olmo;
mod phi;
mod qwen;
mod rare;
mod stablelm;
mod uneven;
mod windowed;

type Build = fn(&Config<'_>) -> Result<Model, ConfigError>;

/// `model_type` as config.json has it, and what builds it. Aliases follow mlx-lm 0.32.2 `utils.py`, MODEL_REMAPPING.
const FAMILIES: &[(&str, Build)] = &[
    ("afm7", rare::afm7),
    ("apertus", llama_like::apertus),
    ("bitnet", rare::bitnet),
    ("cohere", cohere::cohere),
    ("cohere2", cohere::cohere2),
    ("ernie4_5", llama_like::ernie4_5),
    ("exaone", exaone::exaone),
    ("exaone4", exaone::exaone4),
    ("gemma", gemma::gemma),
    ("gemma2", gemma::gemma2),
    ("gemma3", gemma::gemma3),
    ("gemma3_text", gemma::gemma3_text),
    ("gemma3n", gemma3n::build),
    ("gemma4", gemma4::gemma4),
    ("gemma4_text", gemma4::gemma4_text),
    ("gemma4_unified", gemma4::gemma4),
    ("glm", glm::glm),
    ("glm4", glm::glm4),
    ("gpt2", gpt::gpt2),
    ("gpt_bigcode", gpt::gpt_bigcode),
    ("gpt_neox", gpt::gpt_neox),
    ("gptj", gpt::gptj),
    ("granite", llama_like::granite),
    ("helium", llama_like::helium),
    ("hunyuan_v1_dense", llama_like::hunyuan_v1_dense),
    ("internlm2", llama_like::internlm2),
    ("internlm3", llama_like::internlm3),
    ("iquestcoder", llama::llama),
    ("iquestloopcoder", loops::iquestloopcoder),
    ("lille-130m", rare::lille),
    ("llama", llama::llama),
    ("llava", llama::mistral3),
    ("mellum", windowed::mellum),
    ("mimo", llama_like::mimo),
    ("minicpm", llama_like::minicpm),
    ("ministral3", llama::ministral3),
    ("mistral", llama::llama),
    ("mistral3", llama::mistral3),
    ("muse_glimmer", windowed::muse_glimmer),
    ("nanbeige", loops::nanbeige),
    ("nanochat", rare::nanochat),
    ("nemotron", llama_like::nemotron),
    ("nemotron-nas", uneven::nemotron_nas),
    ("olmo", olmo::olmo),
    ("olmo2", olmo::olmo2),
    ("olmo3", olmo::olmo3),
    ("openelm", uneven::openelm),
    ("phi", phi::phi),
    ("phi-msft", rare::phixtral),
    ("phi3", phi::phi3),
    ("phi3small", phi::phi3small),
    ("phixtral", rare::phixtral),
    ("pixtral", llama::pixtral),
    ("plamo", llama_like::plamo),
    ("plamo3", windowed::plamo3),
    ("qwen", qwen::qwen),
    ("qwen2", qwen::qwen2),
    ("qwen2_5_vl", qwen::qwen2_vl),
    ("qwen2_vl", qwen::qwen2_vl),
    ("qwen3", qwen::qwen3),
    ("qwen3_vl", qwen::qwen3_vl),
    ("seed_oss", llama_like::seed_oss),
    ("smollm3", llama::smollm3),
    ("spark2_5", windowed::spark2_5),
    ("stablelm", stablelm::build),
    ("starcoder2", gpt::starcoder2),
    ("talkie", rare::talkie),
    ("telechat3", llama_like::telechat3),
    ("xverse", llama::llama),
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
