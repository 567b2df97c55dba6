//! A model on disk: opened, and read into a description and what its own tensors say of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use shvplan::model::Model;
use shvplan::quant::Scheme;
use shvplan::report::Subject;
use shvplan::source::checkpoint::{Checkpoint, StoredType};
use shvplan::source::gguf::{self, GgufConfigError};
use shvplan::source::stored::{self, Stored};
use shvplan::units::grouped;
use shvplan::weights;

use super::Failure;
use super::open::{self, Hub};

/// A model's description with the tensors that go with it, where its weights are on disk.
pub(crate) struct Local {
    pub(crate) subject: Subject,
    pub(crate) description: Value,
    pub(crate) weights: Option<Checkpoint>,
}

/// Whether `given` means a file, a directory or a repository rather than a name of the catalog.
pub(crate) fn is_meant(given: &str) -> bool {
    let path = Path::new(given);
    let known = ["json", "safetensors", "gguf", "npz"];
    path.exists()
        || given.contains('/')
        || path
            .extension()
            .is_some_and(|e| known.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Opens what `given` names.
pub(crate) fn describe(given: &str) -> Result<Local, Failure> {
    let hub = Hub::from_environment(|name| std::env::var_os(name));
    let opened = open::open(given, &hub).map_err(|error| Failure(error.to_string()))?;
    let name = name(given, &opened.path);
    let source = opened.path.display().to_string();
    let description = match (opened.config, opened.gguf, &opened.weights) {
        (_, Some(gguf), Some(weights)) => match gguf::config(&gguf, weights) {
            Ok(description) => description,
            // The architecture's name goes on: it is unknown, which is an answer of its own.
            Err(GgufConfigError::UnknownArchitecture { architecture }) => {
                json!({ "model_type": format!("GGUF {architecture}") })
            }
            Err(error) => return Err(Failure::about(source, error)),
        },
        (Some(config), ..) => config,
        (None, ..) => {
            return Err(Failure::about(
                source,
                "no config.json beside it, which says how the model is built: the directory of a model is expected",
            ));
        }
    };
    let subject = Subject {
        title: name.clone(),
        name,
        source,
        notes: opened.notes,
    };
    Ok(Local {
        subject,
        description,
        weights: opened.weights,
    })
}

/// `org/name` as given; a config.json or a directory by the directory's name; any other file by its own.
fn name(given: &str, path: &Path) -> String {
    if !Path::new(given).exists() {
        return given.to_owned();
    }
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = canonical.file_name().unwrap_or_default();
    let named = match canonical.parent().and_then(Path::file_name) {
        Some(folder) if file == "config.json" => Some(folder),
        _ if canonical.is_dir() => Some(file),
        _ => canonical.file_stem(),
    };
    named.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// How the files store the model, and what a reader should know about it.
pub(crate) fn stored_as(
    model: &Model,
    checkpoint: &Checkpoint,
    declared: Option<&Scheme>,
) -> (Scheme, Vec<String>) {
    let stored = stored::stored(model, checkpoint, declared);
    let mut notes = Vec::new();
    let Stored {
        scheme,
        missing,
        reshaped,
        left_out,
        left_out_bytes,
        widened,
    } = stored;
    for (path, in_files, expected) in reshaped.iter().take(NAMED_MAX) {
        notes.push(format!(
            "{path} has shape {in_files:?} in the files, but config.json makes it {expected:?}: mlx-lm refuses to load it"
        ));
    }
    if !widened.is_empty() {
        let widened: Vec<&str> = widened.into_iter().collect();
        notes.push(format!(
            "stored as {}, which MLX holds no weights in: they are counted as mlx-lm widens them, in {}",
            widened.join(", "),
            scheme.dtype.name()
        ));
    }
    if !missing.is_empty() {
        notes.push(format!(
            "{} arrays of the model are not in the files under its own names ({}): they are counted from config.json",
            missing.len(),
            some_of(&missing)
        ));
    }
    if !left_out.is_empty() && missing.is_empty() {
        notes.push(format!(
            "{} tensors of {} bytes are no part of the model that mlx-lm builds and are not counted ({})",
            left_out.len(),
            grouped(left_out_bytes),
            some_of(&left_out)
        ));
    }
    notes.extend(as_mlx_reads_it(checkpoint));
    if let Some(tensor) = checkpoint
        .tensors
        .iter()
        .find(|tensor| tensor.name.ends_with(".g_idx"))
    {
        notes.push(format!(
            "mlx-lm refuses groups out of order ({}): quantize the model again without g_idx",
            some_of(std::slice::from_ref(&tensor.name))
        ));
    }
    let counted = weights::total_bytes(model, &scheme).unwrap_or_default();
    let in_files = checkpoint.total_bytes
        - if missing.is_empty() {
            left_out_bytes
        } else {
            0
        };
    if counted != in_files {
        notes.push(format!(
            "the files hold {} bytes of weights, the model {} once loaded",
            grouped(in_files),
            grouped(counted)
        ));
    }
    (scheme, notes)
}

/// What MLX makes of a GGUF file, whose tensors are counted as they are stored.
fn as_mlx_reads_it(checkpoint: &Checkpoint) -> Option<String> {
    let mut held_bytes = Some(0_u64);
    let mut refused = BTreeSet::new();
    let mut is_gguf = false;
    for tensor in &checkpoint.tensors {
        let StoredType::Ggml(ggml) = tensor.dtype else {
            continue;
        };
        is_gguf = true;
        match ggml.mlx_bytes(tensor.elements()) {
            Some(bytes) => held_bytes = held_bytes.and_then(|held| held.checked_add(bytes)),
            None => drop(refused.insert(ggml.name())),
        }
    }
    let refused: Vec<&str> = refused.into_iter().collect();
    is_gguf.then(|| match (held_bytes, refused.as_slice()) {
        (Some(bytes), []) => format!(
            "GGUF: weights are counted as the file stores them; mx.load would hold {} bytes, and mlx-lm loads \
             safetensors only",
            grouped(bytes)
        ),
        _ => format!(
            "GGUF: weights are counted as the file stores them; mx.load does not read {}, and mlx-lm loads \
             safetensors only",
            refused.join(", ")
        ),
    })
}

/// Names that a note repeats.
const NAMED_MAX: usize = 3;

fn some_of(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| {
            name.chars()
                .take(100)
                .flat_map(char::escape_debug)
                .collect()
        })
        .collect();
    let more = if names.len() > NAMED_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
