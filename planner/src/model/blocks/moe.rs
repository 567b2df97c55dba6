//! Networks of experts: `SwitchGLU`, the router before it, and the network that all tokens share beside it.

use super::attention::Attention;
use super::decoder::Windows;
use super::frame::Frame;
use super::mlp::Mlp;
use crate::model::{Builder, Config, ConfigError, FeedForward, Model, Policy};
use crate::quant::Dtype;

/// What chooses a token's experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// A linear layer, without bias, of this name, and what the family's predicate says of it.
    Linear(&'static str, Policy),
    /// The same with a bias.
    Biased(&'static str, Policy),
    /// A plain array of this name, never quantized.
    Array(&'static str),
}

/// A network of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moe {
    /// Experts there are.
    pub experts: u64,
    /// Experts a token is sent to.
    pub chosen: u64,
    /// Width inside an expert.
    pub ff: u64,
    /// Biases in the experts.
    pub bias: bool,
    /// Name of the `SwitchGLU`.
    pub switch: &'static str,
    /// The router.
    pub router: Router,
    /// Name of the router's correction, one number an expert, and the type it keeps if casting leaves it alone.
    pub correction: Option<(&'static str, Option<Dtype>)>,
    /// Name and width of the network that all tokens share; the width is 0 without one.
    pub shared: (&'static str, u64),
    /// Biases in that network.
    pub shared_bias: bool,
}

impl Moe {
    /// Under `mlp`: a linear router `gate`, experts `switch_mlp`, no shared network.
    #[must_use]
    pub const fn new(experts: u64, chosen: u64, ff: u64) -> Self {
        Self {
            experts,
            chosen,
            ff,
            bias: false,
            switch: "mlp.switch_mlp",
            router: Router::Linear("mlp.gate", Policy::Asked),
            correction: None,
            shared: ("", 0),
            shared_bias: false,
        }
    }

    /// The same by the fields named, which must be there.
    ///
    /// # Errors
    /// When one is missing or out of range, or there are fewer experts than a token is sent to.
    pub fn by(c: &Config<'_>, experts: &str, chosen: &str, ff: &str) -> Result<Self, ConfigError> {
        Self::new(c.count(experts)?, c.count(chosen)?, c.dim(ff)?).checked(c, chosen)
    }

    /// Checks that there are as many experts as a token is sent to; `chosen` is where that number stands.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn checked(self, c: &Config<'_>, chosen: &str) -> Result<Self, ConfigError> {
        if (1..=self.experts).contains(&self.chosen) {
            Ok(self)
        } else {
            Err(c.invalid(
                chosen,
                format!("from 1 to {} experts a token are expected", self.experts),
            ))
        }
    }

    /// The same with this router.
    #[must_use]
    pub const fn routed(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// The same with a router that is a plain array and a correction beside it, as DeepSeek's v3.
    #[must_use]
    pub const fn corrected(mut self) -> Self {
        self.router = Router::Array("mlp.gate.weight");
        self.correction = Some(("mlp.gate.e_score_correction_bias", Some(Dtype::F32)));
        self
    }

    /// The same with a network of width `ff` that all tokens share; 0 for none.
    #[must_use]
    pub const fn sharing(mut self, name: &'static str, ff: u64) -> Self {
        self.shared = (name, ff);
        self
    }

    /// Lists it all, and notes it as the layer's network.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        match self.router {
            Router::Linear(name, policy) => {
                b.linear(name, self.experts, hidden, false).policy(policy);
            }
            Router::Biased(name, policy) => {
                b.linear(name, self.experts, hidden, true).policy(policy);
            }
            Router::Array(name) => b.param(name, &[self.experts, hidden]),
        }
        match self.correction {
            Some((name, Some(dtype))) => b.param_fixed(name, &[self.experts], dtype),
            Some((name, None)) => b.param(name, &[self.experts]),
            None => {}
        }
        self.list_experts(b, hidden);
        let (name, shared_ff) = self.shared;
        if shared_ff > 0 {
            list_gated(b, name, hidden, shared_ff, self.shared_bias);
        }
        self.note(b);
    }

    /// Lists a model of `frame` with `attention` and this network in every layer.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn build(
        self,
        c: &Config<'_>,
        frame: &Frame,
        attention: &Attention,
    ) -> Result<Model, ConfigError> {
        frame.build(
            c,
            |_| (),
            |b, ()| {
                attention.list(b, frame.hidden);
                self.list(b, frame.hidden);
            },
            |_| {},
        )
    }

    /// Lists the experts alone: three stacks of matrices, one matrix an expert.
    pub fn list_experts(&self, b: &mut Builder, hidden: u64) {
        let (name, ff) = (self.switch, self.ff);
        for (part, output, input) in [
            ("gate_proj", ff, hidden),
            ("up_proj", ff, hidden),
            ("down_proj", hidden, ff),
        ] {
            b.switch_linear(
                &format!("{name}.{part}"),
                (self.experts, self.chosen),
                output,
                input,
                self.bias,
            );
        }
    }

    /// Notes it as the layer's network, without listing anything.
    pub fn note(&self, b: &mut Builder) {
        b.feed_forward(FeedForward::Experts {
            experts: self.experts,
            chosen: self.chosen,
            ff: self.ff,
            shared_ff: self.shared.1,
        });
    }
}

/// Lists `gate_proj`, `up_proj`, `down_proj` under `name` without noting them as the layer's network.
pub fn list_gated(b: &mut Builder, name: &str, hidden: u64, ff: u64, bias: bool) {
    b.linear(&format!("{name}.gate_proj"), ff, hidden, bias);
    b.linear(&format!("{name}.up_proj"), ff, hidden, bias);
    b.linear(&format!("{name}.down_proj"), hidden, ff, bias);
}

/// Feed-forward networks of a model where only some layers have experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networks {
    /// Of the layers with experts; `None` where no layer has them.
    pub moe: Option<Moe>,
    /// Of the others.
    pub dense: Mlp,
}

impl Networks {
    /// Lists the network of a layer that has experts, or of one that has not.
    pub fn list(&self, b: &mut Builder, hidden: u64, sparse: bool) {
        match self.moe {
            Some(moe) if sparse => moe.list(b, hidden),
            _ => self.dense.list(b, hidden),
        }
    }
    /// Lists a model of `frame` with `attention` in every layer, windows where `windows` has them and experts where
    /// `sparse` says so.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn build(
        &self,
        c: &Config<'_>,
        frame: &Frame,
        attention: &Attention,
        windows: &Windows,
        sparse: impl Fn(u64) -> bool,
    ) -> Result<Model, ConfigError> {
        frame.build(
            c,
            |i| (windows.at(i), sparse(i)),
            |b, (window, sparse)| {
                attention.windowed(window).list(b, frame.hidden);
                self.list(b, frame.hidden, sparse);
            },
            |_| {},
        )
    }
}
