//! Which mlx-lm classes can be split, and which arrays a tensor split cuts: as data.
//!
//! Source: mlx-lm 0.32.2, `shard` and `pipeline` of each class in `models/`.

use crate::model::Model;

/// Where an array is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// `all-to-sharded`: the output dimension, and a bias with it.
    Output,
    /// `sharded-to-all`: the input dimension; a bias stays whole.
    Input,
    /// Heads, which are the first dimension, as a slice: the rank goes on holding the whole buffer.
    Slice,
    /// The first dimension, as a copy.
    First,
    /// The second dimension (iquestloopcoder keeps one array a layer in a list), as a slice.
    SecondSlice,
}

/// What stands at the end of a module's path, and how it is cut.
type Rule = (&'static str, Cut);

/// Names that all classes share.
const USUAL: &[Rule] = &[
    ("q_proj", Cut::Output),
    ("k_proj", Cut::Output),
    ("v_proj", Cut::Output),
    ("q_b_proj", Cut::Output),
    ("kv_b_proj", Cut::Output),
    ("gate_proj", Cut::Output),
    ("up_proj", Cut::Output),
    ("o_proj", Cut::Input),
    ("down_proj", Cut::Input),
    ("embed_q", Cut::Slice),
    ("unembed_out", Cut::Slice),
];

/// A class that has a `shard` of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// The mlx-lm module.
    pub(super) family: &'static str,
    /// Rules that go before the usual ones.
    own: &'static [Rule],
    /// Parts of paths in which nothing is cut.
    whole: &'static [&'static str],
    /// `shard` reaches for `shared_experts` in every layer with experts.
    pub(super) needs_shared: bool,
    /// Key and value heads are repeated where there are fewer than ranks.
    pub(super) repeats_kv: bool,
    /// The output head is cut along the vocabulary, where it is not tied.
    pub(super) cuts_head: bool,
}

const PLAIN: Class = Class {
    family: "",
    own: &[],
    whole: &[],
    needs_shared: false,
    repeats_kv: false,
    cuts_head: false,
};

const fn class(family: &'static str) -> Class {
    Class { family, ..PLAIN }
}

const fn shared(family: &'static str) -> Class {
    Class {
        needs_shared: true,
        whole: &["indexer."],
        ..class(family)
    }
}

const fn qwen3_5(family: &'static str) -> Class {
    Class {
        own: &[
            ("linear_attn.conv1d", Cut::First),
            ("linear_attn.in_proj_qkv", Cut::Output),
            ("linear_attn.in_proj_z", Cut::Output),
            ("linear_attn.in_proj_b", Cut::Output),
            ("linear_attn.in_proj_a", Cut::Output),
            ("linear_attn.out_proj", Cut::Input),
            ("linear_attn.dt_bias", Cut::First),
            ("linear_attn.A_log", Cut::First),
        ],
        repeats_kv: true,
        cuts_head: true,
        ..class(family)
    }
}

const CLASSES: &[Class] = &[
    shared("deepseek_v2"),
    shared("deepseek_v3"),
    shared("deepseek_v32"),
    Class {
        own: &[
            ("self_attn.o_a_proj", Cut::First),
            ("self_attn.o_b_proj", Cut::Input),
            ("self_attn.sinks", Cut::Slice),
        ],
        whole: &["indexer.", "compressor."],
        ..class("deepseek_v41")
    },
    class("exaone_moe"),
    shared("glm4_moe"),
    class("glm4_moe_lite"),
    shared("glm_moe_dsa"),
    Class {
        own: &[("self_attn.sinks", Cut::Slice)],
        ..class("gpt_oss")
    },
    Class {
        own: &[("model.gate_projections.*", Cut::SecondSlice)],
        ..class("iquestloopcoder")
    },
    shared("kimi_k25"),
    Class {
        own: &[
            ("self_attn.qkv_proj", Cut::Output),
            ("self_attn.f_b_proj", Cut::Output),
            ("self_attn.g_proj", Cut::Output),
            ("self_attn.g_b_proj", Cut::Output),
            ("self_attn.b_proj", Cut::Output),
            ("self_attn.qkv_conv.conv", Cut::First),
            ("self_attn.A_log", Cut::Slice),
            ("self_attn.dt_bias", Cut::Slice),
        ],
        ..class("kimi_k3")
    },
    class("llama"),
    class("longcat_flash"),
    class("longcat_flash_ngram"),
    Class {
        own: &[
            ("self_attn.q_norm", Cut::First),
            ("self_attn.k_norm", Cut::First),
        ],
        ..class("minimax")
    },
    Class {
        own: &[("self_attn.index_q_proj", Cut::Output)],
        ..class("minimax_m3_vl")
    },
    class("ministral3"),
    class("mistral4"),
    Class {
        own: &[("self_attn.qkvg_proj", Cut::Output)],
        whole: &["shared_expert"],
        cuts_head: true,
        ..class("muse_spark")
    },
    class("qwen2"),
    class("qwen3"),
    qwen3_5("qwen3_5"),
    qwen3_5("qwen3_5_moe"),
    class("qwen3_moe"),
    shared("solar_open"),
    Class {
        own: &[("self_attn.g_proj", Cut::Output)],
        ..class("step3p5")
    },
];

