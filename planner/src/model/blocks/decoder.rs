//! The shape most language models share: an embedding, layers of attention and a dense feed-forward network with norms
//! around them, a last norm, an output head. A family says in what it differs.

use super::attention::Attention;
pub use super::frame::{Frame, Norm, POST_NORMS, PRE_NORMS, SANDWICH_NORMS, Trunk};
use super::mlp::Mlp;
use crate::model::{Builder, Config, ConfigError, KvQuantSupport, Model};

/// Which layers see, and keep, only the last tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windows {
    /// None.
    None,
    /// All but each `pattern`-th: `window` tokens.
    AllBut {
        /// A full layer after this many less one.
        pattern: u64,
        /// Tokens kept by the others.
        window: u64,
    },
    /// As listed.
    Listed(Vec<Option<u64>>),
}

impl Windows {
    /// What layer `index` keeps, where it is not all.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<u64> {
        match self {
            Self::None => None,
            Self::AllBut { pattern, window } => {
                (!(index + 1).is_multiple_of(*pattern)).then_some(*window)
            }
            Self::Listed(list) => usize::try_from(index)
                .ok()
                .and_then(|i| list.get(i).copied())
                .flatten(),
        }
    }

    /// By a pattern: each `pattern`-th layer is full. These classes look at the cache of layer `pattern`, so there must
    /// be as many.
    ///
    /// # Errors
    /// When there are fewer layers than the pattern is long.
    pub fn all_but(pattern: u64, window: u64, layers: u64) -> Result<Self, ConfigError> {
        if pattern > layers {
            return Err(ConfigError::Refused(format!(
                "IndexError: list index out of range (sliding_window_pattern is {pattern}, and there are {layers} layers)"
            )));
        }
        Ok(Self::AllBut { pattern, window })
    }

    /// By `layer_types`, where the class takes every layer that is not `full` as a sliding one, or every layer that is
    /// `sliding` as one; `None` without that field.
    ///
    /// # Errors
    /// When the list is of another length than there are layers, has no full layer, or a window is needed and missing.
    pub fn listed(
        c: &Config<'_>,
        layers: u64,
        window: &str,
        sliding: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(types) = c.texts("layer_types")? else {
            return Ok(None);
        };
        if types.len() as u64 != layers {
            return Err(c.invalid(
                "layer_types",
                format!("one entry for each of the {layers} layers is expected"),
            ));
        }
        if !types.contains(&"full_attention") {
            return Err(ConfigError::Refused(
                "ValueError: 'full_attention' is not in list (layer_types)".to_owned(),
            ));
        }
        let window = if types.iter().any(|kind| sliding(kind)) {
            Some(c.dim(window)?)
        } else {
            return Ok(Some(Self::None));
        };
        Ok(Some(Self::Listed(
            types
                .iter()
                .map(|kind| window.filter(|_| sliding(kind)))
                .collect(),
        )))
    }
}

/// A model of that shape.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// The mlx-lm module.
    pub family: &'static str,
    /// Module path that all stands under, with its dot; empty for none.
    pub root: &'static str,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Layers.
    pub layers: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Attention of every layer.
    pub attention: Attention,
    /// Windows by layer.
    pub windows: Windows,
    /// Feed-forward network of every layer.
    pub mlp: Mlp,
    /// Kind of all norms.
    pub norm: Norm,
    /// Norms of every layer, each as wide as the residual stream.
    pub norms: &'static [&'static str],
    /// Names outside the layers.
    pub trunk: Trunk,
    /// The embedding is the output head too.
    pub tied: bool,
    /// The output head has a bias.
    pub head_bias: bool,
    /// The class has a `make_cache`.
    pub own_cache: bool,
    /// What comes of quantized caches.
    pub kv_quant: KvQuantSupport,
}

impl Decoder {
    /// Llama's shape: RMS norms before attention and network, separate projections, SwiGLU, no biases, tied.
    #[must_use]
    pub const fn new(
        family: &'static str,
        (hidden, layers, vocab): (u64, u64, u64),
        attention: Attention,
        mlp: Mlp,
    ) -> Self {
        Self {
            family,
            root: "",
            hidden,
            layers,
            vocab,
            attention,
            windows: Windows::None,
            mlp,
            norm: Norm::Rms,
            norms: PRE_NORMS,
            trunk: Trunk::MODEL,
            tied: true,
            head_bias: false,
            own_cache: false,
            kv_quant: KvQuantSupport::Yes,
        }
    }

