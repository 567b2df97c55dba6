//! Which modules an adapter wraps, and the arrays it adds.
//!
//! Source: mlx-lm 0.32.2 `tuner/utils.py` (`linear_to_lora_layers`), `tuner/lora.py`, `tuner/dora.py`. Adapters are in
//! single precision whatever the model's type: `mx.random.uniform` and `mx.zeros` without a type.

use super::TrainingError;
use crate::model::{Model, Reads, Role, Tensor};
use crate::quant::{Mode as QuantMode, Quant, Scheme};
use crate::weights::{self, Stored};

/// An adapter's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Rank of the two matrices.
    pub rank: u64,
    /// Layers from the end on that have it; `None` for all.
    pub layers: Option<u64>,
    /// Module paths within a layer; empty for every linear layer, expert network and embedding in it.
    pub keys: Vec<String>,
    /// A magnitude for every output beside the two matrices.
    pub dora: bool,
}

/// The arrays that an adapter adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// Elements of them.
    pub parameters: u64,
    /// Modules that are wrapped.
    pub modules: u64,
    /// Inputs of all wrapped modules of one kind of layer together, summed over layers: what is kept in single
    /// precision for their gradients, a token.
    pub inputs: u64,
    /// Elements of arrays with one dimension (magnitudes).
    pub vectors: u64,
    /// Sums of the dimensions of the matrices, which is what a factored optimizer keeps.
    pub factored: u64,
}

/// Bytes of an adapter's element.
pub const ADAPTER_BYTES: u64 = 4;

/// The first layer that is trained.
pub(super) fn first_trained(model: &Model, layers: Option<u64>) -> Result<u64, TrainingError> {
    match model.family {
        // Its `Model` never calls `super().__init__()`.
        family @ "recurrent_gemma" => return Err(TrainingError::Freeze { family }),
        family @ "afm7" => return Err(TrainingError::Unknown { family }),
        _ => {}
    }
    match layers {
        Some(n) if n > model.layer_count => Err(TrainingError::Layers {
            asked: n,
            layers: model.layer_count,
        }),
        Some(n) if n > 0 => Ok(model.layer_count - n),
        // `layers[-0:]` is all of them.
        _ => Ok(0),
    }
}

/// How many of the tensor's layers stand at `first` or after it; 0 outside the model's own list of layers.
pub(super) fn trained(model: &Model, tensor: &Tensor, first: u64) -> u64 {
    let Some(group) = tensor.group.map(|g| &model.groups[g]) else {
        return 0;
    };
    let main = model.groups.iter().find(|g| !g.caches.is_empty());
    if main.is_none_or(|main| main.prefix != group.prefix) {
        return 0;
    }
    group
        .layers
        .iter()
        .filter(|&&l| u64::from(l) >= first)
        .count() as u64
}

pub(super) fn module(path: &str) -> &str {
    path.strip_suffix(".weight")
        .or_else(|| path.strip_suffix(".bias"))
        .unwrap_or(path)
}

/// Whether an adapter can wrap it: a `MultiLinear` has three dimensions and no experts, and is no linear layer to the
/// tuner.
fn wraps(tensor: &Tensor) -> bool {
    match tensor.role {
        Role::Linear => {
            tensor.shape.dims().len() == 2 || matches!(tensor.reads, Reads::Experts { .. })
        }
        Role::Embedding => true,
        Role::Plain => false,
    }
}