/// How a class deals its layers out to the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// As even as they divide, low ranks with one more.
    LowRanks,
    /// As even as they divide, high ranks, which have the first layers, with one more.
    HighRanks,
    /// Whole groups that end in a layer of latent attention; rank 0 takes what is left behind the last of them.
    Groups,
}

/// Classes whose `model` has a `pipeline`.
const PIPELINES: &[(&str, Deal)] = &[
    ("bailing_hybrid", Deal::Groups),
    ("deepseek_v2", Deal::LowRanks),
    ("deepseek_v3", Deal::LowRanks),
    ("deepseek_v32", Deal::LowRanks),
    ("deepseek_v41", Deal::LowRanks),
    ("glm4_moe", Deal::LowRanks),
    ("glm4_moe_lite", Deal::LowRanks),
    ("glm_moe_dsa", Deal::LowRanks),
    ("kimi_k25", Deal::LowRanks),
    ("kimi_k3", Deal::HighRanks),
    ("minimax_m3_vl", Deal::LowRanks),
    ("ministral3", Deal::LowRanks),
    ("mistral4", Deal::LowRanks),
    ("muse_spark", Deal::LowRanks),
    ("qwen2", Deal::LowRanks),
    ("qwen3_5", Deal::LowRanks),
    ("qwen3_5_moe", Deal::LowRanks),
    ("qwen3_moe", Deal::LowRanks),
    ("qwen3_next", Deal::LowRanks),
    ("solar_open", Deal::LowRanks),
];

/// Wrappers that build a class from above without passing its `shard` and `pipeline` on.
const WRAPPERS: &[&str] = &["qwen3_vl_moe"];

fn wrapped(model: &Model) -> bool {
    WRAPPERS.contains(&model.architecture.as_str())
}

/// The class of `model`, if it can be cut.
pub(super) fn class_of(model: &Model) -> Option<&'static Class> {
    let known = CLASSES.iter().find(|class| class.family == model.family);
    known.filter(|_| !wrapped(model))
}

/// How the layers of `model` are dealt out, if it can be split into stages.
pub(super) fn deal_of(model: &Model) -> Option<Deal> {
    let known = PIPELINES.iter().find(|(family, _)| *family == model.family);
    known.map(|(_, deal)| *deal).filter(|_| !wrapped(model))
}

impl Class {
    /// How the array at `path` is cut; `None` where every rank keeps all of it.
    pub(super) fn cut(&self, path: &str) -> Option<Cut> {
        if self.whole.iter().any(|part| path.contains(part)) {
            return None;
        }
        let ends = |module: &str, name: &str| {
            module == name
                || module
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        let module = match path.rsplit_once('.') {
            Some((module, "weight" | "bias")) => module,
            _ => path,
        };
        if self.cuts_head && ends(module, "lm_head") {
            return Some(Cut::Output);
        }
        self.own
            .iter()
            .chain(USUAL)
            .find(|(name, _)| ends(module, name))
            .map(|(_, cut)| *cut)
    }
}
