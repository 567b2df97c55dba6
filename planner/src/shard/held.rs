//! Bytes of one array of a model, all layers that have it.

use crate::model::Model;
use crate::quant::Scheme;
use crate::weights::{self, WeightsError};

/// Bytes of the array with this index.
pub(super) fn tensor_bytes(
    model: &Model,
    index: usize,
    scheme: &Scheme,
) -> Result<u64, WeightsError> {
    let mut alone = model.clone();
    // Recipes ask for a down_proj among the arrays, which one array alone need not have.
    let scheme = match scheme.quant {
        crate::quant::Quant::Mixed(recipe) => Scheme {
            quant: crate::quant::Quant::Packed(recipe.packing(false)),
            ..scheme.clone()
        },
        _ => scheme.clone(),
    };
    alone.tensors = vec![model.tensors[index].clone()];
    weights::total_bytes(&alone, &scheme)
}
