//! How a checkpoint's own tensors say that a model is stored: the scheme that gives its bytes.
//!
//! mlx-lm takes the packing of a module from the shapes of its arrays and leaves everything else in the type of the
//! file (mlx-lm 0.32.2 `utils.py`, `load_model` and `infer_quant_config`), so the tensors go before config.json. Files
//! saved by mlx-lm have every array under the path that the model has it under; those of other libraries name some
//! differently, most of all experts, which mlx-lm stacks.

mod form;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, StoredTensor, StoredType};
use super::gguf::{GgmlType, names};
use super::safetensors::Dtype as FileDtype;
use crate::model::{Model, Policy, Reads, Role, Shape, Tensor};
use crate::quant::{Dtype, Mode, Override, Quant, Scheme};
use form::{DTYPES, Form, MODES, plain};
use places::{SINGLE_EXPERTS, inside_wrappers};

/// What a checkpoint says of a model's arrays.
#[derive(Debug, Clone)]
pub struct Stored {
    /// How the arrays are stored; with it the weights of the model have the bytes of the files.
    pub scheme: Scheme,
    /// Arrays of the model that the files do not have under a name that is known here. Their bytes come from the model
    /// and the scheme alone.
    pub missing: Vec<String>,
    /// Arrays whose shape in the files is another than the model's: (path, shape in the files, the model's).
    pub reshaped: Vec<(String, Vec<u64>, Vec<u64>)>,
    /// Tensors of the files that are no array of the model: mlx-lm leaves them out or refuses them.
    pub left_out: Vec<String>,
    /// Bytes of those.
    pub left_out_bytes: u64,
    /// Types in the files that MLX does not hold arrays in, by name.
    pub widened: BTreeSet<&'static str>,
}

/// Reads how `checkpoint` stores `model`, whose weights would be of type `model.dtype` where the files do not say.
/// `declared` is what its config.json says of their quantization: it holds for arrays that are not found.
#[must_use]
pub fn stored(model: &Model, checkpoint: &Checkpoint, declared: Option<&Scheme>) -> Stored {
    let mut reading = Reading {
        checkpoint,
        is_gguf: checkpoint
            .tensors
            .iter()
            .any(|tensor| matches!(tensor.dtype, StoredType::Ggml(_))),
        used: vec![false; checkpoint.tensors.len()],
        scales: None,
        missing: Vec::new(),
        reshaped: Vec::new(),
        widened: BTreeSet::new(),
    };
    let mut arrays: Vec<(String, &Tensor, Form)> = Vec::new();
    for tensor in &model.tensors {
        let mut one = |path: String| match reading.form(&path, tensor) {
            Some(form) => arrays.push((path, tensor, form)),
            None => reading.missing.push(path),
        };
        match tensor.group.map(|group| &model.groups[group]) {
            None => one(tensor.path.to_string()),
            Some(group) => {
                for layer in &group.layers {
                    one(format!("{}.{layer}.{}", group.prefix, tensor.path));
                }
            }
        }
    }
    let packed = most(&arrays, |form| !matches!(form, Form::Plain(_)));
    let plain = most(&arrays, |form| matches!(form, Form::Plain(_)));
    let plain_dtype = match plain {
        Some(Form::Plain(key)) => DTYPES[key],
        _ => model.dtype,
    };
    let dtype = match packed {
        // llama.cpp's activations and caches, and what MLX reads such files into.
        Some(Form::Blocks(_)) => Dtype::F16,
        _ => reading.scales.unwrap_or(plain_dtype),
    };
    let quant = match packed.map(Form::exception) {
        Some(Override::Packed(packing)) => Quant::Packed(packing),
        Some(Override::Blocks(blocks)) => Quant::Blocks(blocks),
        // Packed under other names: what is not found is as config.json says.
        _ => match declared.filter(|_| !reading.missing.is_empty()) {
            Some(declared) => declared.quant,
            None => Quant::Plain(dtype),
        },
    };
    let declared = declared.filter(|declared| declared.quant == quant);
    let known = declared.and_then(|declared| declared.overrides.as_deref().cloned());
    let scheme = Scheme {
        overrides: exceptions(arrays, quant, dtype, known.unwrap_or_default()),
        ..Scheme::new(dtype, quant)
    };
    let (left_out, left_out_bytes) = reading.left_out();
    let Reading {
        missing,
        reshaped,
        widened,
        ..
    } = reading;
    Stored {
        scheme,
        missing,
        reshaped,
        left_out,
        left_out_bytes,
        widened,
    }
}

