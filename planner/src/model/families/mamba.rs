//! mamba, falcon_mamba and mamba2: no attention, no feed-forward network. Follows mlx-lm 0.32.2 `models/mamba.py` and
//! `models/mamba2.py`.

use crate::model::blocks::mamba::{Mamba1, Mamba2};
use crate::model::{Builder, Config, ConfigError, Model};

/// The projection width of the time step: a number, or `"auto"` for hidden ÷ 16, rounded up.
pub(super) fn time_step_rank(c: &Config<'_>, field: &str, hidden: u64) -> Result<u64, ConfigError> {
    if c.get(field).and_then(serde_json::Value::as_str) == Some("auto") {
        return Ok(hidden.div_ceil(16));
    }
    c.dim(field)
}

pub(super) fn mamba(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("vocab_size")?,
    );
    let mixer = Mamba1 {
        inner: c.dim("intermediate_size")?,
        state: c.dim("state_size")?,
        rank: time_step_rank(c, "time_step_rank", hidden)?,
        kernel: c.dim("conv_kernel")?,
        bias: c.flag("use_bias")?,
        conv_bias: c.flag("use_conv_bias")?,
        norms: false,
    };
    backbone(
        "mamba",
        c,
        (hidden, layers, vocab),
        c.flag_or("tie_word_embeddings", true)?,
        |b| mixer.list(b, hidden),
    )
}

pub(super) fn mamba2(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("vocab_size")?,
    );
    c.needs(&[
        "intermediate_size",
        "layer_norm_epsilon",
        "time_step_limit",
        "time_step_rank",
    ])?;
    c.needs_or_null(&["state_size"])?;
    let (heads, head_dim) = (c.count("num_heads")?, c.dim("head_dim")?);
    let bias = c.flag("use_bias")?;
    let mixer = Mamba2 {
        inner: heads * head_dim,
        heads,
        head_dim,
        groups: c.count("n_groups")?,
        state: match c.dim_opt("ssm_state_size")? {
            Some(state) => state,
            None => c.dim("state_size")?,
        },
        kernel: c.dim("conv_kernel")?,
        conv_bias: c.flag("use_conv_bias")?,
        in_bias: bias,
        out_bias: bias,
        norm: true,
        keeps_a_log: false,
    }
    .checked(c, "num_heads", "n_groups")?;
    backbone(
        "mamba2",
        c,
        (hidden, layers, vocab),
        c.flag("tie_word_embeddings")?,
        |b| mixer.list(b, hidden),
    )
}

fn backbone(
    family: &'static str,
    c: &Config<'_>,
    (hidden, layers, vocab): (u64, u64, u64),
    tied: bool,
    mixer: impl Fn(&mut Builder),
) -> Result<Model, ConfigError> {
    let mut b = Builder::new(family, c, hidden, vocab)?;
    b.own_cache();
    b.embed_tokens("backbone.embeddings", tied);
    b.layers(
        "backbone.layers",
        layers,
        |_| (),
        |b, ()| {
            b.within("mixer", &mixer);
            b.norm("norm", hidden);
        },
    );
    b.norm("backbone.norm_f", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
