//! Tensors × scheme → bytes, as a ledger: what MLX holds once a model is loaded, to the byte.
//!
//! Source: mlx-lm 0.32.2 `utils.py` (`quantize_model`) and `convert.py`; mlx 0.32.2 `nn/layers/quantized.py`.

use thiserror::Error;

use crate::model::{Model, Policy, Role, Tensor};
use crate::quant::{Blocks, Dtype, Override, Packing, Quant, Recipe, Scheme};

/// How an array is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As plain elements.
    Plain(Dtype),
    /// Packed, with scales (and biases) beside it.
    Packed(Packing),
    /// As a GGUF file stores it.
    Blocks(Blocks),
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(dtype) => f.write_str(dtype.name()),
            Self::Packed(packing) => packing.fmt(f),
            Self::Blocks(blocks) => f.write_str(blocks.name),
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Path of the array; `*` stands for the indices of the layers.
    pub path: String,
    /// Layers that have it so.
    pub count: u64,
    /// Shape in one layer, before packing.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub stored: Stored,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// A quantization that mlx-lm refuses for a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WeightsError {
    /// A mixed recipe needs layers with these names.
    #[error(
        "mlx-lm refuses a mixed recipe for this model: it has no layer named down_proj ('Model does not have expected keys for mixed quant.')"
    )]
    NoDownProj,
    /// A mixed recipe takes a layer's index from a place in the path where another module has a name.
    #[error(
        "mlx-lm refuses a mixed recipe for this model: '{path}' has no layer's index where its layers have one (ValueError: invalid literal for int())"
    )]
    NoIndex {
        /// The array.
        path: String,
    },
    /// The class cannot be quantized.
    #[error("mlx-lm fails to quantize this model: {0}")]
    Model(&'static str),
    /// An exception cannot be applied.
    #[error(
        "mlx-lm refuses this quantization: '{path}' is to be packed in groups of {group_size}, but its last dimension {last} does not divide by that"
    )]
    Divide {
        /// The array.
        path: String,
        /// Elements that share a scale.
        group_size: u16,
        /// The array's last dimension.
        last: u64,
    },
}

/// Bytes of one array of `shape` elements stored so.
fn bytes_of(tensor: &Tensor, stored: Stored, scheme: &Scheme) -> u64 {
    let elements = tensor.shape.elements();
    match stored {
        Stored::Plain(dtype) => elements * dtype.bytes(),
        Stored::Packed(packing) => {
            let scales = tensor.fixed_dtype.unwrap_or(scheme.dtype);
            elements / u64::from(packing.group_size) * packing.group_bytes(scales)
        }
        Stored::Blocks(blocks) => elements / u64::from(blocks.elements) * u64::from(blocks.bytes),
    }
}

/// The module that a parameter belongs to: its path without the last part.
fn module(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(module, _)| module)
}

/// How the array is stored without exceptions by path; `favoured` matters to mixed recipes only.
fn rule(tensor: &Tensor, scheme: &Scheme, favoured: bool) -> Result<Stored, WeightsError> {
    let plain = Stored::Plain(tensor.fixed_dtype.unwrap_or(scheme.dtype));
    if tensor.role == Role::Plain {
        return Ok(plain);
    }
    let (asked, packing) = match scheme.quant {
        Quant::Blocks(blocks) if blocks.divides(tensor.shape.last()) => {
            return Ok(Stored::Blocks(blocks));
        }
        Quant::Plain(_) | Quant::Blocks(_) => return Ok(plain),
        Quant::Packed(packing) => match tensor.policy {
            Policy::Asked => (packing, packing),
            Policy::Precise => (packing, Packing::PRECISE),
            Policy::Keep => return Ok(plain),
        },
        Quant::Mixed(recipe) => {
            let high =
                tensor.path.contains("lm_head") || (favoured && Recipe::favours_path(&tensor.path));
            (recipe.packing(false), recipe.packing(high))
        }
    };
    // The test is on the group size asked for, whatever the module then gets.
    if !asked.divides(tensor.shape.last()) {
        return Ok(plain);
    }
    checked(tensor, packing)
}

fn checked(tensor: &Tensor, packing: Packing) -> Result<Stored, WeightsError> {
    if packing.divides(tensor.shape.last()) {
        Ok(Stored::Packed(packing))
    } else {
        Err(WeightsError::Divide {
            path: module(&tensor.path).to_owned(),
            group_size: packing.group_size,
            last: tensor.shape.last(),
        })
    }
}

