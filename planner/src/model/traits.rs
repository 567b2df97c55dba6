//! What else is particular in a layer, beside its mixer and feed-forward network: read off the arrays it has and, where
//! arrays do not tell, off the mlx-lm module it belongs to. The working set and the speed depend on it, the bytes of
//! weights and caches do not.

use super::{FeedForward, LayerGroup, Mixer, Model, Policy, Reads, Role, Tensor};

/// Where a layer's norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norms {
    /// Before attention and before the feed-forward network.
    #[default]
    Before,
    /// After both, on what they add (olmo2, exaone4).
    After,
    /// Before and after both (gemma2, gemma3, glm4).
    Around,
    /// One, before both, which run side by side (cohere, phi).
    Once,
}

/// What stands inside a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// One compiled kernel over gate and up.
    #[default]
    Compiled,
    /// Two kernels (gemma2, gemma3).
    TwoKernels,
}

/// What is particular in the layers of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Where the norms stand.
    pub norms: Norms,
    /// A norm's weight is one less than its factor, so that it is added to first (gemma).
    pub unit_offset: bool,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on attention's output.
    pub o_bias: bool,
    /// Norms on queries and keys.
    pub qk_norm: bool,
    /// A norm without weights on values (gemma4).
    pub v_norm: bool,
    /// Keys are the values too (gemma4's full attention).
    pub keys_are_values: bool,
    /// A gate on attention's output comes out of the query projection (qwen3_next).
    pub gated: bool,
    /// Queries, keys and values come out of one projection.
    pub fused_qkv: bool,
    /// Part of a head that positions rotate, in 65536ths of its width; 0 without rotary positions.
    pub rotated: u32,
    /// Scores are soft-capped (gemma2).
    pub soft_cap: bool,
    /// The mask is an array even where it is causal (gemma2).
    pub array_mask: bool,
    /// Gate and up projection are one.
    pub fused_gate_up: bool,
    /// Biases in the feed-forward network.
    pub mlp_bias: bool,
    /// What stands inside it.
    pub activation: Activation,
    /// The router's scores stay in single precision, so that what is multiplied by them does too (deepseek_v3).
    pub single_precision_scores: bool,
    /// Experts are chosen by groups first (deepseek_v3).
    pub grouped_routing: bool,
    /// Bits of the router's weight; 0 as the rest of the model.
    pub router_bits: u8,
    /// Biases in the experts.
    pub expert_bias: bool,
    /// Experts of two matrices, without a gate (nemotron_h); the network that all tokens share is like them.
    pub plain_experts: bool,
    /// Width of the stream that experts work on; 0 where it is the layer's own (nemotron_h, kimi_k3).
    pub expert_stream: u64,
    /// A gate on the shared expert.
    pub shared_gate: bool,
    /// A dense network of the layer's own beside the experts, each with norms (gemma4).
    pub dense_beside: bool,
    /// Width of the latent that queries come from; 0 without (multi-head latent attention).
    pub query_rank: u64,
    /// Inputs of a recurrence's output projection; 0 without a recurrence.
    pub inner: u64,
    /// Elements of all matrices that mix tokens, attention's or a recurrence's.
    pub mixing_elements: u64,
    /// The recurrence's inputs come out of one projection and are split (qwen3_next).
    pub joint_input: bool,
}

/// Where no part is said.
pub(super) const WHOLE: u32 = 1 << 16;

impl Traits {
    /// The rotated part of a head of `width`.
    #[must_use]
    pub const fn rotated_of(&self, width: u64) -> u64 {
        (width as u128 * self.rotated as u128 / WHOLE as u128) as u64
    }

    /// Reads the traits of the group with index `index` off the model's arrays.
    #[must_use]
    pub fn of(model: &Model, index: usize, rotated: Option<u32>) -> Self {
        let group = &model.groups[index];
        let family = model.family;
        let mut traits = Self {
            rotated: rotated.unwrap_or_else(|| usual_rotation(family)),
            unit_offset: family.starts_with("gemma") && family != "gemma4_text",
            v_norm: family.starts_with("gemma4"),
            soft_cap: family == "gemma2",
            array_mask: family == "gemma2",
            activation: if matches!(
                family,
                "gemma" | "gemma2" | "gemma3" | "gemma3_text" | "recurrent_gemma"
            ) {
                Activation::TwoKernels
            } else {
                Activation::Compiled
            },
            ..Self::default()
        };
        let mut seen = Seen::default();
        for tensor in model.tensors.iter().filter(|t| t.group == Some(index)) {
            traits.read(tensor, group, model.hidden, &mut seen);
        }
        traits.keys_are_values = seen.keys && !seen.values && !traits.fused_qkv;
        let beside = match group.feed_forward {
            FeedForward::None => 0,
            FeedForward::Dense { ff, gated: false } => ff.saturating_mul(2),
            FeedForward::Dense { ff, gated: true } => ff.saturating_mul(3),
            FeedForward::Experts { shared_ff, .. } if !seen.expert_gate => {
                shared_ff.saturating_mul(2)
            }
            FeedForward::Experts { shared_ff, .. } => shared_ff.saturating_mul(3),
        };
        traits.mixing_elements = seen
            .matrix_elements
            .saturating_sub(beside.saturating_mul(model.hidden));
        traits.plain_experts =
            matches!(group.feed_forward, FeedForward::Experts { .. }) && !seen.expert_gate;
        traits.norms = match seen {
            Seen {
                after: true,
                before: true,
                ..
            } => Norms::Around,
            Seen { after: true, .. } => Norms::After,
            Seen { wide_norms: 1, .. } if group.feed_forward != FeedForward::None => Norms::Once,
            _ => Norms::Before,
        };
        traits.grouped_routing = traits.single_precision_scores
            && ["deepseek", "kimi", "glm", "dots", "bailing"]
                .iter()
                .any(|f| family.starts_with(f));
        traits
    }

