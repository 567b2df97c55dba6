//! Flags → ready objects.

use std::path::Path;

use serde_json::Value;
use shvplan::budget::{self, Limits, Machine};
use shvplan::cache::{KvQuant, Workload};
use shvplan::model::{ConfigError, Model, families};
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::report::Subject;
use shvplan::source::{catalog, json};
use shvplan::verdict::MARGIN_BYTES;

use super::Failure;
use super::args::{LoadArgs, MachineArgs};

/// A model that was found, or one whose architecture is not known.
pub(crate) enum Found {
    /// Its rules are known.
    Known(Subject, Box<Model>),
    /// They are not; nothing is guessed.
    Unknown {
        subject: Subject,
        architecture: String,
        why: String,
    },
}

/// The model that `given` names.
pub(crate) fn model(given: &str) -> Result<Found, Failure> {
    let (subject, description) = describe(given)?;
    match families::build(&description) {
        Ok(model) => Ok(Found::Known(subject, Box::new(model))),
        Err(error @ ConfigError::UnknownArchitecture { .. }) => {
            let architecture = description
                .get("model_type")
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned();
            let why = format!("{}: {error}", subject.source);
            Ok(Found::Unknown {
                subject,
                architecture,
                why,
            })
        }
        Err(error) => Err(Failure::about(&subject.source, error)),
    }
}

fn describe(given: &str) -> Result<(Subject, Value), Failure> {
    if let Some(entry) = catalog::find(given) {
        let subject = Subject {
            name: entry.name.to_owned(),
            title: entry.title.to_owned(),
            source: format!("catalog: {}", entry.name),
        };
        let description = entry
            .description()
            .map_err(|e| Failure::about(entry.name, e))?;
        return Ok((subject, description));
    }
    let path = Path::new(given);
    if path.exists() || given.contains('/') || has_extension(path, "json") {
        return read(path);
    }
    let near = catalog::close_to(given);
    let suggestion = if near.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", near.join(", "))
    };
    Err(Failure(format!(
        "--model '{given}': no model of that name.{suggestion} Accepted are 7b, 13b, 30b, a name from `shvplan models`, a directory with a config.json, or a config.json"
    )))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

fn read(path: &Path) -> Result<(Subject, Value), Failure> {
    let metadata = std::fs::metadata(path).map_err(|e| Failure::about(path.display(), e))?;
    let file = if metadata.is_dir() {
        path.join("config.json")
    } else {
        path.to_owned()
    };
    let shown = file.display();
    let metadata = std::fs::metadata(&file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::about(
            path.display(),
            "a directory without a config.json: one with the files of a model is expected",
        ),
        _ => Failure::about(&shown, e),
    })?;
    // A pipe or a device could hang, and the length is checked before a byte is read.
    if !metadata.is_file() {
        return Err(Failure::about(
            &shown,
            "not a regular file: a config.json is expected",
        ));
    }
    let most = json::Limits::CONFIG.text_bytes_max as u64;
    if metadata.len() > most {
        return Err(Failure::about(
            &shown,
            format!(
                "{} bytes is too long for a config.json: at most {most} are read",
                metadata.len()
            ),
        ));
    }
    let bytes = std::fs::read(&file).map_err(|e| Failure::about(&shown, e))?;
    let description =
        json::parse(&bytes, json::Limits::CONFIG).map_err(|e| Failure::about(&shown, e))?;
    let named = if metadata_is_config(&file) {
        file.parent().and_then(Path::file_name)
    } else {
        file.file_stem()
    };
    let name = named.map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned());
    Ok((
        Subject {
            title: name.clone(),
            name,
            source: shown.to_string(),
        },
        description,
    ))
}

/// A plain config.json is called after its directory, any other file after itself.
fn metadata_is_config(file: &Path) -> bool {
    file.file_name().is_some_and(|n| n == "config.json")
        && file.parent().is_some_and(|p| p.file_name().is_some())
}

/// The scheme that `given` names, acting on the model's own type.
pub(crate) fn scheme(given: Option<&str>, model: &Model) -> Result<Scheme, Failure> {
    let quant = match given {
        None => Quant::Plain(Dtype::Bf16),
        Some(text) => text.parse().map_err(|e| Failure::about("--quant", e))?,
    };
    Ok(Scheme::new(model.dtype, quant))
}

/// The workload that the flags describe.
pub(crate) fn workload(context_tokens: u64, load: &LoadArgs) -> Result<Workload, Failure> {
    Ok(Workload {
        context_tokens,
        concurrency: load.concurrency,
        prefill_step_tokens: load.prefill_step,
        kv_quant: load
            .kv_quant
            .as_deref()
            .map(|text| kv_quant(text, load.quantized_kv_start))
            .transpose()?,
        max_kv_tokens: load.max_kv_size,
    })
}

fn kv_quant(text: &str, start_tokens: u64) -> Result<KvQuant, Failure> {
    let (bits, group) = text.split_once(':').unwrap_or((text, "64"));
    let bits = bits
        .strip_prefix("int")
        .unwrap_or(bits)
        .parse()
        .ok()
        .filter(|b| [2, 3, 4, 5, 6, 8].contains(b));
    let group_size = group
        .strip_prefix('g')
        .unwrap_or(group)
        .parse()
        .ok()
        .filter(|g| [32, 64, 128].contains(g));
    match (bits, group_size) {
        (Some(bits), Some(group_size)) => Ok(KvQuant {
            bits,
            group_size,
            start_tokens,
        }),
        _ => Err(Failure(format!(
            "--kv-quant '{text}': bits (2, 3, 4, 5, 6 or 8) and, after a colon, a group size (32, 64 or 128) are expected, such as 8 or 4:32"
        ))),
    }
}

/// The machine that the flags describe, what else limits a run on it, and the margin.
pub(crate) fn machine(args: &MachineArgs) -> Result<(Machine, Limits, u64), Failure> {
    let named = args.machine.as_deref().unwrap_or(budget::default_name());
    let mut machine = budget::find(named).map_err(|e| Failure::about("--machine", e))?;
    if let Some(bytes) = args.memory {
        machine = budget::with_memory(&machine, bytes);
    }
    let limits = Limits {
        wired_limit_mib: args.wired_limit_mb,
        cap_bytes: args.cap,
        available_bytes: None,
    };
    Ok((machine, limits, args.margin.unwrap_or(MARGIN_BYTES)))
}
