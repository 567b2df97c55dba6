//! One file a family: the arrays and caches of an mlx-lm model class, from config.json.

use serde_json::Value;

use super::{Config, ConfigError, Model};
use crate::quant::Dtype;

mod baichuan_m1;
mod bailing_linear;
mod cohere;
mod deepseek;
mod deepseek_v41;
mod exaone;
mod falcon_h1;
mod gear;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod gpt;
mod granite_hybrid;
mod jamba;
mod kimi_linear;
mod latent_dense;
mod lfm2;
mod llama;
mod llama4;
mod llama_like;
mod longcat;
mod loops;
mod mamba;
mod minimax_m3;
mod moe_gated_attention;
mod moe_grouped;
mod moe_softmax;
mod moe_windowed;
mod muse_spark;
mod nemotron_h;
mod olmo;
mod olmo_hybrid;
mod phi;
mod plamo2;
mod qwen;
mod qwen3_next;
mod rare;
mod recurrent_gemma;
mod rwkv7;
mod stablelm;
mod uneven;
mod windowed;

type Build = fn(&Config<'_>) -> Result<Model, ConfigError>;

/// `model_type` as config.json has it, and what builds it. Aliases follow mlx-lm 0.32.2 `utils.py`, MODEL_REMAPPING.
const FAMILIES: &[(&str, Build)] = &[
    ("Klear", moe_softmax::Klear),
    ("afm7", rare::afm7),
    ("afmoe", moe_gated_attention::afmoe),
    ("apertus", llama_like::apertus),
    ("baichuan_m1", baichuan_m1::build),
    ("bailing_hybrid", bailing_linear::bailing_hybrid),
    ("bailing_moe", moe_grouped::bailing_moe),
    ("bailing_moe_linear", bailing_linear::bailing_moe_linear),
    ("bailing_moe_v3", bailing_linear::bailing_moe_v3),
    ("bitnet", rare::bitnet),
    ("cohere", cohere::cohere),
    ("cohere2", cohere::cohere2),
    ("dbrx", moe_grouped::dbrx),
    ("deepseek", deepseek::deepseek),
    ("deepseek_v2", deepseek::deepseek_v2),
    ("deepseek_v3", deepseek::deepseek_v3),
    ("deepseek_v32", deepseek::deepseek_v32),
    ("deepseek_v41", deepseek_v41::build),
    ("deepseek_v41_text", deepseek_v41::build),
    ("dots1", moe_grouped::dots1),
    ("ernie4_5", llama_like::ernie4_5),
    ("ernie4_5_moe", moe_grouped::ernie4_5_moe),
    ("exaone", exaone::exaone),
    ("exaone4", exaone::exaone4),
    ("exaone_moe", moe_windowed::exaone_moe),
    ("falcon_h1", falcon_h1::build),
    ("falcon_mamba", mamba::mamba),
    ("gear", gear::build),
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
    ("glm4_moe", moe_grouped::glm4_moe),
    ("glm4_moe_lite", deepseek::glm4_moe_lite),
    ("glm_moe_dsa", deepseek::glm_moe_dsa),
    ("gpt2", gpt::gpt2),
    ("gpt_bigcode", gpt::gpt_bigcode),
    ("gpt_neox", gpt::gpt_neox),
    ("gpt_oss", moe_windowed::gpt_oss),
    ("gptj", gpt::gptj),
    ("granite", llama_like::granite),
    ("granitemoe", moe_softmax::granitemoe),
    ("granitemoehybrid", granite_hybrid::build),
    ("helium", llama_like::helium),
    ("hunyuan", moe_grouped::hunyuan),
    ("hunyuan_v1_dense", llama_like::hunyuan_v1_dense),
    ("internlm2", llama_like::internlm2),
    ("internlm3", llama_like::internlm3),
    ("iquestcoder", llama::llama),
    ("iquestloopcoder", loops::iquestloopcoder),
    ("jamba", jamba::build),
    ("joyai_llm_flash", deepseek::deepseek_v3),
    ("kimi_k2", deepseek::deepseek_v3),
    ("kimi_k25", deepseek::kimi_k25),
    ("kimi_k3", kimi_linear::kimi_k3),
    ("kimi_linear", kimi_linear::kimi_linear),
    ("kimi_vl", deepseek::kimi_vl),
    ("laguna", moe_gated_attention::laguna),
    ("lfm2", lfm2::lfm2),
    ("lfm2-vl", lfm2::lfm2_vl),
    ("lfm2_moe", lfm2::lfm2_moe),
    ("lille-130m", rare::lille),
    ("llama", llama::llama),
    ("llama4", llama4::llama4),
    ("llama4_text", llama4::llama4_text),
    ("llava", llama::mistral3),
    ("longcat_flash", longcat::longcat_flash),
    ("longcat_flash_ngram", longcat::longcat_flash_ngram),
    ("mamba", mamba::mamba),
    ("mamba2", mamba::mamba2),
    ("mellum", windowed::mellum),
    ("mimo", llama_like::mimo),
    ("mimo_v2_flash", moe_windowed::mimo_v2_flash),
    ("minicpm", llama_like::minicpm),
    ("minicpm3", latent_dense::minicpm3),
    ("minimax", moe_softmax::minimax),
    ("minimax_m2", moe_softmax::minimax),
    ("minimax_m3_vl", minimax_m3::build),
    ("ministral3", llama::ministral3),
    ("mistral", llama::llama),
    ("mistral3", llama::mistral3),
    ("mistral4", deepseek::mistral4),
    ("mixtral", moe_softmax::mixtral),
    ("muse_glimmer", windowed::muse_glimmer),
    ("muse_spark", muse_spark::build),
    ("nanbeige", loops::nanbeige),
    ("nanochat", rare::nanochat),
    ("nemotron", llama_like::nemotron),
    ("nemotron-nas", uneven::nemotron_nas),
    ("nemotron_h", nemotron_h::build),
    ("olmo", olmo::olmo),
    ("olmo2", olmo::olmo2),
    ("olmo3", olmo::olmo3),
    ("olmo_hybrid", olmo_hybrid::build),
    ("olmoe", moe_softmax::olmoe),
    ("openelm", uneven::openelm),
    ("phi", phi::phi),
    ("phi-msft", rare::phixtral),
    ("phi3", phi::phi3),
    ("phi3small", phi::phi3small),
    ("phimoe", moe_softmax::phimoe),
    ("phixtral", rare::phixtral),
    ("pixtral", llama::pixtral),
    ("plamo", llama_like::plamo),
    ("plamo2", plamo2::build),
    ("plamo3", windowed::plamo3),
    ("qwen", qwen::qwen),
    ("qwen2", qwen::qwen2),
    ("qwen2_5_vl", qwen::qwen2_vl),
    ("qwen2_moe", moe_softmax::qwen2_moe),
    ("qwen2_vl", qwen::qwen2_vl),
    ("qwen3", qwen::qwen3),
    ("qwen3_5", qwen3_next::qwen3_5),
    ("qwen3_5_moe", qwen3_next::qwen3_5_moe),
    ("qwen3_moe", moe_softmax::qwen3_moe),
    ("qwen3_next", qwen3_next::qwen3_next),
    ("qwen3_vl", qwen::qwen3_vl),
    ("qwen3_vl_moe", moe_softmax::qwen3_vl_moe),
    ("recurrent_gemma", recurrent_gemma::build),
    ("rwkv7", rwkv7::build),
    ("seed_oss", llama_like::seed_oss),
    ("smollm3", llama::smollm3),
    ("solar_open", moe_grouped::solar_open),
    ("spark2_5", windowed::spark2_5),
    ("stablelm", stablelm::build),
    ("starcoder2", gpt::starcoder2),
    ("step3p5", moe_gated_attention::step3p5),
    ("talkie", rare::talkie),
    ("telechat3", llama_like::telechat3),
    ("xverse", llama::llama),
    ("youtu_llm", latent_dense::youtu_llm),
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
    // A wrapper's text part has a model_type of its own.
    if model.architecture != model_type {
        model_type.clone_into(&mut model.architecture);
    }
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