    fn read(&mut self, tensor: &Tensor, group: &LayerGroup, hidden: u64, seen: &mut Seen) {
        let path = tensor.path.as_ref();
        let (module, parameter) = path.rsplit_once('.').unwrap_or(("", path));
        let name = module.rsplit_once('.').map_or(module, |(_, name)| name);
        let dims = tensor.shape.dims();
        let linear = tensor.role == Role::Linear;
        let chosen = matches!(tensor.reads, Reads::Experts { .. });
        let bias = parameter == "bias";
        match name {
            "q_norm" | "query_layernorm" | "q_layernorm" => self.qk_norm = true,
            "q_proj" | "wq" => {
                self.qkv_bias |= bias;
                for mixer in &group.mixers {
                    if let Mixer::Attention { heads, k_dim, .. } = *mixer {
                        let width = heads.saturating_mul(k_dim);
                        self.gated |= linear && dims.first() == width.checked_mul(2).as_ref();
                    }
                }
            }
            "k_proj" | "wk" => seen.keys = true,
            "v_proj" | "wv" => seen.values = true,
            "qkv_proj" | "query_key_value" | "wqkv" | "Wqkv" | "c_attn" | "attn_qkv" => {
                self.fused_qkv |= linear;
                self.qkv_bias |= bias;
            }
            "q_a_proj" if linear => self.query_rank = dims.first().copied().unwrap_or(0),
            "o_proj" | "out_proj" | "wo" | "dense" | "attn_out" => {
                self.o_bias |= bias;
                if linear && (self.inner == 0 || name == "out_proj") {
                    self.inner = tensor.shape.last();
                }
            }
            "gate_up_proj" | "gate_and_up_proj" if linear && !chosen => self.fused_gate_up = true,
            "up_proj" | "down_proj" | "gate_proj" | "fc1" | "fc2" | "c_fc" if bias => {
                if chosen {
                    self.expert_bias = true;
                } else {
                    self.mlp_bias = true;
                }
            }
            "shared_expert_gate" => self.shared_gate = true,
            "in_proj_qkvz" => self.joint_input = true,
            "post_feedforward_layernorm" | "post_mlp_layernorm" => seen.after = true,
            "input_layernorm" => seen.before = true,
            "pre_feedforward_layernorm_2" => self.dense_beside = true,
            _ => {}
        }
        if let (
            FeedForward::Experts {
                experts,
                chosen,
                ff,
                ..
            },
            true,
        ) = (group.feed_forward, linear)
            && tensor.reads
                == (Reads::Experts {
                    chosen,
                    of: experts,
                })
        {
            seen.expert_gate |= name.contains("gate");
            // The first matrix of an expert; the last takes the width inside.
            let input = tensor.shape.last();
            if dims.get(1) == Some(&ff) && input != hidden {
                self.expert_stream = input;
            }
        }
        let router = match group.feed_forward {
            FeedForward::Experts { experts, .. } => dims == [experts, hidden],
            _ => false,
        };
        if linear && tensor.reads == Reads::All && !router {
            seen.matrix_elements = seen
                .matrix_elements
                .saturating_add(tensor.shape.elements());
        }
        if parameter == "e_score_correction_bias" {
            self.single_precision_scores = true;
        }
        if tensor.role == Role::Plain && parameter == "weight" && dims == [hidden] {
            seen.wide_norms += 1;
        }
        if let FeedForward::Experts { experts, .. } = group.feed_forward
            && !chosen
            && dims == [experts, hidden]
        {
            self.router_bits = match (tensor.role, tensor.policy) {
                (Role::Plain, _) | (_, Policy::Keep) => 16,
                (_, Policy::Precise) => 8,
                (_, Policy::Asked) => 0,
            };
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    keys: bool,
    values: bool,
    before: bool,
    after: bool,
    expert_gate: bool,
    matrix_elements: u64,
    wide_norms: u32,
}

/// The part of a head that positions rotate where the description does not say, by the classes' defaults.
fn usual_rotation(family: &str) -> u32 {
    match family {
        "gpt2" | "gpt_bigcode" | "mamba" | "mamba2" | "nemotron_h" | "granitemoehybrid"
        | "jamba" | "bloom" => 0,
        "qwen3_next" | "qwen3_5" | "qwen3_5_moe" | "stablelm" | "gpt_neox" => WHOLE / 4,
        "glm" | "glm4" | "glm4_moe" | "nemotron" | "recurrent_gemma" => WHOLE / 2,
        _ => WHOLE,
    }
}
