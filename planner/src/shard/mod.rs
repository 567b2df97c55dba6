//! One model over several machines: what each rank holds when mlx-lm splits it into stages (pipeline) or cuts its
//! matrices (tensor), and what the link between them costs.
//!
//! Source: mlx-lm 0.32.2 `utils.py` (`sharded_load`), `models/pipeline.py`, and `shard` of each class; mlx 0.32.2
//! `nn/layers/distributed.py`.

mod held;
pub mod link;
mod pipeline;
mod plan;
mod rules;
mod tensor;

use std::ops::Range;

use thiserror::Error;

use crate::cache::CacheError;
use crate::model::Model;
use crate::plan::PlanError;
use crate::quant::Scheme;
use crate::weights::WeightsError;

pub use link::{Backend as LinkBackend, Link};
pub use plan::{Host, Question, RankPlan, Split};

/// How a model is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Stages of whole layers, one after the other.
    Pipeline,
    /// A share of every matrix, all at the same time.
    Tensor,
}

impl Mode {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Tensor => "tensor",
        }
    }
}

/// Why a model cannot be split so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The class has no `pipeline`.
    #[error(
        "mlx-lm refuses: 'The model does not support pipelining but a pipeline_group was provided' ({family})"
    )]
    NoPipeline {
        /// The mlx-lm module.
        family: &'static str,
    },
    /// The class has no `shard`.
    #[error(
        "mlx-lm refuses: 'The model does not support tensor parallelism but a tensor_group was provided' ({family})"
    )]
    NoTensor {
        /// The mlx-lm module.
        family: &'static str,
    },
    /// The class's `shard` takes shared experts for granted.
    #[error("mlx-lm fails: {family} shards shared_experts, and this model has none")]
    NoShared {
        /// The mlx-lm module.
        family: &'static str,
    },
    /// Fewer layers than ranks.
    #[error(
        "{layers} layers cannot be split over {ranks} ranks: mlx-lm would leave a rank without any"
    )]
    Layers {
        /// Layers there are.
        layers: u64,
        /// Ranks there are.
        ranks: u64,
    },
    /// Heads do not divide.
    #[error(
        "{heads} {what} heads do not divide by {ranks} ranks: a number of ranks that divides {heads} is expected"
    )]
    Heads {
        /// Which heads.
        what: &'static str,
        /// How many.
        heads: u64,
        /// Ranks there are.
        ranks: u64,
    },
    /// A dimension does not divide.
    #[error("mlx cannot cut '{path}': its dimension {width} does not divide by {ranks} ranks")]
    Divide {
        /// The array.
        path: String,
        /// The dimension.
        width: u64,
        /// Ranks there are.
        ranks: u64,
    },
    /// A packed matrix does not divide between groups.
    #[error(
        "mlx cannot cut '{path}': its last dimension {last} does not divide by {ranks} ranks × groups of {group_size}; a smaller group or fewer ranks may"
    )]
    Groups {
        /// The array.
        path: String,
        /// Its last dimension.
        last: u64,
        /// Elements that share a scale.
        group_size: u16,
        /// Ranks there are.
        ranks: u64,
    },
    /// The quantization is refused on one machine too.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The workload is refused on one machine too.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<PlanError> for SplitError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Weights(error) => Self::Weights(error),
            PlanError::Cache(error) => Self::Cache(error),
        }
    }
}

/// What one rank holds of a model.
#[derive(Debug, Clone)]
pub struct Part {
    /// The model as the rank has it.
    pub model: Model,
    /// Layers it runs, where they are not all.
    pub layers: Option<Range<u64>>,
    /// Bytes it holds beyond its arrays: of what it took a slice, the rest stays in the same buffer.
    pub held_bytes: u64,
}

/// What `rank` of `ranks` holds of `model`.
///
/// # Errors
/// Why mlx-lm cannot split it so.
pub fn part(
    model: &Model,
    scheme: &Scheme,
    mode: Mode,
    rank: u64,
    ranks: u64,
) -> Result<Part, SplitError> {
    match mode {
        Mode::Pipeline => {
            let (model, layers) = pipeline::part(model, rank, ranks)?;
            Ok(Part {
                model,
                layers: Some(layers),
                held_bytes: 0,
            })
        }
        Mode::Tensor => {
            let (model, held_bytes) = tensor::part(model, scheme, ranks)?;
            Ok(Part {
                model,
                layers: None,
                held_bytes,
            })
        }
    }
}
