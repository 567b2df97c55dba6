//! Lists a model's arrays the way its mlx-lm class creates them.

use std::borrow::Cow;

use super::{
    CacheKind, Config, ConfigError, FeedForward, KvQuantSupport, LayerGroup, Mixer, Model, Order,
    Policy, Reads, Role, Shape, Tensor, Traits,
};
use crate::quant::{Dtype, Recipe};

/// Elements that all arrays together may have; bytes stay far below 2⁶⁴ and sums of them cannot overflow.
const ELEMENTS_MAX: u64 = 1 << 60;

/// What classes call the number that keeps their norms from dividing by zero.
const NORM_FIELDS: &[&str] = &[
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "layernorm_epsilon",
    "norm_epsilon",
    "norm_eps",
];

/// Collects arrays; errors are kept and told by [`Builder::finish`], so that a family reads as a list.
#[derive(Debug)]
pub struct Builder {
    model: Model,
    current: Option<usize>,
    root: &'static str,
    scope: &'static str,
    elements: u64,
    error: Option<ConfigError>,
    /// Part of a head that positions rotate, where the description says.
    rotated: Option<u32>,
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

    /// The family's predicate says this of it.
    pub fn policy(self, policy: Policy) {
        self.0.policy = policy;
    }

    /// Casting leaves it alone, and so its scales when it is quantized.
    pub fn fixed(self, dtype: Dtype) {
        self.0.fixed_dtype = Some(dtype);
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
        config.norms_hold(NORM_FIELDS)?;
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
                quant_refused: None,
                honours_max_kv_size: true,
                traits: Vec::new(),
                order: Order::default(),
            },
            current: None,
            root: "",
            scope: "",
            elements: 0,
            error: None,
            rotated: rotated(config),
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

    /// mlx-lm fails to quantize the class, for this reason.
    pub fn refuse_quant(&mut self, why: &'static str) {
        self.model.quant_refused = Some(why);
    }

    /// The whole model stands under `root` (`language_model.`), as in the wrappers of vision-language models.
    pub fn root(&mut self, root: &'static str) {
        self.root = root;
    }

    /// What `list` adds stands in the module `scope` of its layer, in place of any scope around it.
    pub fn within(&mut self, scope: &'static str, list: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.scope, scope);
        list(self);
        self.scope = outer;
    }

    /// Keeps the first error.
    pub fn fail(&mut self, error: ConfigError) {
        self.error.get_or_insert(error);
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
        let path = match (self.current, self.root, self.scope) {
            (Some(_), _, "") | (None, "", _) => path,
            (Some(_), _, scope) => Cow::Owned(format!("{scope}.{path}")),
            (None, root, _) => Cow::Owned(format!("{root}{path}")),
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
    pub fn linear(&mut self, path: &str, output: u64, input: u64, bias: bool) -> Weight<'_> {
        if bias {
            self.push(
                Cow::Owned(format!("{path}.bias")),
                &[output],
                Role::Plain,
                Reads::All,
            );
        }
        Weight(self.push(
            Cow::Owned(format!("{path}.weight")),
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
                Cow::Owned(format!("{path}.bias")),
                &[experts, output],
                Role::Plain,
                reads,
            );
        }
        Weight(self.push(
            Cow::Owned(format!("{path}.weight")),
            &[experts, output, input],
            Role::Linear,
            reads,
        ))
    }

    /// `MultiLinear(input, output, heads)`: weight (heads, output, input).
    pub fn multi_linear(&mut self, path: &str, heads: u64, output: u64, input: u64) -> Weight<'_> {
        Weight(self.push(
            Cow::Owned(format!("{path}.weight")),
            &[heads, output, input],
            Role::Linear,
            Reads::All,
        ))
    }

    /// `nn.Embedding(rows, width)`.
    pub fn embedding(&mut self, path: &str, rows: u64, width: u64) {
        self.push(
            Cow::Owned(format!("{path}.weight")),
            &[rows, width],
            Role::Embedding,
            Reads::Row,
        );
    }

    /// The token embedding, which is the output head too when `tied`.
    pub fn embed_tokens(&mut self, path: &str, tied: bool) {
        let (vocab, hidden) = (self.model.vocab, self.model.hidden);
        let reads = if tied { Reads::Tied } else { Reads::Row };
        self.push(
            Cow::Owned(format!("{path}.weight")),
            &[vocab, hidden],
            Role::Embedding,
            reads,
        );
    }

