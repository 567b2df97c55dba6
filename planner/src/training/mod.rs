//! Fine-tuning as a workload: what `mlx_lm.lora` trains, what its optimizer keeps, and how full memory gets.
//!
//! Source: mlx-lm 0.32.2 `lora.py`, `tuner/`; mlx 0.32.2 `optimizers/optimizers.py`. Trainable parameters, gradients and
//! optimizer state are exact. The activations are an estimate with a wide interval: see [`Activations`].

mod activations;
mod adapter;

use thiserror::Error;

use crate::budget::Backend;
use crate::model::Model;
use crate::quant::Scheme;
use crate::timeline::Estimate;
use crate::weights::{self, WeightsError};

pub use activations::Activations;
pub use adapter::{ADAPTER_BYTES, Adapter, Added};

/// What is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Adapters beside frozen weights (LoRA, DoRA; over packed weights this is QLoRA).
    Adapter(Adapter),
    /// Everything in the last layers; `None` for all.
    Full(Option<u64>),
}

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimizer {
    /// Two moments a parameter.
    Adam,
    /// The same.
    AdamW,
    /// One momentum a parameter.
    Muon,
    /// One momentum a parameter, which is there even at a momentum of 0.
    Sgd,
    /// Row and column averages of matrices.
    Adafactor,
}

/// A fine-tuning run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Training {
    /// What is trained.
    pub method: Method,
    /// With which optimizer.
    pub optimizer: Optimizer,
    /// Sequences a step.
    pub batch: u64,
    /// Tokens of each.
    pub sequence_tokens: u64,
    /// Activations of a layer are made again on the way back.
    pub grad_checkpoint: bool,
}

/// What mlx-lm refuses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrainingError {
    /// More layers than there are.
    #[error(
        "mlx-lm refuses: 'Requested to train {asked} layers but the model only has {layers} layers.'"
    )]
    Layers {
        /// Asked for.
        asked: u64,
        /// There are.
        layers: u64,
    },
    /// A key that names no module.
    #[error(
        "key '{key}' names no linear layer or embedding of this model: known in its layers are {known}"
    )]
    Key {
        /// The key.
        key: String,
        /// Keys that name one.
        known: String,
    },
    /// A class that cannot be frozen.
    #[error(
        "mlx-lm fails: ''Model' object has no attribute '_no_grad'': {family} cannot be frozen, and so not trained"
    )]
    Freeze {
        /// The mlx-lm module.
        family: &'static str,
    },
    /// A class whose layers the tuner treats in a way that is not known here.
    #[error(
        "what is trained of {family} is not known: its layers stand in two lists and have a LoRA of their own"
    )]
    Unknown {
        /// The mlx-lm module.
        family: &'static str,
    },
    /// Nothing would be trained.
    #[error("nothing would be trained: no parameter is left unfrozen")]
    Nothing,
    /// DoRA over experts.
    #[error("mlx-lm refuses: 'SwitchLinear doesn't support DoRA yet.'")]
    DoraExperts,
    /// DoRA over widths that do not divide 32.
    #[error(
        "mlx-lm fails: DoRA takes 32 // {bits} weights a word, which is too few at {bits} bits; 2, 4 or 8 bits are expected"
    )]
    DoraBits {
        /// Bits a weight.
        bits: u8,
    },
    /// Full fine-tuning over packed matrices.
    #[error(
        "mlx fails: '[QuantizedMatmul::vjp] no gradient wrt the quantized weights' of '{path}'; LoRA, or a model that is not quantized, is expected"
    )]
    Packed {
        /// The first module that is packed.
        path: String,
    },
    /// The quantization.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Bytes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// The model's own arrays.
    pub weights_bytes: u64,
    /// Elements that are trained.
    pub trainable_parameters: u64,
    /// Bytes of adapters; 0 without.
    pub adapter_bytes: u64,
    /// Gradients of what is trained.
    pub gradient_bytes: u64,
    /// What the optimizer keeps.
    pub optimizer_bytes: u64,
    /// What is kept on the way forth, and made on the way back.
    pub activations: Activations,
    /// The fullest moment.
    pub peak: Estimate,
}

/// The optimizer's own counters: `step` in 8 bytes, `learning_rate` in 4.
const COUNTERS_BYTES: u64 = 12;

impl Optimizer {
    fn state_bytes(self, trained_bytes: u64, factored_bytes: u64) -> u64 {
        let arrays = match self {
            Self::Adam | Self::AdamW => trained_bytes.saturating_mul(2),
            Self::Muon | Self::Sgd => trained_bytes,
            Self::Adafactor => factored_bytes,
        };
        arrays.saturating_add(COUNTERS_BYTES)
    }
}

impl Training {
    /// Bytes of the run.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn footprint(
        &self,
        model: &Model,
        scheme: &Scheme,
        backend: Backend,
    ) -> Result<Footprint, TrainingError> {
        let weights_bytes = weights::total_bytes(model, scheme)?;
        let (parameters, trained_bytes, factored_bytes, adapter_bytes, inputs, layers) =
            match &self.method {
                Method::Adapter(adapter) => {
                    let added = adapter.added(model, scheme)?;
                    let bytes = added.parameters.saturating_mul(ADAPTER_BYTES);
                    let factored = added.factored.saturating_add(added.vectors);
                    (
                        added.parameters,
                        bytes,
                        factored.saturating_mul(ADAPTER_BYTES),
                        bytes,
                        added.inputs,
                        adapter.layers,
                    )
                }
                Method::Full(layers) => {
                    let whole = adapter::unfrozen(model, scheme, *layers)?;
                    (
                        whole.parameters,
                        whole.bytes,
                        whole.factored_bytes,
                        0,
                        0,
                        *layers,
                    )
                }
            };
        let optimizer_bytes = self.optimizer.state_bytes(trained_bytes, factored_bytes);
        let first = adapter::first_trained(model, layers)?;
        let activations = Activations::of(model, scheme, self, (first, inputs), backend);
        let base = weights_bytes
            .saturating_add(adapter_bytes)
            .saturating_add(optimizer_bytes);
        // While the step is taken, what was and what comes of it are both there.
        let renewed = trained_bytes.saturating_add(optimizer_bytes);
        let peak = Estimate {
            low: base.saturating_add(activations.bytes.low),
            expected: base
                .saturating_add(trained_bytes)
                .saturating_add(activations.bytes.expected),
            high: base
                .saturating_add(trained_bytes)
                .saturating_add(renewed)
                .saturating_add(activations.bytes.high),
        };
        Ok(Footprint {
            weights_bytes,
            trainable_parameters: parameters,
            adapter_bytes,
            gradient_bytes: trained_bytes,
            optimizer_bytes,
            activations,
            peak,
        })
    }
}
