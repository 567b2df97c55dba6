//! The newest document of a kind in the state directory, whoever wrote it: read again when it has changed.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::de::DeserializeOwned;

use super::state::StateDir;

/// The largest document that is read: a benchmark run has some hundred rows of a few hundred bytes.
pub(super) const BYTES_MAX: u64 = 4 << 20;

/// Where the newest document lies, if there is one.
type Find = fn(&StateDir) -> Option<PathBuf>;

/// A document that may be replaced at any time.
#[derive(Debug)]
pub(super) struct Kept<T> {
    state: StateDir,
    find: Find,
    seen: Mutex<Seen<T>>,
}

#[derive(Debug)]
struct Seen<T> {
    /// When the directory was last changed: only then can there be another newest file.
    directory: Option<SystemTime>,
    path: Option<PathBuf>,
    stamp: Option<Stamp>,
    document: Option<Arc<T>>,
}

/// What tells one file from the next under the same name. Documents are renamed into place, so the inode changes too.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified: metadata.modified().ok(),
            length: metadata.len(),
        }
    }
}

impl<T: DeserializeOwned> Kept<T> {
    pub(super) fn new(state: StateDir, find: Find) -> Self {
        let seen = Seen {
            directory: None,
            path: None,
            stamp: None,
            document: None,
        };
        Self {
            state,
            find,
            seen: Mutex::new(seen),
        }
    }

    /// The document as it is now; `None` where there is none, or one that is not of this kind.
    pub(super) fn latest(&self) -> Option<Arc<T>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = fs::metadata(self.state.path()).and_then(|directory| directory.modified());
        let changed = changed.ok();
        if changed != seen.directory {
            seen.directory = changed;
            seen.path = (self.find)(&self.state);
        }
        let path = seen.path.clone();
        let stamp = path
            .as_deref()
            .and_then(|path| fs::metadata(path).ok())
            .map(|metadata| Stamp::of(&metadata));
        if stamp != seen.stamp {
            seen.document = path.as_deref().and_then(read).map(Arc::new);
            seen.stamp = stamp;
        }
        seen.document.clone()
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    let mut file = File::open(path).ok()?.take(BYTES_MAX);
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_writes_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(place.path())).unwrap();
        let find: Find = |state| state.list("n").ok()?.pop();
        let kept = Kept::<u64>::new(state.clone(), find);
        assert_eq!(kept.latest(), None);
        state.write_json("n1.json", &1).unwrap();
        assert_eq!(kept.latest().as_deref(), Some(&1));
        state.write_json("n1.json", &7).unwrap();
        assert_eq!(kept.latest().as_deref(), Some(&7));
        state.write_json("n2.json", &"no number").unwrap();
        assert_eq!(kept.latest(), None);
        fs::remove_file(state.file("n2.json")).unwrap();
        assert_eq!(kept.latest().as_deref(), Some(&7));
    }

    #[test]
    fn a_directory_that_is_not_there_yet_has_nothing() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(Some(&place.path().join("later"))).unwrap();
        let kept = Kept::<u64>::new(state.clone(), |state| Some(state.file("n.json")));
        assert_eq!(kept.latest(), None);
        StateDir::open(Some(state.path())).unwrap();
        state.write_json("n.json", &3).unwrap();
        assert_eq!(kept.latest().as_deref(), Some(&3));
    }
}
