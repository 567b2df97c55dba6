//! exaone and exaone4. Follows mlx-lm 0.32.2 `models/{exaone,exaone4}.py`.

use super::llama_like::explicit;
use super::phi::whole_heads;
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{
    Decoder, POST_NORMS, Trunk, Windows, check_rope, tied, tied_or,
};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, Model};

pub(super) fn exaone(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rope_theta", "layer_norm_epsilon"])?;
    check_rope(c, "rope_scaling")?;
    let hidden = c.dim("hidden_size")?;
    c.count("num_key_value_heads")?;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::from_config(c, hidden)?
        .named(Projections::Split([
            "attn.attention.q_proj",
            "attn.attention.k_proj",
            "attn.attention.v_proj",
            "attn.attention.out_proj",
        ]))
        .biased(bias, bias);
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Gated(["mlp.c_fc_0", "mlp.c_fc_1", "mlp.c_proj"]),
        c.dim("intermediate_size")?,
        c.flag_or("mlp_bias", false)?,
    );
    let sizes = (hidden, c.count("num_layers")?, c.dim("vocab_size")?);
    Decoder {
        norms: &["ln_1", "ln_2"],
        trunk: Trunk::TRANSFORMER,
        tied: tied_or(c, true)?,
        ..Decoder::new("exaone", sizes, attention, mlp)
    }
    .build(c)
}

/// Local and global layers by a pattern of L and G; all full without one.
pub(super) fn exaone4(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_theta",
        "rope_scaling",
        "sliding_window",
        "sliding_window_pattern",
    ])?;
    check_rope(c, "rope_scaling")?;
    let decoder = Decoder::usual("exaone4", c, explicit(c)?.normed(QkNorm::Head))?;
    Decoder {
        windows: local_layers(c, decoder.layers)?,
        norms: POST_NORMS,
        tied: tied(c)?,
        own_cache: true,
        ..decoder
    }
    .build(c)
}

fn local_layers(c: &Config<'_>, layers: u64) -> Result<Windows, ConfigError> {
    let pattern = match c.text("sliding_window_pattern")? {
        None | Some("") => return Ok(Windows::None),
        Some(pattern) => pattern.as_bytes(),
    };
    if !pattern.contains(&b'L') || !pattern.contains(&b'G') {
        return Err(ConfigError::Refused(
            "ValueError: substring not found (sliding_window_pattern must have an L and a G)"
                .to_owned(),
        ));
    }
    let window = c.dim("sliding_window")?;
    Ok(Windows::Listed(
        pattern
            .iter()
            .cycle()
            .zip(0..layers)
            .map(|(&kind, _)| (kind == b'L').then_some(window))
            .collect(),
    ))
}
