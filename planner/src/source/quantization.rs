//! What a config.json says of how its weights are quantized, as mlx-lm takes it in.
//!
//! `quantization` is MLX's own, with exceptions by module path. `quantization_config` is of other libraries: mlx-lm
//! keeps those packed that have a form of MLX, widens fp8 in blocks to 16 bits, and refuses the rest (mlx-lm 0.32.2
//! `utils.py`, `load_model`). Where the weights are on disk, their tensors go before all of this.

mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::model::{Config, ConfigError, Model, Policy, Role, Tensor};
use crate::quant::{Mode, Override, Packing, Quant, Scheme};
use pattern::Pattern;

/// The scheme that a config.json declares for its weights; none where it declares none, or one that is widened.
///
/// # Errors
/// A field that cannot be read, or a form that mlx-lm refuses, with its reason.
pub fn declared(model: &Model, description: &Value) -> Result<Option<Scheme>, ConfigError> {
    let top = Config::new(description)?;
    if let Some(own) = top.object("quantization")? {
        let packing = packing(&own, true)?;
        let overrides = exceptions(&own, description.get("quantization"), packing)?;
        return Ok(Some(scheme(model, packing, overrides)));
    }
    let foreign = match top.object("quantization_config")? {
        Some(foreign) => Some(foreign),
        None => match top.object("text_config")? {
            Some(text) => text.object("quantization_config")?,
            None => None,
        },
    };
    match foreign {
        Some(foreign) => foreign_scheme(model, &foreign),
        None => Ok(None),
    }
}

fn scheme(model: &Model, packing: Packing, overrides: BTreeMap<String, Override>) -> Scheme {
    let overrides = (!overrides.is_empty()).then(|| Arc::new(overrides));
    Scheme {
        overrides,
        ..Scheme::new(model.dtype, Quant::Packed(packing))
    }
}

/// `{"group_size": 64, "bits": 4, "mode": "affine"}`. Numbers that are absent are the mode's own where it is said of one
/// module, and missing where it is said of all.
fn packing(object: &Config<'_>, of_all: bool) -> Result<Packing, ConfigError> {
    let mode = match object.text("mode")?.unwrap_or("affine") {
        "affine" => Mode::Affine,
        "mxfp4" => Mode::Mxfp4,
        "nvfp4" => Mode::Nvfp4,
        "mxfp8" => Mode::Mxfp8,
        _ => return Err(object.invalid("mode", "affine, mxfp4, nvfp4 or mxfp8 is expected")),
    };
    let usual = match mode {
        Mode::Affine => (4, 64),
        Mode::Mxfp4 => (4, 32),
        Mode::Nvfp4 => (4, 16),
        Mode::Mxfp8 => (8, 32),
    };
    let number = |field: &'static str, usual: u64| match object.count_opt(field)? {
        Some(number) => Ok(number),
        None if !of_all => Ok(usual),
        None => Err(ConfigError::Missing {
            field: field.to_owned(),
            expected: "a whole number is expected",
        }),
    };
    let (bits, group_size) = (number("bits", usual.0)?, number("group_size", usual.1)?);
    let (bits_known, groups_known): (&[u64], &[u64]) = match mode {
        Mode::Affine => (&[2, 3, 4, 5, 6, 8], &[32, 64, 128]),
        Mode::Mxfp4 => (&[4], &[32]),
        Mode::Nvfp4 => (&[4], &[16]),
        Mode::Mxfp8 => (&[8], &[32]),
    };
    let one_of = |numbers: &[u64]| {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        format!(
            "{} is expected with mode {}",
            numbers.join(" or "),
            mode.name()
        )
    };
    if !bits_known.contains(&bits) {
        return Err(object.invalid("bits", one_of(bits_known)));
    }
    if !groups_known.contains(&group_size) {
        return Err(object.invalid("group_size", one_of(groups_known)));
    }
    Ok(Packing {
        mode,
        bits: bits as u8,
        group_size: group_size as u16,
    })
}

/// The entries by module path: `false`, `true`, or parameters of their own.
fn exceptions(
    own: &Config<'_>,
    value: Option<&Value>,
    packing: Packing,
) -> Result<BTreeMap<String, Override>, ConfigError> {
    let mut exceptions = BTreeMap::new();
    for (path, value) in value.and_then(Value::as_object).into_iter().flatten() {
        let exception = match value {
            Value::Bool(false) => Override::Keep,
            Value::Bool(true) => Override::Packed(packing),
            Value::Object(_) => {
                Override::Packed(self::packing(&Config::new(value)?, false).map_err(|error| {
                    own.invalid(
                        path,
                        format!("parameters of a quantization are expected ({error})"),
                    )
                })?)
            }
            _ => continue,
        };
        exceptions.insert(path.clone(), exception);
    }
    Ok(exceptions)
}

