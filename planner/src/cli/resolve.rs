//! Flags → ready objects.

use serde_json::Value;
use shvplan::budget::{self, Limits, Machine};
use shvplan::cache::{KvQuant, Workload};
use shvplan::model::{ConfigError, Model, families};
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::report::Subject;
use shvplan::source::{catalog, quantization, stored};
use shvplan::verdict::MARGIN_BYTES;

use super::args::{LoadArgs, MachineArgs};
use super::local::{self, Local};
use super::{Failure, machine_file};

/// A model, and how its own files store it where they are on disk.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) model: Model,
    /// What its own files say, or its config.json; where mlx-lm refuses that, why.
    pub(crate) stored: Result<Option<Scheme>, Failure>,
}

/// A model that was found, or one whose architecture is not known.
pub(crate) enum Found {
    /// Its rules are known.
    Known(Subject, Box<Described>),
    /// They are not; nothing is guessed.
    Unknown {
        subject: Subject,
        architecture: String,
        why: String,
    },
}

/// The model that `given` names.
pub(crate) fn model(given: &str) -> Result<Found, Failure> {
    let Local {
        mut subject,
        description,
        weights,
    } = describe(given)?;
    match families::build(&description) {
        Ok(mut model) => {
            let declared = quantization::declared(&model, &description)
                .map_err(|error| Failure::about(&subject.source, error));
            let stored = match weights {
                None => declared,
                Some(weights) => {
                    stored::take_head(&mut model, &weights);
                    let declared = declared.as_ref().ok().and_then(Option::as_ref);
                    let (scheme, notes) = local::stored_as(&model, &weights, declared);
                    subject.notes.extend(notes);
                    Ok(Some(scheme))
                }
            };
            Ok(Found::Known(subject, Box::new(Described { model, stored })))
        }
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

fn describe(given: &str) -> Result<Local, Failure> {
    if let Some(entry) = catalog::find(given) {
        let subject = Subject {
            name: entry.name.to_owned(),
            title: entry.title.to_owned(),
            source: format!("catalog: {}", entry.name),
            notes: Vec::new(),
        };
        let description = entry
            .description()
            .map_err(|e| Failure::about(entry.name, e))?;
        return Ok(Local {
            subject,
            description,
            weights: None,
        });
    }
    if local::is_meant(given) {
        return local::describe(given);
    }
    let near = catalog::close_to(given);
    let suggestion = if near.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", near.join(", "))
    };
    Err(Failure(format!(
        "--model '{given}': no model of that name.{suggestion} Accepted are 7b, 13b, 30b, a name from `shvplan models`, a directory with a config.json, a config.json, .safetensors, .safetensors.index.json or .gguf file, or org/name from the local Hugging Face cache"
    )))
}

/// The scheme that `given` names, acting on the type that the weights are stored in; without a name, what the model is
/// stored as, else bf16.
pub(crate) fn scheme(given: Option<&str>, described: &Described) -> Result<Scheme, Failure> {
    let Some(text) = given else {
        let unquantized = || Scheme::new(described.model.dtype, Quant::Plain(Dtype::Bf16));
        return described
            .stored
            .clone()
            .map(|stored| stored.unwrap_or_else(unquantized));
    };
    let stored = described.stored.as_ref().ok().and_then(Option::as_ref);
    let quant = text.parse().map_err(|e| Failure::about("--quant", e))?;
    Ok(Scheme::new(
        stored.map_or(described.model.dtype, |stored| stored.dtype),
        quant,
    ))
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
    let mut machine = machine_file::named(args.machine.as_deref())?;
    if let Some(bytes) = args.memory {
        machine = budget::with_memory(&machine, bytes);
    }
    if let Some(file) = &args.calibration {
        machine.measured = Some(machine_file::calibration(file)?);
    }
    let limits = Limits {
        wired_limit_mib: args.wired_limit_mb,
        cap_bytes: args.cap,
        available_bytes: None,
    };
    Ok((machine, limits, args.margin.unwrap_or(MARGIN_BYTES)))
}
