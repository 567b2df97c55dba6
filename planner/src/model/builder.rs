//! Lists a model's arrays the way its mlx-lm class creates them.

use std::borrow::Cow;

use super::{
    Config, ConfigError, FeedForward, KvQuantSupport, LayerGroup, Mixer, Model, Policy, Reads,
    Role, Shape, Tensor,
};
use crate::cache::CacheKind;
use crate::quant::{Dtype, Recipe};

/// Elements that all arrays together may have; bytes stay far below 2⁶⁴ and sums of them cannot overflow.
const ELEMENTS_MAX: u64 = 1 << 60;

/// Collects arrays; errors are kept and told by [`Builder::finish`], so that a family reads as a list.
#[derive(Debug)]
pub struct Builder {
    model: Model,
    current: Option<usize>,
    scope: &'static str,
    elements: u64,
    error: Option<ConfigError>,
}

/// A linear layer's weight, to say more about it.
#[derive(Debug)]
pub struct Weight<'b>(&'b mut Tensor);

impl Weight<'_> {
    /// The family's predicate keeps it at 8 bits, groups of 64.
    pub fn precise(self) {
        self.0.policy = Policy::Precise;
    }

    /// The family's predicate leaves it alone.
    pub fn keep(self) {
        self.0.policy = Policy::Keep;
    }

    /// A token reads only the rows of chosen experts.
    pub fn experts(self, chosen: u64, of: u64) {
        self.0.reads = Reads::Experts { chosen, of };
    }
}

impl Builder {
    /// Starts a model of `family` (the mlx-lm module) from the text part of its description.
    ///
    /// # Errors
    /// When `model_type`, `hidden_size` or `vocab_size` stands there in a form that cannot be used.
    pub fn new(
        family: &'static str,
        config: &Config<'_>,
        hidden: u64,
        vocab: u64,
    ) -> Result<Self, ConfigError> {
        let max_context_tokens = [
            "max_position_embeddings",
            "max_sequence_length",
            "n_positions",
            "n_ctx",
            "seq_length",
            "max_seq_len",
        ]
        .iter()
        .find_map(|field| config.dim_opt(field).ok().flatten());
        Ok(Self {
            model: Model {
                architecture: config.text("model_type")?.unwrap_or(family).to_owned(),
                family,
                dtype: Dtype::Bf16,
                hidden,
                vocab,
                max_context_tokens,
                layer_count: 0,
                groups: Vec::new(),
                tensors: Vec::with_capacity(32),
                kv_quant: KvQuantSupport::Yes,
                honours_max_kv_size: true,
            },
            current: None,
            scope: "",
            elements: 0,
            error: None,
        })
    }

    /// The class has its own `make_cache`, so `--max-kv-size` does nothing.
    pub fn own_cache(&mut self) {
        self.model.honours_max_kv_size = false;
    }

    /// What mlx-lm does when asked to quantize the caches.
    pub fn kv_quant(&mut self, support: KvQuantSupport) {
        self.model.kv_quant = support;
    }

    /// Keeps the first error.
    pub fn fail(&mut self, error: ConfigError) {
        self.error.get_or_insert(error);
    }

    /// Everything that `list` adds stands in the module `scope`: a path within the layer, in place of any outer one.
    pub fn within(&mut self, scope: &'static str, list: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.scope, scope);
        list(self);
        self.scope = outer;
    }