/// The form that mlx-lm gives the weights of another library.
fn foreign_scheme(model: &Model, foreign: &Config<'_>) -> Result<Option<Scheme>, ConfigError> {
    let refused = |why: &str| Err(ConfigError::Refused(why.to_owned()));
    let mxfp8 = Packing {
        mode: Mode::Mxfp8,
        bits: 8,
        group_size: 32,
    };
    let mxfp4 = Packing {
        mode: Mode::Mxfp4,
        bits: 4,
        group_size: 32,
    };
    let nvfp4 = Packing {
        mode: Mode::Nvfp4,
        bits: 4,
        group_size: 16,
    };
    let nested = foreign.object("quantization")?;
    let method = foreign
        .text("quant_method")?
        .or(nested.is_some().then_some("modelopt"));
    let packing = match method {
        Some("mxfp4") => mxfp4,
        Some("mxfp8") => mxfp8,
        Some("fp8") => {
            let blocks = foreign.wholes("weight_block_size")?;
            if foreign.text("scale_fmt")? != Some("ue8m0") || blocks.as_deref() != Some(&[32, 32]) {
                // The families' `sanitize` widens it.
                return Ok(None);
            }
            mxfp8
        }
        // Its class packs its own weights: the model lists them so.
        Some("bitnet") => return Ok(None),
        Some("compressed-tensors") => match foreign.text("format")? {
            Some("nvfp4-pack-quantized") => nvfp4,
            Some("mxfp4-pack-quantized") => mxfp4,
            Some("pack-quantized") => Packing::affine(4, 32),
            _ => {
                return refused(
                    "unsupported compressed-tensors format; dequantize to bf16 before converting",
                );
            }
        },
        Some("modelopt") => {
            let settings = nested.unwrap_or(*foreign);
            if settings.text("quant_algo")? != Some("NVFP4") {
                return Err(settings.invalid("quant_algo", "NVFP4 is what mlx-lm reads"));
            }
            nvfp4
        }
        Some("awq" | "gptq") => {
            if foreign.count_or("bits", 4)? != 4 {
                return Err(foreign.invalid("bits", "4 is what mlx-lm reads of AutoAWQ and GPTQ"));
            }
            let group_size = foreign.count_or("group_size", 128)?;
            if ![32, 64, 128].contains(&group_size) {
                return Err(foreign.invalid("group_size", "32, 64 or 128 is expected"));
            }
            Packing::affine(4, group_size as u16)
        }
        _ => {
            return Err(foreign.invalid(
                "quant_method",
                "mxfp4, mxfp8, fp8, bitnet, compressed-tensors, modelopt, awq or gptq is what mlx-lm reads",
            ));
        }
    };
    let mut left = Vec::new();
    for object in [Some(*foreign), nested].into_iter().flatten() {
        for field in [
            "modules_to_not_convert",
            "ignore",
            "ignored_layers",
            "exclude_modules",
        ] {
            for pattern in object.texts(field)?.into_iter().flatten() {
                Pattern::all_of(pattern, &mut left);
            }
        }
    }
    Ok(Some(scheme(model, packing, kept(model, &left))))
}

/// The modules that other libraries leave alone: embeddings, the head, routers, and what the config names.
fn kept(model: &Model, left: &[Pattern]) -> BTreeMap<String, Override> {
    let mut kept = BTreeMap::new();
    let mut keep = |path: String, tensor: &Tensor| {
        let always = tensor.role == Role::Embedding
            || tensor.policy != Policy::Asked
            || path.ends_with("lm_head");
        if always || left.iter().any(|pattern| pattern.names(&path)) {
            kept.insert(path, Override::Keep);
        }
    };
    for tensor in model
        .tensors
        .iter()
        .filter(|tensor| tensor.role != Role::Plain)
    {
        let module = tensor
            .path
            .rsplit_once('.')
            .map_or(&*tensor.path, |(module, _)| module);
        match tensor.group.map(|group| &model.groups[group]) {
            None => keep(module.to_owned(), tensor),
            Some(group) => {
                for layer in &group.layers {
                    keep(format!("{}.{layer}.{module}", group.prefix), tensor);
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests;
