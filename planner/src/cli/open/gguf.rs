//! GGUF files, single or split.

use std::path::Path;

use shvplan::source::checkpoint::Checkpoint;
use shvplan::source::gguf::{self, Gguf, Progress};

use super::read::Reader;
use super::safetensors::Set;
use super::{OpenError, Opened};

/// Bytes of the first read. It holds the whole header of a model whose tokenizer is elsewhere; others need a few more
/// reads, each as long as all before it.
const FIRST_READ_BYTES: u64 = 1 << 20;

/// Opens one file; where it is one of a split model, all of them.
pub(super) fn open(reader: &mut Reader, path: &Path) -> Result<Opened, OpenError> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let refused = |source| OpenError::Checkpoint {
        path: path.to_owned(),
        source,
    };
    if let Some(set) = Set::of(&name, ".gguf").filter(|set| set.count > 1) {
        return split(reader, folder, path, &set);
    }
    let gguf = header(reader, path)?;
    if let Some(split) = gguf.split {
        let why = format!(
            "part {} of a model split over {} files: expected its name to end in -{:05}-of-{:05}.gguf",
            split.number + 1,
            split.count,
            split.number + 1,
            split.count
        );
        return Err(OpenError::Split {
            path: path.to_owned(),
            why,
        });
    }
    let weights = Some(Checkpoint::new(gguf.tensors, None).map_err(refused)?);
    Ok(Opened {
        path: path.to_owned(),
        weights,
        gguf: Some(gguf.description),
        ..Opened::default()
    })
}

/// All files of a split model, checked against what each says of itself.
fn split(reader: &mut Reader, folder: &Path, path: &Path, set: &Set) -> Result<Opened, OpenError> {
    let mut tensors = Vec::new();
    let mut first = None;
    for (number, name) in (0_u64..).zip(set.complete_in(folder)?) {
        let part_path = folder.join(name);
        let mut gguf = header(reader, &part_path)?;
        let says = gguf.split.map(|split| (split.number, split.count));
        if says != Some((number, u64::from(set.count))) {
            let why = match says {
                Some((says, count)) => format!("split.no {says} of split.count {count}"),
                None => "no `split.count`".to_owned(),
            };
            let why = format!("{why}: its name says part {} of {}", number + 1, set.count);
            return Err(OpenError::Split {
                path: part_path,
                why,
            });
        }
        tensors.append(&mut gguf.tensors);
        first.get_or_insert(gguf);
    }
    let (description, says) = first
        .map(|gguf| (gguf.description, gguf.split))
        .unwrap_or_default();
    if let Some(tensor_count) = says.and_then(|split| split.tensor_count)
        && tensor_count != tensors.len() as u64
    {
        let why = format!(
            "split.tensors.count {tensor_count}, but the files have {} tensors",
            tensors.len()
        );
        return Err(OpenError::Split {
            path: path.to_owned(),
            why,
        });
    }
    let weights = Checkpoint::new(tensors, None).map_err(|source| OpenError::Checkpoint {
        path: path.to_owned(),
        source,
    })?;
    Ok(Opened {
        path: path.to_owned(),
        weights: Some(weights),
        gguf: Some(description),
        ..Opened::default()
    })
}

fn header(reader: &mut Reader, path: &Path) -> Result<Gguf, OpenError> {
    let (mut file, file_bytes) = Reader::open(path)?;
    let mut start = Vec::new();
    let mut wanted = FIRST_READ_BYTES;
    loop {
        reader.fill(path, &mut file, &mut start, wanted.min(file_bytes) as usize)?;
        match gguf::read(&start, file_bytes) {
            Ok(Progress::Done(gguf)) => return Ok(*gguf),
            Ok(Progress::Need(needed)) => wanted = needed.max(2 * wanted),
            Err(source) => {
                return Err(OpenError::Gguf {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}
