//! Safetensors files: one, a numbered set, or the shards of an index.

use std::path::Path;

use shvplan::source::checkpoint::{Checkpoint, StoredTensor};
use shvplan::source::index::{self, INDEX_BYTES_MAX, Index};
use shvplan::source::safetensors::{self, PREFIX_BYTES, Safetensors};

use super::OpenError;
use super::read::Reader;

/// Tensors with what a reader should know about them.
pub(super) type Weights = (Checkpoint, Vec<String>);

/// The tensors of one file.
fn header(reader: &mut Reader, path: &Path) -> Result<Safetensors, OpenError> {
    let refused = |source| OpenError::Safetensors {
        path: path.to_owned(),
        source,
    };
    let (mut file, file_bytes) = Reader::open(path)?;
    let mut header = Vec::new();
    reader.fill(
        path,
        &mut file,
        &mut header,
        PREFIX_BYTES.min(file_bytes as usize),
    )?;
    let header_bytes = safetensors::header_bytes(&header, file_bytes).map_err(refused)?;
    header.clear();
    reader.fill(path, &mut file, &mut header, header_bytes)?;
    safetensors::read(&header, file_bytes).map_err(refused)
}

/// The tensors of several files of one folder.
pub(super) fn files(
    reader: &mut Reader,
    folder: &Path,
    names: &[&str],
) -> Result<Checkpoint, OpenError> {
    let mut tensors = Vec::new();
    let mut format = None;
    for name in names {
        let read = header(reader, &folder.join(name))?;
        tensors.extend(read.tensors);
        format = format.or(read.format);
    }
    Checkpoint::new(tensors, format).map_err(|source| OpenError::Checkpoint {
        path: folder.to_owned(),
        source,
    })
}

/// The shards that an index names, checked against it.
pub(super) fn indexed(
    reader: &mut Reader,
    folder: &Path,
    index_path: &Path,
) -> Result<Weights, OpenError> {
    let bytes = reader.whole(index_path, INDEX_BYTES_MAX as u64)?;
    let index = index::read(&bytes).map_err(|source| OpenError::Index {
        path: index_path.to_owned(),
        source,
    })?;
    let shards = index.shards();
    for shard in &shards {
        let path = folder.join(shard);
        if !path.exists() && !path.is_symlink() {
            let why = format!("but {} puts tensors there", index_path.display());
            return Err(OpenError::ShardMissing { path, why });
        }
    }
    let mut tensors = Vec::with_capacity(index.places.len());
    let mut format = None;
    for shard in &shards {
        let read = header(reader, &folder.join(shard))?;
        format = format.or(read.format);
        tensors.extend(read.tensors.into_iter().map(|tensor| (tensor, *shard)));
    }
    tensors.sort_unstable_by(|left, right| left.0.name.cmp(&right.0.name));
    check_places(folder, index_path, &index, &tensors)?;
    let tensors: Vec<StoredTensor> = tensors.into_iter().map(|(tensor, _)| tensor).collect();
    let unlisted = tensors.len() - index.places.len();
    let checkpoint = Checkpoint::new(tensors, format).map_err(|source| OpenError::Checkpoint {
        path: index_path.to_owned(),
        source,
    })?;
    let mut notes = Vec::new();
    if unlisted > 0 {
        notes.push(format!(
            "{unlisted} tensors of the shards are not in {}; they are counted",
            index_path.display()
        ));
    }
    if let Some(total_size) = index
        .total_size
        .filter(|&total_size| total_size != checkpoint.total_bytes)
    {
        notes.push(format!(
            "{} says total_size {total_size}; the tensors have {} bytes, which is what counts",
            index_path.display(),
            checkpoint.total_bytes
        ));
    }
    Ok((checkpoint, notes))
}

/// Checks that every tensor is in the shard that the index puts it into. Both lists are sorted by tensor.
fn check_places(
    folder: &Path,
    index_path: &Path,
    index: &Index<'_>,
    tensors: &[(StoredTensor, &str)],
) -> Result<(), OpenError> {
    let mut rest = tensors;
    for place in &index.places {
        let before = rest
            .iter()
            .take_while(|(tensor, _)| *tensor.name < *place.tensor)
            .count();
        rest = &rest[before..];
        let named_so = rest
            .iter()
            .take_while(|(tensor, _)| *tensor.name == *place.tensor);
        if !named_so.into_iter().any(|(_, shard)| *shard == place.shard) {
            return Err(OpenError::TensorMissing {
                path: folder.join(&*place.shard),
                tensor: place.tensor.chars().take(200).collect(),
                index: index_path.to_owned(),
            });
        }
    }
    Ok(())
}

/// One file; where its name says it is one of a set, the whole set.
pub(super) fn file_or_its_set(
    reader: &mut Reader,
    folder: &Path,
    path: &Path,
) -> Result<Weights, OpenError> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let Some(set) = Set::of(&name, ".safetensors").filter(|set| set.count > 1) else {
        return Ok((files(reader, folder, &[&name])?, Vec::new()));
    };
    let index_path = folder.join(format!("{}.safetensors.index.json", set.stem));
    let (checkpoint, mut notes) = if index_path.exists() {
        indexed(reader, folder, &index_path)?
    } else {
        numbered(reader, folder, &set)?
    };
    notes.push(format!(
        "{name} is one of {} files; all of them are counted",
        set.count
    ));
    Ok((checkpoint, notes))
}

/// Every file of a numbered set.
pub(super) fn numbered(
    reader: &mut Reader,
    folder: &Path,
    set: &Set,
) -> Result<Weights, OpenError> {
    let names = set.complete_in(folder)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok((files(reader, folder, &names)?, Vec::new()))
}

/// A set of files named `STEM-00001-of-00003.EXTENSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) stem: String,
    pub(super) count: u32,
    extension: &'static str,
}

impl Set {
    /// The set that a file's name says it belongs to.
    pub(super) fn of(name: &str, extension: &'static str) -> Option<Self> {
        let (rest, count) = name.strip_suffix(extension)?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let five_digits =
            |digits: &str| digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !five_digits(count) || !five_digits(number) {
            return None;
        }
        let (number, count): (u32, u32) = (number.parse().ok()?, count.parse().ok()?);
        (1..=count).contains(&number).then(|| Self {
            stem: stem.to_owned(),
            count,
            extension,
        })
    }

    /// The file of that number, counted from 1.
    pub(super) fn name(&self, number: u32) -> String {
        format!(
            "{}-{number:05}-of-{:05}{}",
            self.stem, self.count, self.extension
        )
    }

    /// All names, once every file is there.
    pub(super) fn complete_in(&self, folder: &Path) -> Result<Vec<String>, OpenError> {
        (1..=self.count)
            .map(|number| {
                let name = self.name(number);
                let path = folder.join(&name);
                if path.exists() || path.is_symlink() {
                    return Ok(name);
                }
                let why = format!("but the names of the others count {} files", self.count);
                Err(OpenError::ShardMissing { path, why })
            })
            .collect()
    }
}
