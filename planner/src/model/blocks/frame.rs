//! What stands around the layers of almost every language model: an embedding before them, norms within them, a last
//! norm and an output head after them. What the layers hold beside their norms is listed by the caller.

use crate::model::{Builder, Config, ConfigError, KvQuantSupport, Model};

/// Which norm stands before, between and after the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// `RMSNorm`: a weight.
    Rms,
    /// `LayerNorm`: a weight and a bias.
    Layer,
    /// `LayerNorm(bias=False)`: a weight.
    LayerWithoutBias,
}

/// Names of what stands outside the layers, and of the list they stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trunk {
    /// The token embedding.
    pub embed: &'static str,
    /// The list of layers.
    pub layers: &'static str,
    /// The last norm; empty without one.
    pub norm: &'static str,
    /// The output head.
    pub head: &'static str,
}

impl Trunk {
    /// The usual names.
    pub const MODEL: Self = Self {
        embed: "model.embed_tokens",
        layers: "model.layers",
        norm: "model.norm",
        head: "lm_head",
    };
    /// The names of GPT-2 and its heirs.
    pub const TRANSFORMER: Self = Self {
        embed: "transformer.wte",
        layers: "transformer.h",
        norm: "transformer.ln_f",
        head: "lm_head",
    };
}

/// The two norms before attention and before the feed-forward network.
pub const PRE_NORMS: &[&str] = &["input_layernorm", "post_attention_layernorm"];
/// Norms before and after both.
pub const SANDWICH_NORMS: &[&str] = &[
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
];
/// The two norms after attention and after the feed-forward network.
pub const POST_NORMS: &[&str] = &["post_attention_layernorm", "post_feedforward_layernorm"];

/// A model but for what its layers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
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

impl Frame {
    /// RMS norms before attention and network, usual names, an output head of its own.
    #[must_use]
    pub const fn new(family: &'static str, (hidden, layers, vocab): (u64, u64, u64)) -> Self {
        Self {
            family,
            root: "",
            hidden,
            layers,
            vocab,
            norm: Norm::Rms,
            norms: PRE_NORMS,
            trunk: Trunk::MODEL,
            tied: false,
            head_bias: false,
            own_cache: false,
            kv_quant: KvQuantSupport::Yes,
        }
    }

    /// The same by the usual fields, which must be there: `hidden_size`, `num_hidden_layers`, `vocab_size`.
    ///
    /// # Errors
    /// When one is missing or out of range.
    pub fn usual(family: &'static str, c: &Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self::new(
            family,
            (
                c.dim("hidden_size")?,
                c.count("num_hidden_layers")?,
                c.dim("vocab_size")?,
            ),
        ))
    }

    /// The same with the defaults of the class.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn or(
        family: &'static str,
        c: &Config<'_>,
        (hidden, layers, vocab): (u64, u64, u64),
    ) -> Result<Self, ConfigError> {
        Ok(Self::new(
            family,
            (
                c.dim_or("hidden_size", hidden)?,
                c.count_or("num_hidden_layers", layers)?,
                c.dim_or("vocab_size", vocab)?,
            ),
        ))
    }

    /// Lists all of it. `kind` says of each layer what kind it is, `each` lists what a layer of a kind holds beside its
    /// norms, `outside` what stands outside the layers beside the usual.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn build<K: PartialEq + Copy>(
        &self,
        c: &Config<'_>,
        kind: impl Fn(u64) -> K,
        mut each: impl FnMut(&mut Builder, K),
        outside: impl FnOnce(&mut Builder),
    ) -> Result<Model, ConfigError> {
        if self.layers == 0 {
            return Err(ConfigError::Shape(
                "the description has no layers: at least 1 is expected",
            ));
        }
        let mut b = Builder::new(self.family, c, self.hidden, self.vocab)?;
        b.root(self.root);
        if self.own_cache {
            b.own_cache();
        }
        b.kv_quant(self.kv_quant);
        b.embed_tokens(self.trunk.embed, self.tied);
        b.layers(self.trunk.layers, self.layers, kind, |b, kind| {
            each(b, kind);
            for name in self.norms {
                self.list_norm(b, name);
            }
        });
        if !self.trunk.norm.is_empty() {
            self.list_norm(&mut b, self.trunk.norm);
        }
        b.lm_head(self.trunk.head, self.tied, self.head_bias);
        outside(&mut b);
        b.finish()
    }

    fn list_norm(&self, b: &mut Builder, path: &'static str) {
        match self.norm {
            Norm::Rms | Norm::LayerWithoutBias => b.norm(path, self.hidden),
            Norm::Layer => b.layer_norm(path, self.hidden),
        }
    }
}
