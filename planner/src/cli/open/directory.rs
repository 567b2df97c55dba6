//! A model's directory: which of its files make the model.

use std::path::Path;

use serde_json::Value;
use shvplan::source::checkpoint::Checkpoint;

use super::read::Reader;
use super::safetensors::{self, Set};
use super::{Kind, OpenError, Opened, gguf};

const INDEX: &str = "model.safetensors.index.json";

/// Opens a directory as mlx-lm does: config.json and model*.safetensors; without those, a GGUF model.
pub(super) fn open(reader: &mut Reader, folder: &Path) -> Result<Opened, OpenError> {
    let names = names_in(folder)?;
    let config = config(reader, folder)?;
    let mut notes = Vec::new();
    let weights = weights(reader, folder, &names, &mut notes)?;
    if weights.is_none() {
        if let Some(name) = gguf_model(folder, &names)? {
            let mut opened = gguf::open(reader, &folder.join(name))?;
            opened.notes.append(&mut notes);
            return Ok(Opened { config, ..opened });
        }
        let others: Vec<String> = names
            .iter()
            .filter(|name| Kind::of(Path::new(name)) == Kind::OtherWeights)
            .cloned()
            .collect();
        if config.is_none() {
            return Err(OpenError::NoModel {
                path: folder.to_owned(),
                found: others,
            });
        }
        if !others.is_empty() {
            notes.push(format!(
                "{} not read: weights are counted from config.json",
                others.join(", ")
            ));
        }
    }
    Ok(Opened {
        path: folder.to_owned(),
        config,
        weights,
        notes,
        ..Opened::default()
    })
}

/// config.json, with the quantization that NVIDIA's ModelOpt writes beside it, as mlx-lm takes it in.
pub(super) fn config(reader: &mut Reader, folder: &Path) -> Result<Option<Value>, OpenError> {
    let path = folder.join("config.json");
    if !path.exists() && !path.is_symlink() {
        return Ok(None);
    }
    let mut config = reader.json(&path)?;
    let has_own = |value: &Value| value.get("quantization_config").is_some();
    let beside = folder.join("hf_quant_config.json");
    if !has_own(&config) && !config.get("text_config").is_some_and(has_own) && beside.exists() {
        let quantization = reader.json(&beside)?;
        if let Some(config) = config.as_object_mut() {
            config.insert("quantization_config".to_owned(), quantization);
        }
    }
    Ok(Some(config))
}

fn weights(
    reader: &mut Reader,
    folder: &Path,
    names: &[String],
    notes: &mut Vec<String>,
) -> Result<Option<Checkpoint>, OpenError> {
    let is_safetensors = |name: &&String| Kind::of(Path::new(name)) == Kind::Safetensors;
    // mlx-lm loads what matches model*.safetensors.
    let (models, others): (Vec<&String>, Vec<&String>) = names
        .iter()
        .filter(is_safetensors)
        .partition(|name| name.starts_with("model"));
    if names.iter().any(|name| name == INDEX) {
        let (checkpoint, more) = safetensors::indexed(reader, folder, &folder.join(INDEX))?;
        notes.extend(more);
        return Ok(Some(checkpoint));
    }
    let models: Vec<&str> = models.into_iter().map(String::as_str).collect();
    match (models.as_slice(), others.as_slice()) {
        ([], []) => Ok(None),
        ([], [only]) if !only.starts_with("adapter") => {
            notes.push(format!(
                "{only} is counted, but mlx-lm loads model*.safetensors only"
            ));
            safetensors::files(reader, folder, &[only]).map(Some)
        }
        ([], others) => {
            let others: Vec<&str> = others.iter().map(|name| name.as_str()).collect();
            notes.push(format!(
                "{} not counted: mlx-lm loads model*.safetensors only",
                others.join(", ")
            ));
            Ok(None)
        }
        ([first, ..], _) => match Set::of(first, ".safetensors") {
            Some(set)
                if models
                    .iter()
                    .all(|name| Set::of(name, ".safetensors").as_ref() == Some(&set)) =>
            {
                let (checkpoint, more) = safetensors::numbered(reader, folder, &set)?;
                notes.extend(more);
                Ok(Some(checkpoint))
            }
            _ => safetensors::files(reader, folder, &models).map(Some),
        },
    }
}

/// The one GGUF model of a directory: a file, or the lowest part of a split one. Vision projectors are not models.
fn gguf_model<'n>(folder: &Path, names: &'n [String]) -> Result<Option<&'n str>, OpenError> {
    let mut models: Vec<(Option<Set>, &str)> = names
        .iter()
        .filter(|name| {
            Kind::of(Path::new(name)) == Kind::Gguf && !name.to_ascii_lowercase().contains("mmproj")
        })
        .map(|name| (Set::of(name, ".gguf"), name.as_str()))
        .collect();
    models.dedup_by(|later, earlier| later.0.is_some() && later.0 == earlier.0);
    match models.as_slice() {
        [] => Ok(None),
        [(_, only)] => Ok(Some(only)),
        several => Err(OpenError::SeveralModels {
            path: folder.to_owned(),
            found: several.iter().map(|(_, name)| (*name).to_owned()).collect(),
        }),
    }
}

/// Names of what is in a directory, sorted; those that are not text name no model file.
fn names_in(folder: &Path) -> Result<Vec<String>, OpenError> {
    let refused = |error| OpenError::io(folder, error);
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(refused)? {
        if let Ok(name) = entry.map_err(refused)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
