//! The Hugging Face cache on this computer: `models--ORG--NAME/snapshots/REVISION/`, never the network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::read::Reader;

/// Where downloaded models may lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hub {
    /// Cache folders, the first that has the model wins.
    pub(crate) roots: Vec<PathBuf>,
}

/// `refs/main` holds a commit's hash.
const REVISION_BYTES_MAX: u64 = 256;

impl Hub {
    /// The folders that huggingface_hub uses, from `$HF_HUB_CACHE`, `$HF_HOME`, `$XDG_CACHE_HOME` and `$HOME`.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let candidates = [
            set("HF_HUB_CACHE"),
            set("HUGGINGFACE_HUB_CACHE"),
            set("HF_HOME").map(|home| home.join("hub")),
            set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")),
            set("HOME").map(|home| home.join(".cache/huggingface/hub")),
        ];
        let mut roots = Vec::new();
        for root in candidates.into_iter().flatten() {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Self { roots }
    }

    /// The snapshot of `org/name`.
    pub(super) fn resolve(&self, model: &str) -> Result<PathBuf, OpenError> {
        let mut looked = vec![PathBuf::from(model)];
        if let Some(folder) = repository_folder(model) {
            for root in &self.roots {
                let repository = root.join(&folder);
                if repository.is_dir() {
                    return snapshot_of_repository(repository);
                }
                looked.push(repository);
            }
        }
        Err(OpenError::NotFound {
            model: model.to_owned(),
            looked,
        })
    }
}

/// `models--org--name`, where `model` is an `org/name` as the hub allows them.
fn repository_folder(model: &str) -> Option<String> {
    let (organisation, name) = model.split_once('/')?;
    let allowed = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (allowed(organisation) && allowed(name)).then(|| format!("models--{organisation}--{name}"))
}

/// Inside a `models--ORG--NAME` folder, the snapshot that `refs/main` names, or the only one; other folders stay.
pub(super) fn snapshot_of_repository(folder: PathBuf) -> Result<PathBuf, OpenError> {
    let named_so = folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("models--"));
    let snapshots = folder.join("snapshots");
    if !named_so || !snapshots.is_dir() {
        return Ok(folder);
    }
    let found = folders_in(&snapshots)?;
    let main = folder.join("refs/main");
    if !main.is_file() {
        return match found.as_slice() {
            [only] => Ok(snapshots.join(only)),
            _ => Err(OpenError::Snapshot {
                path: snapshots,
                revision: "main".to_owned(),
                found,
            }),
        };
    }
    let revision = Reader::default().whole(&main, REVISION_BYTES_MAX)?;
    let revision = String::from_utf8_lossy(&revision).trim().to_owned();
    if found.contains(&revision) {
        return Ok(snapshots.join(revision));
    }
    let revision = revision.escape_default().collect();
    Err(OpenError::Snapshot {
        path: main,
        revision,
        found,
    })
}

fn folders_in(folder: &Path) -> Result<Vec<String>, OpenError> {
    let refused = |error| OpenError::io(folder, error);
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
