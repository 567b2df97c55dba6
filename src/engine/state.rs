//! The directory where results are kept, and the lock that lets one run happen at a time.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The directory where results are kept.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Why a directory, a lock or a result could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Neither a directory was given nor is there a home.
    #[error(
        "no place for results: set --state-dir, state_directory in the settings, SHVD_STATE_DIR or HOME"
    )]
    NoPlace,
    /// A file or directory could not be used.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        error: io::Error,
    },
    /// Another run is under way.
    #[error("another run is under way{}; one at a time (lock: {})", by(holder), path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the file tells.
        holder: String,
    },
}

fn by(holder: &str) -> String {
    if holder.is_empty() {
        String::new()
    } else {
        format!(" (process {holder})")
    }
}

/// Keeps other runs away until it is dropped; the system lifts it when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl StateDir {
    /// `given`, or the environment's `SHVD_STATE_DIR`, or the platform's place for such files. Creates it.
    ///
    /// # Errors
    /// [`StateError`] when there is no place or it cannot be created.
    pub fn open(given: Option<&Path>) -> Result<Self, StateError> {
        let state = Self::at(given)?;
        fs::create_dir_all(&state.path).map_err(|error| StateError::Io {
            what: "create",
            path: state.path.clone(),
            error,
        })?;
        Ok(state)
    }

    /// The same place, whether or not there is anything yet.
    ///
    /// # Errors
    /// [`StateError::NoPlace`].
    pub fn at(given: Option<&Path>) -> Result<Self, StateError> {
        let path = Self::place(given).ok_or(StateError::NoPlace)?;
        Ok(Self { path })
    }

    /// Where [`StateDir::open`] would keep things, whether it exists or not.
    #[must_use]
    pub fn place(given: Option<&Path>) -> Option<PathBuf> {
        given.map(Path::to_owned).or_else(default_path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of this name lies.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the lock of this name.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another process has it.
    pub fn lock(&self, name: &str) -> Result<Lock, StateError> {
        let path = self.file(name);
        let fail = |what, error| StateError::Io {
            what,
            path: path.clone(),
            error,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| fail("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The number is a courtesy: without it the message is shorter.
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(StateError::Busy {
                    path,
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(fail("lock", error)),
        }
        // For the message above. The lock holds without it, also on a full disk.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }

    /// Writes `value` under `name`: whole and on the disk, or not at all.
    ///
    /// # Errors
    /// [`StateError::Io`], for one when the disk is full; what was under `name` before is still there then.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<PathBuf, StateError> {
        let path = self.file(name);
        let part = self.file(&format!(".{name}.{}.part", std::process::id()));
        let written = write_through(&part, value).and_then(|()| fs::rename(&part, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&part);
            return Err(StateError::Io {
                what: "write",
                path,
                error,
            });
        }
        // Makes the new name durable. Where directories cannot be synced, the file itself is.
        let _ = File::open(&self.path).and_then(|directory| directory.sync_all());
        Ok(path)
    }

    /// The files whose names begin with `prefix` and end in `.json`, by name.
    ///
    /// # Errors
    /// [`StateError::Io`] when the directory cannot be read.
    pub fn list(&self, prefix: &str) -> Result<Vec<PathBuf>, StateError> {
        let fail = |error| StateError::Io {
            what: "read",
            path: self.path.clone(),
            error,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(prefix) && name.ends_with(".json") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

fn write_through(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let mut file = File::create(path)?;
    file.write_all(&text)?;
    file.sync_all()
}

fn default_path() -> Option<PathBuf> {
    let variable = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("SHVD_STATE_DIR").or_else(|| {
        let home = variable("HOME");
        if cfg!(target_os = "macos") {
            return Some(home?.join("Library/Application Support/shvd"));
        }
        let state = variable("XDG_STATE_HOME").or_else(|| Some(home?.join(".local/state")))?;
        Some(state.join("shvd"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_second_lock_is_refused_and_names_the_holder() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(place.path())).unwrap();
        let first = state.lock("run.lock").unwrap();
        let error = state.lock("run.lock").unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        state.lock("run.lock").unwrap();
    }

    #[test]
    fn a_result_that_cannot_be_written_leaves_the_old_one_and_no_parts() {
        /// Fails half-way, as a full disk does.
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no space left"))
            }
        }
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(place.path())).unwrap();
        state.write_json("result.json", &1).unwrap();
        let error = state
            .write_json("result.json", &Fails)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("result.json") && error.contains("no space left"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(state.file("result.json")).unwrap(),
            "1\n"
        );
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_listed_by_name() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(place.path())).unwrap();
        for name in ["bench-2.json", "bench-1.json", "bench-3.txt", "other.json"] {
            state.write_json(name, &0).unwrap();
        }
        assert_eq!(
            state.list("bench-").unwrap(),
            [state.file("bench-1.json"), state.file("bench-2.json")]
        );
    }
}