/// Calls `each` for every run of layers that store an array alike: (count, how).
fn portions(
    model: &Model,
    tensor: &Tensor,
    scheme: &Scheme,
    mut each: impl FnMut(u64, Stored),
) -> Result<(), WeightsError> {
    let group = tensor.group.map(|g| &model.groups[g]);
    if let Some(overrides) = scheme.overrides.as_deref() {
        let own_path = match tensor.role {
            Role::Plain => &*tensor.path,
            Role::Linear | Role::Embedding => module(&tensor.path),
        };
        let over = |path: &str, favoured| match overrides.get(path) {
            Some(Override::Keep) => Ok(Stored::Plain(scheme.dtype)),
            Some(Override::Plain(dtype)) => Ok(Stored::Plain(*dtype)),
            Some(Override::Blocks(blocks)) => Ok(Stored::Blocks(*blocks)),
            Some(Override::Packed(packing)) if tensor.role != Role::Plain => {
                checked(tensor, *packing)
            }
            Some(Override::Packed(_)) | None => rule(tensor, scheme, favoured),
        };
        let Some(group) = group else {
            each(1, over(own_path, false)?);
            return Ok(());
        };
        let mut runs: Vec<(u64, Stored)> = Vec::new();
        for &layer in &group.layers {
            let stored = over(
                &format!("{}.{layer}.{own_path}", group.prefix),
                Recipe::favours(u64::from(layer), model.layer_count),
            )?;
            match runs.iter_mut().find(|(_, known)| *known == stored) {
                Some((count, _)) => *count += 1,
                None => runs.push((1, stored)),
            }
        }
        for (count, stored) in runs {
            each(count, stored);
        }
        return Ok(());
    }
    let count = group.map_or(1, super::model::LayerGroup::count);
    match (scheme.quant, group) {
        (Quant::Mixed(_), Some(group))
            if tensor.role != Role::Plain && Recipe::favours_path(&tensor.path) =>
        {
            if group.favoured > 0 {
                each(group.favoured, rule(tensor, scheme, true)?);
            }
            if group.favoured < count {
                each(count - group.favoured, rule(tensor, scheme, false)?);
            }
        }
        _ => each(count, rule(tensor, scheme, false)?),
    }
    Ok(())
}

/// Source: mlx-lm 0.32.2 `convert.py`, `mixed_quant_predicate_builder`: the index stands where the first path with
/// `down_proj` has one, and is taken from every path that is long enough.
fn check_recipe(model: &Model) -> Result<(), WeightsError> {
    let Some(down) = model.tensors.iter().find(|t| t.path.contains("down_proj")) else {
        return Err(WeightsError::NoDownProj);
    };
    let depth = |t: &Tensor| t.group.map(|g| model.groups[g].prefix.split('.').count());
    let Some(place) = depth(down) else {
        return Ok(());
    };
    let strays = |t: &&Tensor| {
        let asked = t.role != Role::Plain && t.shape.last().is_multiple_of(64);
        if !asked || depth(t) == Some(place) {
            return false;
        }
        let prefix = t.group.map(|g| model.groups[g].prefix.split('.'));
        let part = match prefix {
            None => module(&t.path).split('.').nth(place),
            Some(prefix) => prefix
                .chain(["0"])
                .chain(module(&t.path).split('.'))
                .nth(place),
        };
        part.is_some_and(|part| part.parse::<u64>().is_err() && part != "*")
    };
    match model.tensors.iter().find(strays) {
        None => Ok(()),
        Some(tensor) => Err(WeightsError::NoIndex {
            path: module(&tensor.path).to_owned(),
        }),
    }
}

fn check(model: &Model, scheme: &Scheme) -> Result<(), WeightsError> {
    if let Some(why) = model.quant_refused
        && !matches!(scheme.quant, Quant::Plain(_) | Quant::Blocks(_))
    {
        return Err(WeightsError::Model(why));
    }
    if matches!(scheme.quant, Quant::Mixed(_)) {
        check_recipe(model)?;
    }
    Ok(())
}

/// Bytes of parameter arrays: all of them, and what one token reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// All of them.
    pub all_bytes: u64,
    /// What one token reads of arrays that every token reads; one row of an embedding.
    pub dense_bytes: u64,
    /// What one token reads of experts: the chosen ones.
    pub expert_bytes: u64,
}

/// Bytes of all parameter arrays, and what one token reads of them.
///
/// # Errors
/// When mlx-lm refuses the quantization for this model.
pub fn totals(model: &Model, scheme: &Scheme) -> Result<Totals, WeightsError> {
    use crate::model::Reads;
    check(model, scheme)?;
    let mut totals = Totals::default();
    for tensor in &model.tensors {
        portions(model, tensor, scheme, |count, stored| {
            let bytes = bytes_of(tensor, stored, scheme).saturating_mul(count);
            totals.all_bytes = totals.all_bytes.saturating_add(bytes);
            match tensor.reads {
                Reads::All | Reads::Tied => {
                    totals.dense_bytes = totals.dense_bytes.saturating_add(bytes);
                }
                Reads::Experts { chosen, of } => {
                    totals.expert_bytes = totals
                        .expert_bytes
                        .saturating_add(bytes / of.max(1) * chosen);
                }
                Reads::Row => {
                    let rows = tensor.shape.dims().first().copied().unwrap_or(1).max(1);
                    totals.dense_bytes = totals.dense_bytes.saturating_add(bytes / rows);
                }
            }
        })?;
    }
    Ok(totals)
}

/// Bytes of all parameter arrays.
///
/// # Errors
/// When mlx-lm refuses the quantization for this model.
pub fn total_bytes(model: &Model, scheme: &Scheme) -> Result<u64, WeightsError> {
    totals(model, scheme).map(|totals| totals.all_bytes)
}

/// Every array with its count, form and bytes; the bytes sum to [`total_bytes`].
///
/// # Errors
/// As [`total_bytes`].
pub fn ledger(model: &Model, scheme: &Scheme) -> Result<Vec<Line>, WeightsError> {
    check(model, scheme)?;
    let mut lines = Vec::with_capacity(model.tensors.len());
    for tensor in &model.tensors {
        let path = tensor.group.map_or_else(
            || tensor.path.to_string(),
            |g| format!("{}.*.{}", model.groups[g].prefix, tensor.path),
        );
        portions(model, tensor, scheme, |count, stored| {
            lines.push(Line {
                path: path.clone(),
                count,
                shape: tensor.shape.dims().to_vec(),
                stored,
                bytes: bytes_of(tensor, stored, scheme).saturating_mul(count),
            });
        })?;
    }
    Ok(lines)
}