/// Families that keep an output head of their own where the files have one, and tie it to the embedding where not
/// (`sanitize` of mlx-lm 0.32.2).
const HEAD_BY_FILE: [&str; 2] = ["gemma3", "gemma3_text"];

/// Gives `model` an output head of its own where its family goes by the files and they have one.
pub fn take_head(model: &mut Model, checkpoint: &Checkpoint) {
    if !HEAD_BY_FILE.contains(&model.family) {
        return;
    }
    let tied = model
        .tensors
        .iter_mut()
        .find(|tensor| tensor.reads == Reads::Tied);
    let Some(embedding) = tied else { return };
    let Some(outer) = embedding.path.strip_suffix("model.embed_tokens.weight") else {
        return;
    };
    let path = format!("{outer}lm_head.weight");
    if checkpoint.get(&path).is_none() {
        return;
    }
    embedding.reads = Reads::Row;
    let head = Tensor {
        path: path.into(),
        role: Role::Linear,
        reads: Reads::All,
        ..embedding.clone()
    };
    model.tensors.push(head);
}

/// The form, of those that are `wanted`, that most elements are in.
fn most(arrays: &[(String, &Tensor, Form)], wanted: impl Fn(Form) -> bool) -> Option<Form> {
    let mut elements: BTreeMap<Form, u64> = BTreeMap::new();
    for (_, tensor, form) in arrays.iter().filter(|(_, _, form)| wanted(*form)) {
        let sum = elements.entry(*form).or_default();
        *sum = sum.saturating_add(tensor.shape.elements());
    }
    elements
        .into_iter()
        .max_by_key(|(_, elements)| *elements)
        .map(|(form, _)| form)
}

/// The arrays that are stored otherwise than the rule says, by the paths that [`Scheme::overrides`] takes.
fn exceptions(
    arrays: Vec<(String, &Tensor, Form)>,
    quant: Quant,
    dtype: Dtype,
    mut exceptions: BTreeMap<String, Override>,
) -> Option<Arc<BTreeMap<String, Override>>> {
    for (path, tensor, form) in arrays {
        let exception = form.exception();
        let rule = match quant {
            Quant::Packed(packing)
                if tensor.role != Role::Plain && packing.divides(tensor.shape.last()) =>
            {
                // A family's own exceptions are not repeated here: what they would give is stated.
                (tensor.policy == Policy::Asked).then_some(Override::Packed(packing))
            }
            Quant::Blocks(blocks)
                if tensor.role != Role::Plain && blocks.divides(tensor.shape.last()) =>
            {
                Some(Override::Blocks(blocks))
            }
            _ => Some(Override::Plain(tensor.fixed_dtype.unwrap_or(dtype))),
        };
        let key = if tensor.role == Role::Plain {
            path
        } else {
            module(&path).to_owned()
        };
        if rule == Some(exception) {
            exceptions.remove(&key);
        } else {
            exceptions.insert(key, exception);
        }
    }
    (!exceptions.is_empty()).then(|| Arc::new(exceptions))
}

/// All dimensions but the last, multiplied.
fn rows(shape: &[u64]) -> u64 {
    shape.split_last().map_or(1, |(_, rows)| {
        rows.iter()
            .fold(1, |product, &rows| product.saturating_mul(rows))
    })
}

/// The same tensor in another shape.
fn of_shape(tensor: &Tensor, dims: &[u64]) -> Tensor {
    Tensor {
        shape: Shape::new(dims),
        ..tensor.clone()
    }
}

/// The module that a parameter belongs to: its path without the last part.
fn module(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(module, _)| module)
}