    /// The full name of a parameter of the module `path`.
    fn name(&self, path: &str, parameter: &str) -> Cow<'static, str> {
        Cow::Owned(match (self.scope, path) {
            ("", _) => format!("{path}.{parameter}"),
            (scope, "") => format!("{scope}.{parameter}"),
            (scope, _) => format!("{scope}.{path}.{parameter}"),
        })
    }

    fn push(
        &mut self,
        path: Cow<'static, str>,
        dims: &[u64],
        role: Role,
        reads: Reads,
    ) -> &mut Tensor {
        let repeats = self.current.map_or(1, |g| self.model.groups[g].count());
        let total = dims
            .iter()
            .try_fold(repeats, |n, &d| n.checked_mul(d))
            .and_then(|n| n.checked_add(self.elements))
            .filter(|&n| n <= ELEMENTS_MAX);
        // An array too large to count is kept empty, so that nothing computed before the error is told overflows.
        let shape = if let Some(total) = total {
            self.elements = total;
            Shape::new(dims)
        } else {
            self.fail(ConfigError::Overflow {
                path: path.to_string(),
            });
            Shape::new(&[0])
        };
        let index = self.model.tensors.len();
        self.model.tensors.push(Tensor {
            path,
            group: self.current,
            shape,
            role,
            policy: Policy::Asked,
            fixed_dtype: None,
            reads,
        });
        &mut self.model.tensors[index]
    }

    /// `nn.Linear(input, output, bias)`: weight (output, input) and, with `bias`, (output).
    pub fn linear(
        &mut self,
        path: &'static str,
        output: u64,
        input: u64,
        bias: bool,
    ) -> Weight<'_> {
        if bias {
            self.push(self.name(path, "bias"), &[output], Role::Plain, Reads::All);
        }
        Weight(self.push(
            self.name(path, "weight"),
            &[output, input],
            Role::Linear,
            Reads::All,
        ))
    }

    /// `SwitchLinear(input, output, experts, bias)`: weight (experts, output, input), bias (experts, output).
    pub fn switch_linear(
        &mut self,
        path: &str,
        (experts, chosen): (u64, u64),
        output: u64,
        input: u64,
        bias: bool,
    ) -> Weight<'_> {
        let reads = Reads::Experts {
            chosen,
            of: experts,
        };
        if bias {
            self.push(
                self.name(path, "bias"),
                &[experts, output],
                Role::Plain,
                reads,
            );
        }
        Weight(self.push(
            self.name(path, "weight"),
            &[experts, output, input],
            Role::Linear,
            reads,
        ))
    }

    /// `MultiLinear(input, output, heads)`: weight (heads, output, input).
    pub fn multi_linear(
        &mut self,
        path: &'static str,
        heads: u64,
        output: u64,
        input: u64,
    ) -> Weight<'_> {
        Weight(self.push(
            self.name(path, "weight"),
            &[heads, output, input],
            Role::Linear,
            Reads::All,
        ))
    }

    /// `nn.Embedding(rows, width)`.
    pub fn embedding(&mut self, path: &'static str, rows: u64, width: u64) {
        self.push(
            self.name(path, "weight"),
            &[rows, width],
            Role::Embedding,
            Reads::Row,
        );
    }

    /// The token embedding, which is the output head too when `tied`.
    pub fn embed_tokens(&mut self, path: &'static str, tied: bool) -> Weight<'_> {
        let (vocab, hidden) = (self.model.vocab, self.model.hidden);
        let reads = if tied { Reads::Tied } else { Reads::Row };
        Weight(self.push(
            self.name(path, "weight"),
            &[vocab, hidden],
            Role::Embedding,
            reads,
        ))
    }

    /// The output head, unless it is tied to the embedding.
    pub fn lm_head(&mut self, path: &'static str, tied: bool, bias: bool) {
        if !tied {
            let (vocab, hidden) = (self.model.vocab, self.model.hidden);
            self.linear(path, vocab, hidden, bias);
        }
    }

    /// `nn.RMSNorm(width)`: a weight.
    pub fn norm(&mut self, path: &'static str, width: u64) {
        self.push(self.name(path, "weight"), &[width], Role::Plain, Reads::All);
    }

    /// `nn.LayerNorm(width, bias=True)`: a weight and a bias.
    pub fn layer_norm(&mut self, path: &'static str, width: u64) {
        self.norm(path, width);
        self.push(self.name(path, "bias"), &[width], Role::Plain, Reads::All);
    }

    /// A parameter that is never quantized (full name, with `.weight` where it has one).
    pub fn param(&mut self, path: &'static str, dims: &[u64]) {
        self.plain(path, dims);
    }

    /// The same, in a type that casting leaves alone.
    pub fn param_fixed(&mut self, path: &'static str, dims: &[u64], dtype: Dtype) {
        self.plain(path, dims).fixed_dtype = Some(dtype);
    }

    fn plain(&mut self, path: &'static str, dims: &[u64]) -> &mut Tensor {
        let path = match self.scope {
            "" => Cow::Borrowed(path),
            scope => Cow::Owned(format!("{scope}.{path}")),
        };
        self.push(path, dims, Role::Plain, Reads::All)
    }

    /// A depthwise `nn.Conv1d` over `channels`: weight (channels, kernel, 1) and, with `bias`, (channels).
    pub fn conv1d(&mut self, path: &'static str, channels: u64, kernel: u64, bias: bool) {
        if bias {
            self.push(
                self.name(path, "bias"),
                &[channels],
                Role::Plain,
                Reads::All,
            );
        }
        self.push(
            self.name(path, "weight"),
            &[channels, kernel, 1],
            Role::Plain,
            Reads::All,
        );
    }

    /// Adds `count` layers under `prefix`. `kind` says of each index what kind it is; `each` lists the arrays, mixers
    /// and caches of a kind, once.
    pub fn layers<K: PartialEq + Copy>(
        &mut self,
        prefix: &'static str,
        count: u64,
        kind: impl Fn(u64) -> K,
        mut each: impl FnMut(&mut Self, K),
    ) {
        let mut kinds: Vec<(K, usize)> = Vec::new();
        for index in 0..count {
            let k = kind(index);
            let known = kinds
                .iter()
                .find(|(known, _)| *known == k)
                .map(|(_, group)| *group);
            let group = known.unwrap_or_else(|| {
                kinds.push((k, self.model.groups.len()));
                self.model.groups.push(LayerGroup {
                    prefix,
                    layers: Vec::new(),
                    favoured: 0,
                    mixers: Vec::new(),
                    feed_forward: FeedForward::None,
                    caches: Vec::new(),
                });
                self.model.groups.len() - 1
            });
            let group = &mut self.model.groups[group];
            group.layers.push(index as u32);
            group.favoured += u64::from(Recipe::favours(index, count));
        }
        self.model.layer_count += count;
        for (k, group) in kinds {
            self.current = Some(group);
            each(self, k);
            self.current = None;
        }
    }

    /// How the current kind of layer mixes tokens.
    pub fn mixer(&mut self, mixer: Mixer) {
        if let Some(group) = self.current {
            self.model.groups[group].mixers.push(mixer);
        }
    }

    /// What each layer of the current kind keeps between tokens.
    pub fn cache(&mut self, cache: CacheKind) {
        if let Some(group) = self.current {
            self.model.groups[group].caches.push(cache);
        }
    }

    /// How the current kind of layer transforms each token.
    pub fn feed_forward(&mut self, feed_forward: FeedForward) {
        if let Some(group) = self.current {
            self.model.groups[group].feed_forward = feed_forward;
        }
    }

    /// The finished model.
    ///
    /// # Errors
    /// The first thing that went wrong while it was listed.
    pub fn finish(self) -> Result<Model, ConfigError> {
        self.error.map_or(Ok(self.model), Err)
    }
}
