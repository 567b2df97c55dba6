//! A model, a workload and a machine as a caller describes them. Nothing is read from this machine's disk for one.

use serde::Deserialize;
use serde_json::{Map, Value};
use shv_machine::hardware::Hardware;
use shvplan::budget::{self, Limits, Machine};
use shvplan::cache::{KvQuant, Workload};
use shvplan::model::{Model, families};
use shvplan::plan::{CONCURRENCY_MAX, CONTEXT_MAX};
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::report::Subject;
use shvplan::source::{catalog, quantization};
use shvplan::units::parse_size;
use warp::http::StatusCode;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// A name of the catalog.
    model: Option<String>,
    /// A config.json, instead.
    config: Option<Value>,
    quant: Option<String>,
    context: Option<u64>,
    concurrency: Option<u64>,
    prefill_step: Option<u64>,
    kv_bits: Option<u8>,
    kv_group_size: Option<u16>,
    quantized_kv_start: Option<u64>,
    max_kv_size: Option<u64>,
    machine: Option<String>,
    memory: Option<String>,
    cap: Option<String>,
    wired_limit_mb: Option<u64>,
}

/// A question with what it names found.
pub(super) struct Asked {
    pub(super) subject: Subject,
    pub(super) model: Model,
    pub(super) scheme: Scheme,
    pub(super) workload: Workload,
    /// The machine that is named; none where none is.
    pub(super) machine: Option<Machine>,
    pub(super) limits: Limits,
}

/// A status, and why.
pub(super) type Refusal = (StatusCode, String);

pub(super) fn bad(field: &str, why: impl std::fmt::Display) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{field}: {why}"))
}

/// A body as an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|e| bad("body", e))
}

/// Takes a field that only one route knows out of a body.
pub(super) fn take<T: serde::de::DeserializeOwned>(
    body: &mut Map<String, Value>,
    field: &str,
) -> Result<Option<T>, Refusal> {
    let value = body.remove(field).unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|e| bad(field, e))
}

/// Finds what a question names.
pub(super) fn asked(body: Map<String, Value>) -> Result<Asked, Refusal> {
    let question: Question =
        serde_json::from_value(Value::Object(body)).map_err(|e| bad("body", e))?;
    let (subject, description) = described(&question)?;
    let model = families::build(&description).map_err(|e| {
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{}: {e}", subject.source),
        )
    })?;
    let scheme = match &question.quant {
        // As shvplan has it: what the description says the weights are stored as, else bf16.
        None => quantization::declared(&model, &description)
            .map_err(|e| bad("quant", e))?
            .unwrap_or_else(|| Scheme::new(model.dtype, Quant::Plain(Dtype::Bf16))),
        Some(name) => Scheme::new(model.dtype, name.parse().map_err(|e| bad("quant", e))?),
    };
    let workload = workload(&question)?;
    let cap_bytes = question
        .cap
        .as_deref()
        .map(parse_size)
        .transpose()
        .map_err(|e| bad("cap", e))?;
    Ok(Asked {
        subject,
        model,
        scheme,
        workload,
        machine: machine(&question)?,
        limits: Limits {
            wired_limit_mib: question.wired_limit_mb,
            cap_bytes,
            available_bytes: None,
        },
    })
}

fn machine(question: &Question) -> Result<Option<Machine>, Refusal> {
    if question.machine.is_none() && question.memory.is_none() {
        return Ok(None);
    }
    let machine = named(question.machine.as_deref())?;
    let Some(size) = &question.memory else {
        return Ok(Some(machine));
    };
    let bytes = parse_size(size).map_err(|e| bad("memory", e))?;
    Ok(Some(budget::with_memory(&machine, bytes)))
}

/// The machine of that name; `this` is the one the daemon runs on.
fn named(given: Option<&str>) -> Result<Machine, Refusal> {
    let name = match given {
        None => budget::default_name().to_owned(),
        Some("this") => {
            let hardware = Hardware::this();
            let chip = hardware
                .chip_name
                .as_deref()
                .unwrap_or("an unknown processor");
            hardware.machine_name().ok_or_else(|| {
                let why = format!("{chip} is no Apple chip: name a machine, such as m4-pro-48gb");
                bad("machine", why)
            })?
        }
        Some(name) => name.to_owned(),
    };
    budget::find(&name).map_err(|e| bad("machine", e))
}

fn described(question: &Question) -> Result<(Subject, serde_json::Value), Refusal> {
    match (&question.model, &question.config) {
        (Some(name), None) => {
            let entry = catalog::find(name).ok_or_else(|| {
                let near = catalog::close_to(name);
                let near = if near.is_empty() {
                    String::new()
                } else {
                    format!(": did you mean {}?", near.join(", "))
                };
                bad("model", format!("'{name}' is not in the catalog{near}"))
            })?;
            let subject = Subject {
                name: entry.name.to_owned(),
                title: entry.title.to_owned(),
                source: format!("catalog: {}", entry.name),
                notes: Vec::new(),
            };
            Ok((subject, entry.description().map_err(|e| bad("model", e))?))
        }
        (None, Some(config)) => {
            let name = "described model".to_owned();
            Ok((
                Subject {
                    title: name.clone(),
                    name,
                    source: "request".to_owned(),
                    notes: Vec::new(),
                },
                config.clone(),
            ))
        }
        _ => Err(bad(
            "model",
            "either a name of the catalog, or a config.json as `config`, is expected",
        )),
    }
}

fn workload(question: &Question) -> Result<Workload, Refusal> {
    let default = Workload::default();
    let within = |field: &str, value: Option<u64>, default: u64, most: u64| match value {
        None => Ok(default),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(n) => Err(bad(
            field,
            format!("{n} is out of range: 1 to {most} is accepted"),
        )),
    };
    let kv_quant = match question.kv_bits {
        None => None,
        Some(bits) if [2, 3, 4, 5, 6, 8].contains(&bits) => {
            let group_size = question.kv_group_size.unwrap_or(64);
            if ![32, 64, 128].contains(&group_size) {
                return Err(bad("kv_group_size", "32, 64 or 128 is accepted"));
            }
            Some(KvQuant {
                bits,
                group_size,
                start_tokens: question.quantized_kv_start.unwrap_or(5000),
            })
        }
        Some(bits) => {
            return Err(bad(
                "kv_bits",
                format!("{bits}: 2, 3, 4, 5, 6 or 8 is accepted"),
            ));
        }
    };
    Ok(Workload {
        context_tokens: within(
            "context",
            question.context,
            default.context_tokens,
            CONTEXT_MAX,
        )?,
        concurrency: within(
            "concurrency",
            question.concurrency,
            default.concurrency,
            CONCURRENCY_MAX,
        )?,
        prefill_step_tokens: within(
            "prefill_step",
            question.prefill_step,
            default.prefill_step_tokens,
            CONTEXT_MAX,
        )?,
        kv_quant,
        max_kv_tokens: question
            .max_kv_size
            .map(|n| within("max_kv_size", Some(n), n, CONTEXT_MAX))
            .transpose()?,
    })
}