struct Reading<'c> {
    checkpoint: &'c Checkpoint,
    is_gguf: bool,
    /// By tensor of the checkpoint.
    used: Vec<bool>,
    /// The type of affine scales, which is that of activations.
    scales: Option<Dtype>,
    missing: Vec<String>,
    reshaped: Vec<(String, Vec<u64>, Vec<u64>)>,
    widened: BTreeSet<&'static str>,
}

impl<'c> Reading<'c> {
    fn take(&mut self, name: &str) -> Option<&'c StoredTensor> {
        let tensors = &self.checkpoint.tensors;
        let at = tensors
            .binary_search_by(|tensor| tensor.name.as_str().cmp(name))
            .ok()?;
        self.used[at] = true;
        tensors.get(at)
    }

    /// The tensor of the array at `path`, by its own name or by that of GGUF files.
    fn find(&mut self, path: &str) -> Option<&'c StoredTensor> {
        if let Some(found) = self.take(path) {
            return Some(found);
        }
        let others = if self.is_gguf {
            names::candidates(path)
        } else {
            inside_wrappers(path)
        };
        others.iter().find_map(|name| self.take(name))
    }

    /// The form of the array at `path`, where the files have it, whole or in pieces that MLX holds or stacks.
    fn form(&mut self, path: &str, tensor: &Tensor) -> Option<Form> {
        if path.contains('*') {
            return self.list(path, tensor);
        }
        let Some(found) = self.find(path) else {
            let packed = self.auto_awq(path, tensor);
            return packed.or_else(|| self.experts(path, tensor)).or_else(|| {
                let others = inside_wrappers(path);
                others.iter().find_map(|path| self.experts(path, tensor))
            });
        };
        self.form_of(found, module(path), tensor, tensor.shape.dims())
    }

    /// The form that all arrays of a list outside the layers are in; its first dimension is the list's length.
    fn list(&mut self, path: &str, tensor: &Tensor) -> Option<Form> {
        let (length, of_one) = tensor.shape.dims().split_first()?;
        let form = self.form(&path.replacen('*', "0", 1), &of_shape(tensor, of_one))?;
        for at in 1..*length {
            if self.form(
                &path.replacen('*', &at.to_string(), 1),
                &of_shape(tensor, of_one),
            )? != form
            {
                return None;
            }
        }
        Some(form)
    }

    /// The form that mlx-lm gives a weight of AutoAWQ or GPTQ: 4 bits, a scale and a bias a group in the scales' type.
    fn auto_awq(&mut self, path: &str, tensor: &Tensor) -> Option<Form> {
        let module = path
            .strip_suffix(".weight")
            .filter(|_| tensor.role == Role::Linear)?;
        let weight = self.take(&format!("{module}.qweight"))?;
        let scales = self.take(&format!("{module}.scales"))?;
        self.take(&format!("{module}.qzeros"));
        let whole = weight.elements().checked_mul(8) == Some(tensor.shape.elements());
        let (groups, last) = (*scales.shape.first()?, tensor.shape.last());
        let group_size = u16::try_from(last.checked_div(groups)?).ok()?;
        match scales.dtype {
            StoredType::Safetensors(FileDtype::Bf16) => self.affine(Dtype::Bf16),
            StoredType::Safetensors(FileDtype::F16) => self.affine(Dtype::F16),
            _ => return None,
        };
        let known = whole && [32, 64, 128].contains(&group_size);
        known.then_some(Form::Packed {
            mode: 0,
            bits: 4,
            group_size,
        })
    }

    /// The form that all experts of a stack are in, where the files have them one by one.
    fn experts(&mut self, path: &str, tensor: &Tensor) -> Option<Form> {
        let (experts, of_one) = tensor.shape.dims().split_first()?;
        let one = |expert: u64| {
            SINGLE_EXPERTS.iter().find_map(|(stacked, single)| {
                let (before, after) = path.split_once(stacked)?;
                Some(format!(
                    "{before}{}{after}",
                    single.replace("{}", &expert.to_string())
                ))
            })
        };
        let mut form = None;
        for expert in 0..*experts {
            let name = one(expert)?;
            let found = self.take(&name)?;
            let this = self.form_of(found, module(&name), tensor, of_one)?;
            // Experts that differ cannot be stacked.
            if *form.get_or_insert(this) != this {
                return None;
            }
        }
        form
    }

    fn form_of(
        &mut self,
        found: &StoredTensor,
        module: &str,
        tensor: &Tensor,
        dims: &[u64],
    ) -> Option<Form> {
        let file_dtype = match found.dtype {
            StoredType::Safetensors(dtype) => dtype,
            StoredType::Ggml(ggml) => return self.ggml(found, ggml, dims),
        };
        if file_dtype == FileDtype::U32
            && tensor.role != Role::Plain
            && let Some(scales) = self.take(&format!("{module}.scales"))
        {
            self.take(&format!("{module}.biases"));
            if rows(&found.shape) != rows(dims) {
                self.reshaped
                    .push((found.name.clone(), found.shape.clone(), dims.to_vec()));
            }
            return self.packed(found, scales, tensor.shape.last());
        }
        let dtype = match file_dtype {
            FileDtype::Bf16 => Dtype::Bf16,
            FileDtype::F16 => Dtype::F16,
            FileDtype::F32 => Dtype::F32,
            FileDtype::U8 if tensor.fixed_dtype == Some(Dtype::U8) => Dtype::U8,
            other => {
                self.widened.insert(other.name());
                return None;
            }
        };
        self.compare(found, dims);
        plain(dtype)
    }

    /// The form of a tensor of a GGUF file.
    fn ggml(&mut self, found: &StoredTensor, ggml: GgmlType, dims: &[u64]) -> Option<Form> {
        self.compare(found, dims);
        match ggml.name() {
            "F32" => plain(Dtype::F32),
            "F16" => plain(Dtype::F16),
            "BF16" => plain(Dtype::Bf16),
            _ => Some(Form::Blocks(ggml)),
        }
    }

    fn compare(&mut self, found: &StoredTensor, dims: &[u64]) {
        if found.shape != dims && found.elements() != dims.iter().product::<u64>() {
            self.reshaped
                .push((found.name.clone(), found.shape.clone(), dims.to_vec()));
        }
    }

    /// The packing of a weight of `last` columns, from the columns of what it is packed into.
    fn packed(&mut self, weight: &StoredTensor, scales: &StoredTensor, last: u64) -> Option<Form> {
        let words = *weight.shape.last()?;
        let group_size = u16::try_from(last.checked_div(*scales.shape.last()?)?).ok()?;
        let bits = u8::try_from(words.checked_mul(32)?.checked_div(last)?).ok()?;
        let StoredType::Safetensors(scales_dtype) = scales.dtype else {
            return None;
        };
        let mode = match scales_dtype {
            FileDtype::U8 => match (bits, group_size) {
                (4, 32) => Mode::Mxfp4,
                (4, 16) => Mode::Nvfp4,
                (8, 32) => Mode::Mxfp8,
                _ => return None,
            },
            FileDtype::Bf16 => self.affine(Dtype::Bf16),
            FileDtype::F16 => self.affine(Dtype::F16),
            FileDtype::F32 => self.affine(Dtype::F32),
            _ => return None,
        };
        let known = [2, 3, 4, 5, 6, 8].contains(&bits) && [16, 32, 64, 128].contains(&group_size);
        let mode = MODES.iter().position(|one| *one == mode)? as u8;
        known.then_some(Form::Packed {
            mode,
            bits,
            group_size,
        })
    }

    fn affine(&mut self, scales: Dtype) -> Mode {
        self.scales.get_or_insert(scales);
        Mode::Affine
    }

    fn left_out(&self) -> (Vec<String>, u64) {
        let unused = || {
            self.checkpoint
                .tensors
                .iter()
                .zip(&self.used)
                .filter(|(_, used)| !**used)
        };
        let bytes = unused().map(|(tensor, _)| tensor.bytes).sum();
        (
            unused().map(|(tensor, _)| tensor.name.clone()).collect(),
            bytes,
        )
    }
}

#[cfg(test)]
mod tests;
