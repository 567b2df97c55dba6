//! llama, mistral and what mlx-lm loads as llama. Follows mlx-lm 0.32.2 `models/llama.py`.

use crate::model::blocks::{attention::Attention, mlp};
use crate::model::{Builder, Config, ConfigError, Model};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention {
        qkv_bias: bias,
        o_bias: bias,
        ..Attention::from_config(c, hidden)?
    };
    let mlp_bias = c.flag_or("mlp_bias", false)?;
    let tied = c.flag_or("tie_word_embeddings", true)?;
    let sliding = sliding_layers(c, layers)?;

    let mut b = Builder::new("llama", c, hidden, vocab)?;
    b.own_cache();
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |i| sliding.get(i as usize).copied().flatten(),
        |b, window| {
            attention.windowed(window).list(b, hidden);
            mlp::gated(b, hidden, ff, mlp_bias);
            b.norm("input_layernorm", hidden);
            b.norm("post_attention_layernorm", hidden);
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}

/// The window of each layer, by `layer_types`; a `sliding_window` without them is not honoured.
fn sliding_layers(c: &Config<'_>, layers: u64) -> Result<Vec<Option<u64>>, ConfigError> {
    let Some(types) = c.texts("layer_types")? else {
        return Ok(vec![None; layers as usize]);
    };
    if types.len() as u64 != layers {
        return Err(c.invalid(
            "layer_types",
            format!("one entry for each of the {layers} layers is expected"),
        ));
    }
    types
        .iter()
        .map(|&kind| match kind {
            "sliding_attention" => c.dim("sliding_window").map(Some),
            _ => Ok(None),
        })
        .collect()
}
