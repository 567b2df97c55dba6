//! Why a model on disk could not be described.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use shvplan::source::checkpoint::CheckpointError;
use shvplan::source::gguf::GgufError;
use shvplan::source::index::IndexError;
use shvplan::source::json::JsonError;
use shvplan::source::safetensors::SafetensorsError;

/// What is read, for errors that refuse something else.
const ACCEPTED: &str = "a directory with config.json or model*.safetensors, or a config.json, .safetensors, .safetensors.index.json \
     or .gguf file";

/// Why a model on disk could not be described.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{model}: not found; looked for {}", join(looked))]
    NotFound { model: String, looked: Vec<PathBuf> },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: a symbolic link that leads back to itself: expected a link to a file", path.display())]
    LinkLoop { path: PathBuf },
    #[error("{}: a link to {}, which is not there; the download is incomplete", path.display(), target.display())]
    LinkBroken { path: PathBuf, target: PathBuf },
    #[error("{}: not a regular file: expected {ACCEPTED}", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: not read: expected {ACCEPTED}", path.display())]
    Unsupported { path: PathBuf },
    #[error("{}: {bytes} bytes is too long: at most {bytes_max} are read", path.display())]
    TooLong {
        path: PathBuf,
        bytes: u64,
        bytes_max: u64,
    },
    #[error("{}: holds no model: expected {ACCEPTED}{}", path.display(), but_found(found))]
    NoModel { path: PathBuf, found: Vec<String> },
    #[error("{}: holds several models, {}: name one of them", path.display(), found.join(", "))]
    SeveralModels { path: PathBuf, found: Vec<String> },
    #[error("{}: {source}", path.display())]
    Json { path: PathBuf, source: JsonError },
    #[error("{}: {source}", path.display())]
    Index { path: PathBuf, source: IndexError },
    #[error("{}: {source}", path.display())]
    Safetensors {
        path: PathBuf,
        source: SafetensorsError,
    },
    #[error("{}: {source}", path.display())]
    Gguf { path: PathBuf, source: GgufError },
    #[error("{}: {source}", path.display())]
    Checkpoint {
        path: PathBuf,
        source: CheckpointError,
    },
    #[error("{}: missing, {why}; the download is incomplete", path.display())]
    ShardMissing { path: PathBuf, why: String },
    #[error("{}: has no tensor `{tensor}`, which {} puts there", path.display(), index.display())]
    TensorMissing {
        path: PathBuf,
        tensor: String,
        index: PathBuf,
    },
    #[error("{}: {why}", path.display())]
    Split { path: PathBuf, why: String },
    #[error(
        "{}: names snapshot `{revision}`, which is not there; snapshots there: {}",
        path.display(),
        if found.is_empty() { String::from("none") } else { found.join(", ") }
    )]
    Snapshot {
        path: PathBuf,
        revision: String,
        found: Vec<String>,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        if is_link_loop(&source) {
            return Self::LinkLoop {
                path: path.to_owned(),
            };
        }
        if source.kind() == io::ErrorKind::NotFound
            && let Ok(target) = std::fs::read_link(path)
        {
            return Self::LinkBroken {
                path: path.to_owned(),
                target,
            };
        }
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// ELOOP, which `std` has no stable name for.
fn is_link_loop(error: &io::Error) -> bool {
    let too_many_links = if cfg!(target_os = "linux") { 40 } else { 62 };
    error.raw_os_error() == Some(too_many_links)
}

fn join(paths: &[PathBuf]) -> impl fmt::Display {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

fn but_found(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; found {}", names.join(", "))
    }
}
