//! granitemoehybrid: Mamba 2 and attention layers, with experts beside a shared network, or a plain network.
//! Follows mlx-lm 0.32.2 `models/granitemoehybrid.py`.

use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::tied_or;
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mamba::Mamba2;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Router};
use crate::model::{Config, ConfigError, Model, Policy};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "max_position_embeddings",
        "num_key_value_heads",
        "embedding_multiplier",
        "attention_multiplier",
        "logits_scaling",
        "residual_multiplier",
        "rms_norm_eps",
        "layer_types",
    ])?;
    let types = c.texts("layer_types")?.unwrap_or_default();
    if let Some(other) = types.iter().find(|&&t| t != "mamba" && t != "attention") {
        return Err(ConfigError::Refused(format!(
            "ValueError: Unknown layer type: {other}"
        )));
    }
    let frame = Frame {
        layers: types.len() as u64,
        tied: tied_or(c, true)?,
        own_cache: true,
        ..Frame::usual("granitemoehybrid", c)?
    };
    let hidden = frame.hidden;
    let bias = c.flag("attention_bias")?;
    let attention = Attention::divided(c, hidden)?.biased(bias, bias);
    let mamba = types.contains(&"mamba").then(|| mixer(c)).transpose()?;
    let ff = c.dim("intermediate_size")?;
    let moe = match c.count_opt("num_local_experts")?.unwrap_or(0) {
        0 => None,
        _ => Some(
            Moe {
                switch: "block_sparse_moe.switch_mlp",
                router: Router::Linear("block_sparse_moe.router.layer", Policy::Precise),
                ..Moe::by(
                    c,
                    "num_local_experts",
                    "num_experts_per_tok",
                    "intermediate_size",
                )?
            }
            .sharing("", 0),
        ),
    };
    let shared_ff = match moe {
        Some(_) => c.dim("shared_intermediate_size")?,
        None => 0,
    };
    let dense = Mlp::gated(ff).biased(c.flag_or("mlp_bias", false)?);

    frame.build(
        c,
        |i| types[i as usize] == "mamba",
        |b, is_mamba| {
            match mamba {
                Some(mamba) if is_mamba => b.within("mamba", |b| mamba.list(b, hidden)),
                _ => attention.list(b, hidden),
            }
            match moe {
                Some(moe) => {
                    moe.list(b, hidden);
                    b.linear("shared_mlp.input_linear", shared_ff * 2, hidden, false);
                    b.linear("shared_mlp.output_linear", hidden, shared_ff, false);
                    moe.sharing("shared_mlp", shared_ff).note(b);
                }
                None => dense.list(b, hidden),
            }
        },
        |_| {},
    )
}

fn mixer(c: &Config<'_>) -> Result<Mamba2, ConfigError> {
    let (heads, head_dim) = (c.count("mamba_n_heads")?, c.dim("mamba_d_head")?);
    let bias = c.flag_or("mamba_proj_bias", false)?;
    Mamba2 {
        inner: heads * head_dim,
        heads,
        head_dim,
        groups: c.count("mamba_n_groups")?,
        state: c.dim("mamba_d_state")?,
        kernel: c.dim("mamba_d_conv")?,
        conv_bias: c.flag_or("mamba_conv_bias", false)?,
        in_bias: bias,
        out_bias: bias,
        norm: true,
        keeps_a_log: false,
    }
    .checked(c, "mamba_n_heads", "mamba_n_groups")
}