    /// That shape by the usual fields, which must be there: `hidden_size`, `num_hidden_layers`, `vocab_size`,
    /// `intermediate_size`.
    ///
    /// # Errors
    /// When one is missing or out of range.
    pub fn usual(
        family: &'static str,
        c: &Config<'_>,
        attention: Attention,
    ) -> Result<Self, ConfigError> {
        let sizes = (
            c.dim("hidden_size")?,
            c.count("num_hidden_layers")?,
            c.dim("vocab_size")?,
        );
        let mlp = Mlp::gated(c.dim("intermediate_size")?);
        Ok(Self::new(family, sizes, attention, mlp))
    }

    /// Lists all of it.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn build(&self, c: &Config<'_>) -> Result<Model, ConfigError> {
        self.build_with(c, |_, _| {}, |_| {})
    }

    /// Lists all of it, with what `in_layer` and `outside` add to each layer and outside of them.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn build_with(
        &self,
        c: &Config<'_>,
        in_layer: impl Fn(&mut Builder, &Attention),
        outside: impl FnOnce(&mut Builder),
    ) -> Result<Model, ConfigError> {
        self.frame().build(
            c,
            |i| self.windows.at(i),
            |b, window| {
                let attention = self.attention.windowed(window);
                attention.list(b, self.hidden);
                self.mlp.list(b, self.hidden);
                in_layer(b, &attention);
            },
            outside,
        )
    }

    /// The model but for what its layers hold.
    const fn frame(&self) -> Frame {
        Frame {
            family: self.family,
            root: self.root,
            hidden: self.hidden,
            layers: self.layers,
            vocab: self.vocab,
            norm: self.norm,
            norms: self.norms,
            trunk: self.trunk,
            tied: self.tied,
            head_bias: self.head_bias,
            own_cache: self.own_cache,
            kv_quant: self.kv_quant,
        }
    }
}

/// `tie_word_embeddings`, with the default of the model class.
///
/// # Errors
/// When it is neither true nor false.
pub fn tied_or(c: &Config<'_>, default: bool) -> Result<bool, ConfigError> {
    c.flag_or("tie_word_embeddings", default)
}

/// `tie_word_embeddings`, which must be there.
///
/// # Errors
/// When it is missing, or neither true nor false.
pub fn tied(c: &Config<'_>) -> Result<bool, ConfigError> {
    c.flag("tie_word_embeddings")
}

/// Numbers that a rotary embedding of the kind yarn is computed with.
pub(in crate::model) const YARN_NUMBERS: [&str; 6] = [
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
];

/// Checks a `rope_scaling` as mlx-lm's `initialize_rope` does.
///
/// # Errors
/// When it asks for a kind of positions that mlx-lm does not know.
///
/// Source: mlx-lm 0.32.2 `models/rope_utils.py`.
pub fn check_rope(c: &Config<'_>, field: &'static str) -> Result<(), ConfigError> {
    let Some(rope) = c.object(field)? else {
        return Ok(());
    };
    let kind = match rope.text("type")? {
        Some(kind) if !kind.is_empty() => kind,
        _ if !rope.has("rope_type") => "default",
        _ => rope.text("rope_type")?.unwrap_or("null"),
    };
    let needed: &[&str] = match kind {
        "default" | "proportional" => &[],
        "linear" | "dynamic" | "llama3" | "yarn" | "deepseek_yarn" | "telechat3-yarn" => {
            &["factor"]
        }
        "longrope" => &[
            "original_max_position_embeddings",
            "short_factor",
            "long_factor",
        ],
        "mrope" => &["mrope_section"],
        _ => {
            return Err(ConfigError::Refused(format!(
                "Unsupported RoPE type {kind}"
            )));
        }
    };
    if let Some(key) = needed.iter().find(|key| !rope.has(key)) {
        return Err(ConfigError::Refused(format!(
            "{field} of type '{kind}' has no '{key}'"
        )));
    }
    // What is computed with as the model is made.
    let computed: &[&str] = match kind {
        "linear" => &["factor"],
        "llama3" => &[
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        ],
        "yarn" | "deepseek_yarn" | "telechat3-yarn" => &YARN_NUMBERS,
        "longrope" => &["original_max_position_embeddings", "long_factor", "factor"],
        "mrope" => &["mrope_section"],
        _ => &[],
    };
    let from = if field == "rope_parameters" { &rope } else { c };
    if computed.len() > 2 && from.has("rope_theta") && from.get("rope_theta").is_none() {
        return Err(from.invalid("rope_theta", "a number is expected, and not null"));
    }
    match computed
        .iter()
        .find(|key| rope.has(key) && rope.get(key).is_none())
    {
        None => Ok(()),
        Some(key) => Err(ConfigError::Refused(format!(
            "{field} of type '{kind}' has null for '{key}'"
        ))),
    }
}