impl Adapter {
    /// What it adds to a model.
    ///
    /// # Errors
    /// What mlx-lm refuses: more layers than there are, keys that name nothing, experts or bit widths that DoRA does not
    /// know.
    pub fn added(&self, model: &Model, scheme: &Scheme) -> Result<Added, TrainingError> {
        let first = first_trained(model, self.layers)?;
        if self.dora
            && let Quant::Packed(packing) = scheme.quant
            && packing.mode == QuantMode::Affine
            && 32 % packing.bits != 0
        {
            return Err(TrainingError::DoraBits { bits: packing.bits });
        }
        let mut added = Added::default();
        let mut known = vec![false; self.keys.len()];
        for tensor in &model.tensors {
            let (name, dims) = (module(&tensor.path), tensor.shape.dims());
            let experts = matches!(tensor.reads, Reads::Experts { .. });
            let wraps = wraps(tensor);
            let named = self.keys.iter().position(|k| k == name);
            if let Some(at) = named.filter(|_| wraps) {
                known[at] = true;
            }
            let times = match (tensor.group, named) {
                (Some(_), Some(_)) => trained(model, tensor, first),
                (Some(_), None) if self.keys.is_empty() => trained(model, tensor, first),
                (None, Some(_)) => 1,
                _ => 0,
            };
            if !wraps || times == 0 {
                continue;
            }
            // dbrx keeps a linear layer for each expert.
            if self.dora && experts && model.family != "dbrx" {
                return Err(TrainingError::DoraExperts);
            }
            let (stacks, output, input) = match *dims {
                [output, input] => (1, output, input),
                [stacks, output, input] => (stacks, output, input),
                _ => continue,
            };
            let r = self.rank;
            let matrices = stacks
                .saturating_mul(r)
                .saturating_mul(output.saturating_add(input));
            let magnitudes = if self.dora {
                stacks.saturating_mul(output)
            } else {
                0
            };
            let add = |sum: &mut u64, n: u64| *sum = sum.saturating_add(n.saturating_mul(times));
            add(&mut added.parameters, matrices.saturating_add(magnitudes));
            add(&mut added.modules, 1);
            add(&mut added.inputs, input);
            add(&mut added.vectors, magnitudes);
            // (input, r) and (r, output), with experts one such matrix each: rows, then columns.
            let rows_and_columns = if experts {
                stacks.saturating_mul(
                    r.saturating_mul(2)
                        .saturating_add(input)
                        .saturating_add(output),
                )
            } else {
                input + r + r + output
            };
            add(&mut added.factored, rows_and_columns);
        }
        if let Some(at) = known.iter().position(|k| !k) {
            return Err(TrainingError::Key {
                key: self.keys[at].clone(),
                known: names(model),
            });
        }
        if added.modules == 0 {
            return Err(TrainingError::Nothing);
        }
        Ok(added)
    }
}

/// Modules of a layer that an adapter can wrap, by name.
fn names(model: &Model) -> String {
    let mut all: Vec<&str> = model
        .tensors
        .iter()
        .filter(|t| wraps(t) && t.group.is_some())
        .map(|t| module(&t.path))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

/// Parameters of the last layers that are trained whole, and the bytes that a factored optimizer keeps of them.
pub(super) fn unfrozen(
    model: &Model,
    scheme: &Scheme,
    layers: Option<u64>,
) -> Result<Whole, TrainingError> {
    let first = first_trained(model, layers)?;
    let stored: Vec<(String, Stored)> = weights::ledger(model, scheme)?
        .into_iter()
        .map(|line| (line.path, line.stored))
        .collect();
    let packed = |tensor: &Tensor| {
        let group = tensor.group.map(|g| &model.groups[g]);
        let prefix = group.map_or_else(String::new, |g| format!("{}.*.", g.prefix));
        let weight = format!("{prefix}{}.weight", module(&tensor.path));
        stored
            .iter()
            .any(|(path, stored)| *path == weight && matches!(stored, Stored::Packed(_)))
    };
    let mut whole = Whole::default();
    for tensor in &model.tensors {
        let times = trained(model, tensor, first);
        if times == 0 {
            continue;
        }
        if packed(tensor) {
            return Err(TrainingError::Packed {
                path: module(&tensor.path).to_owned(),
            });
        }
        let elements = tensor.shape.elements().saturating_mul(times);
        let dtype = tensor.fixed_dtype.unwrap_or(scheme.dtype);
        whole.parameters = whole.parameters.saturating_add(elements);
        whole.bytes = whole
            .bytes
            .saturating_add(elements.saturating_mul(dtype.bytes()));
        let dims = tensor.shape.dims();
        let kept = if let [stacks @ .., rows, columns] = dims {
            stacks.iter().product::<u64>() * (rows + columns)
        } else {
            tensor.shape.elements()
        };
        let kept = kept.saturating_mul(times).saturating_mul(dtype.bytes());
        whole.factored_bytes = whole.factored_bytes.saturating_add(kept);
    }
    if whole.parameters == 0 {
        return Err(TrainingError::Nothing);
    }
    Ok(whole)
}

/// What is trained of the model itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Whole {
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) factored_bytes: u64,
}