    /// The output head, unless it is tied to the embedding.
    pub fn lm_head(&mut self, path: &str, tied: bool, bias: bool) {
        if !tied {
            let (vocab, hidden) = (self.model.vocab, self.model.hidden);
            self.linear(path, vocab, hidden, bias);
        }
    }

    /// `nn.RMSNorm(width)`: a weight.
    pub fn norm(&mut self, path: &str, width: u64) {
        self.push(
            Cow::Owned(format!("{path}.weight")),
            &[width],
            Role::Plain,
            Reads::All,
        );
    }

    /// `nn.LayerNorm(width, bias=True)`: a weight and a bias.
    pub fn layer_norm(&mut self, path: &str, width: u64) {
        self.norm(path, width);
        self.push(
            Cow::Owned(format!("{path}.bias")),
            &[width],
            Role::Plain,
            Reads::All,
        );
    }

    /// A depthwise `nn.Conv1d` over `channels`: weight (channels, kernel, 1) and, with `bias`, (channels).
    pub fn conv1d(&mut self, path: &str, channels: u64, kernel: u64, bias: bool) {
        if bias {
            self.push(
                Cow::Owned(format!("{path}.bias")),
                &[channels],
                Role::Plain,
                Reads::All,
            );
        }
        self.push(
            Cow::Owned(format!("{path}.weight")),
            &[channels, kernel, 1],
            Role::Plain,
            Reads::All,
        );
    }

    /// A parameter that is never quantized (full name, with `.weight` where it has one).
    pub fn param(&mut self, path: &'static str, dims: &[u64]) {
        self.push(Cow::Borrowed(path), dims, Role::Plain, Reads::All);
    }

    /// The same, in a type that casting leaves alone.
    pub fn param_fixed(&mut self, path: &'static str, dims: &[u64], dtype: Dtype) {
        self.push(Cow::Borrowed(path), dims, Role::Plain, Reads::All)
            .fixed_dtype = Some(dtype);
    }

    /// Adds `count` layers under `prefix`. `kind` says of each index what kind it is; `each` lists the arrays, mixers
    /// and caches of a kind, once.
    pub fn layers<K: PartialEq + Copy>(
        &mut self,
        prefix: &'static str,
        count: u64,
        kind: impl Fn(u64) -> K,
        each: impl FnMut(&mut Self, K),
    ) {
        let before = self.model.layer_count;
        self.layers_among(prefix, count, count, kind, each);
        self.model.layer_count = before + count;
    }

    /// The same for one of several lists of layers, the model's own being `total`: a mixed recipe takes the index from
    /// the list, but its eighths from the total.
    pub fn layers_among<K: PartialEq + Copy>(
        &mut self,
        prefix: &'static str,
        count: u64,
        total: u64,
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
                    prefix: match self.root {
                        "" => Cow::Borrowed(prefix),
                        root => Cow::Owned(format!("{root}{prefix}")),
                    },
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
            group.favoured += u64::from(Recipe::favours(index, total));
        }
        self.model.layer_count = total;
        for (k, group) in kinds {
            self.current = Some(group);
            each(self, k);
            self.current = None;
        }
    }

    /// The family's predicate says `policy` of the modules whose path ends so, among those listed until now; within a
    /// layer, among those of its kind.
    pub fn predicate(&mut self, ends: &[&str], policy: Policy) {
        let current = self.current;
        let here = |t: &&mut Tensor| current.is_none() || t.group == current;
        for tensor in self.model.tensors.iter_mut().filter(here) {
            let module = tensor.path.strip_suffix(".weight");
            if module.is_some_and(|module| ends.iter().any(|end| module.ends_with(end))) {
                tensor.policy = policy;
            }
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
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut model = self.model;
        model.traits = (0..model.groups.len())
            .map(|group| Traits::of(&model, group, self.rotated))
            .collect();
        model.order = Order::of(&model.groups);
        Ok(model)
    }
}

/// The part of a head that positions rotate, by the fields that model classes read, in 65536ths.
fn rotated(config: &Config<'_>) -> Option<u32> {
    let part = |scope: &Config<'_>| {
        ["partial_rotary_factor", "rotary_pct", "rope_pct"]
            .iter()
            .find_map(|field| scope.get(field)?.as_f64())
    };
    let nested = config.object("rope_parameters").ok().flatten();
    let share = part(config).or_else(|| part(&nested?)).or_else(|| {
        let rotary = config.get("rotary_dim")?.as_f64()?;
        let head = config.get("head_dim")?.as_f64()?;
        Some(rotary / head)
    })?;
    (0.0..=1.0)
        .contains(&share)
        .then_some((share * 65_536.0) as u32)
}
