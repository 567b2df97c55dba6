//! From what `--model` names to what is on disk: the only place where the planner touches model files.
//!
//! Headers alone are read, each length checked against the file's before memory is taken for it.

mod directory;
mod error;
mod gguf;
mod hub;
mod read;
mod safetensors;

use std::path::{Path, PathBuf};

use serde_json::Value;
use shvplan::source::checkpoint::Checkpoint;
use shvplan::source::gguf::GgufDescription;

pub(crate) use error::OpenError;
pub(crate) use hub::Hub;
use read::Reader;

/// A model on disk, as its own files describe it.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The directory or file that was read, after links in the Hugging Face cache were followed.
    pub(crate) path: PathBuf,
    /// config.json, where there is one.
    pub(crate) config: Option<Value>,
    /// The tensors, where weight files are there.
    pub(crate) weights: Option<Checkpoint>,
    /// What GGUF metadata says of the model.
    pub(crate) gguf: Option<GgufDescription>,
    /// What a reader should know: files left out, an index that disagrees with its shards.
    pub(crate) notes: Vec<String>,
    /// Bytes that were read from files, for the cost of it.
    pub(crate) bytes_read: u64,
}

/// What a path's name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Config,
    Index,
    Safetensors,
    Gguf,
    /// Weights of a kind that is not read.
    OtherWeights,
    Unknown,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        let extension = Path::new(&name)
            .extension()
            .and_then(|extension| extension.to_str());
        match extension {
            Some("json") if name.ends_with(".safetensors.index.json") => Self::Index,
            Some("json") => Self::Config,
            Some("safetensors") => Self::Safetensors,
            Some("gguf") => Self::Gguf,
            Some(
                "npz" | "npy" | "bin" | "pt" | "pth" | "ckpt" | "h5" | "msgpack" | "onnx" | "ggml"
                | "tflite",
            ) => Self::OtherWeights,
            _ => Self::Unknown,
        }
    }
}

/// Opens a directory, config.json, .safetensors, .safetensors.index.json, .gguf, or `org/name` in the local cache.
///
/// # Errors
/// [`OpenError`] with the file, the field or byte offset, the offending value and what would be accepted.
pub(crate) fn open(model: &str, hub: &Hub) -> Result<Opened, OpenError> {
    let path = locate(model, hub)?;
    let mut reader = Reader::default();
    let metadata = read::metadata(&path)?;
    let mut opened = if metadata.is_dir() {
        directory::open(&mut reader, &path)?
    } else if metadata.is_file() {
        file(&mut reader, &path)?
    } else {
        return Err(OpenError::NotAFile { path });
    };
    opened.bytes_read = reader.bytes_read;
    Ok(opened)
}

fn file(reader: &mut Reader, path: &Path) -> Result<Opened, OpenError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match Kind::of(path) {
        Kind::Config => {
            let config = Some(reader.json(path)?);
            Ok(Opened {
                path: path.to_owned(),
                config,
                ..Opened::default()
            })
        }
        Kind::Index => {
            let (weights, notes) = safetensors::indexed(reader, folder, path)?;
            let config = directory::config(reader, folder)?;
            Ok(Opened {
                path: path.to_owned(),
                config,
                weights: Some(weights),
                notes,
                ..Opened::default()
            })
        }
        Kind::Safetensors => {
            let (weights, notes) = safetensors::file_or_its_set(reader, folder, path)?;
            let config = directory::config(reader, folder)?;
            Ok(Opened {
                path: path.to_owned(),
                config,
                weights: Some(weights),
                notes,
                ..Opened::default()
            })
        }
        Kind::Gguf => gguf::open(reader, path),
        Kind::OtherWeights | Kind::Unknown => Err(OpenError::Unsupported {
            path: path.to_owned(),
        }),
    }
}

/// The path that `model` names: itself, or the snapshot in the local cache.
fn locate(model: &str, hub: &Hub) -> Result<PathBuf, OpenError> {
    let path = PathBuf::from(model);
    match read::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => hub::snapshot_of_repository(path),
        Ok(_) => Ok(path),
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            hub.resolve(model)
        }
        Err(error) => Err(error),
    }
}
