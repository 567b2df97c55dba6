//! nemotron_h: every layer is one thing alone: Mamba 2, attention, a network without a gate, or experts.
//! Follows mlx-lm 0.32.2 `models/nemotron_h.py`.

use crate::model::blocks::attention::{Attention, Projections};
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mamba::Mamba2;
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::blocks::moe::Moe;
use crate::model::{Builder, Config, ConfigError, Model};
use crate::quant::Dtype;

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "max_position_embeddings",
        "num_attention_heads",
        "num_key_value_heads",
        "layer_norm_epsilon",
        "use_bias",
    ])?;
    let pattern = pattern(c)?;
    let frame = Frame {
        trunk: Trunk {
            embed: "backbone.embeddings",
            layers: "backbone.layers",
            norm: "backbone.norm_f",
            head: "lm_head",
        },
        norms: &["norm"],
        own_cache: true,
        ..Frame::new(
            "nemotron_h",
            (
                c.dim("hidden_size")?,
                pattern.len() as u64,
                c.dim("vocab_size")?,
            ),
        )
    };
    let hidden = frame.hidden;
    let bias = c.flag("attention_bias")?;
    let attention =
        Attention::from_config(c, hidden)?
            .biased(bias, bias)
            .named(Projections::Split([
                "mixer.q_proj",
                "mixer.k_proj",
                "mixer.v_proj",
                "mixer.o_proj",
            ]));
    let mamba = mixer(c)?;
    let mlp_bias = c.flag("mlp_bias")?;
    let ff = c.dim("intermediate_size")?;
    let mlp = |name, ff| Mlp::of(Network::Plain(name), ff, mlp_bias);
    let experts = pattern
        .contains(&'E')
        .then(|| Experts::read(c, ff))
        .transpose()?;
    frame.build(
        c,
        |i| pattern[i as usize],
        |b, block| match (block, experts) {
            ('M', _) => b.within("mixer", |b| mamba.list(b, hidden)),
            ('*', _) => attention.list(b, hidden),
            ('E', Some(experts)) => experts.list(b, hidden, mlp_bias),
            _ => mlp(["mixer.up_proj", "mixer.down_proj"], ff).list(b, hidden),
        },
        |_| {},
    )
}

/// A letter a layer: `M`, `*`, `-` or `E`.
fn pattern(c: &Config<'_>) -> Result<Vec<char>, ConfigError> {
    const PATTERN: &str = "hybrid_override_pattern";
    let letters: Vec<char> = match c.get(PATTERN) {
        Some(serde_json::Value::String(text)) if text.len() <= 8192 => text.chars().collect(),
        Some(_) => c
            .texts(PATTERN)?
            .unwrap_or_default()
            .iter()
            .flat_map(|text| text.chars())
            .collect(),
        None => {
            let types = match c.texts("layers_block_type")?.filter(|t| !t.is_empty()) {
                Some(types) => types,
                None => c.texts("layer_types")?.ok_or_else(|| {
                    ConfigError::Refused(
                        "ValueError: The config must have layers_block_type or hybrid_override_pattern to describe the layer stack.".to_owned(),
                    )
                })?,
            };
            types
                .iter()
                .map(|&kind| match kind {
                    "full_attention" | "attention" => Ok('*'),
                    "linear_attention" | "mamba" | "conv" => Ok('M'),
                    "moe" => Ok('E'),
                    "mlp" => Ok('-'),
                    other => Err(ConfigError::Refused(format!(
                        "ValueError: Unsupported layers_block_type ['{other}']"
                    ))),
                })
                .collect::<Result<_, _>>()?
        }
    };
    if letters.iter().any(|letter| !"M*-E".contains(*letter)) {
        return Err(c.invalid(PATTERN, "a letter a layer out of M, *, - and E is expected"));
    }
    if letters.len() > 8192 {
        return Err(c.invalid(PATTERN, "at most 8192 layers are expected"));
    }
    // The masks are taken from the first cache of each kind.
    for (letter, what) in [('*', "attention"), ('M', "Mamba")] {
        if !letters.contains(&letter) {
            return Err(ConfigError::Refused(format!(
                "IndexError: list index out of range ({PATTERN} has no {what} layer)"
            )));
        }
    }
    Ok(letters)
}

fn mixer(c: &Config<'_>) -> Result<Mamba2, ConfigError> {
    let (heads, head_dim) = (c.count("mamba_num_heads")?, c.dim("mamba_head_dim")?);
    let bias = c.flag("mamba_proj_bias")?;
    Mamba2 {
        inner: heads * head_dim,
        heads,
        head_dim,
        groups: c.count("n_groups")?,
        state: c.dim("ssm_state_size")?,
        kernel: c.dim("conv_kernel")?,
        conv_bias: c.flag("use_conv_bias")?,
        in_bias: bias,
        out_bias: bias,
        norm: true,
        keeps_a_log: true,
    }
    .checked(c, "mamba_num_heads", "n_groups")
}

/// Experts of two matrices each, on a narrower stream where the description says so.
#[derive(Debug, Clone, Copy)]
struct Experts {
    moe: Moe,
    latent: Option<u64>,
}

impl Experts {
    fn read(c: &Config<'_>, ff: u64) -> Result<Self, ConfigError> {
        let moe = Moe::by(
            c,
            "n_routed_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?;
        // Any number of shared experts, none included, makes one network.
        let shared = match c.get("n_shared_experts") {
            Some(_) => c
                .dim_opt("moe_shared_expert_intermediate_size")?
                .unwrap_or(ff),
            None => 0,
        };
        Ok(Self {
            moe: moe.sharing("mixer.shared_experts", shared),
            latent: c.dim_opt("moe_latent_size")?,
        })
    }

    fn list(&self, b: &mut Builder, hidden: u64, bias: bool) {
        let Moe {
            experts,
            chosen,
            ff,
            shared,
            ..
        } = self.moe;
        let width = self.latent.unwrap_or(hidden);
        b.within("mixer", |b| {
            b.switch_linear("switch_mlp.fc1", (experts, chosen), ff, width, false);
            b.switch_linear("switch_mlp.fc2", (experts, chosen), width, ff, false);
            b.param("gate.weight", &[experts, hidden]);
            b.param_fixed("gate.e_score_correction_bias", &[experts], Dtype::F32);
            if shared.1 > 0 {
                b.linear("shared_experts.up_proj", shared.1, hidden, bias);
                b.linear("shared_experts.down_proj", hidden, shared.1, bias);
            }
            if let Some(latent) = self.latent {
                b.linear("fc1_latent_proj", latent, hidden, bias);
                b.linear("fc2_latent_proj", hidden, latent, bias);
            }
        });
        self.moe.note(b);
    }
}
