//! `POST /api/v1/plan`: the report that `shvplan --format json` prints, for a model of the catalog or one described in
//! the request. Nothing is read from this machine's disk for a caller.

use serde::Deserialize;
use shv_machine::hardware::Hardware;
use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::cache::{KvQuant, Workload};
use shvplan::model::families;
use shvplan::plan::{CONCURRENCY_MAX, CONTEXT_MAX, Request};
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::report::{self, Report, Subject};
use shvplan::source::{catalog, quantization};
use shvplan::units::parse_size;
use shvplan::{advice, verdict};
use warp::Reply as _;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::routes::problem;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// A name of the catalog.
    model: Option<String>,
    /// A config.json, instead.
    config: Option<serde_json::Value>,
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
    #[serde(default)]
    explain: bool,
}

pub(super) fn answer(body: &[u8]) -> Response {
    match planned(body) {
        Ok(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
        }
        Err((status, why)) => problem(status, &why),
    }
}

type Refusal = (StatusCode, String);

fn bad(field: &str, why: impl std::fmt::Display) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{field}: {why}"))
}

fn planned(body: &[u8]) -> Result<String, Refusal> {
    let question: Question = serde_json::from_slice(body).map_err(|e| bad("body", e))?;
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
    let mut machine = machine(question.machine.as_deref())?;
    if let Some(size) = &question.memory {
        machine = budget::with_memory(&machine, parse_size(size).map_err(|e| bad("memory", e))?);
    }
    let cap_bytes = question
        .cap
        .as_deref()
        .map(parse_size)
        .transpose()
        .map_err(|e| bad("cap", e))?;
    let limits = Limits {
        wired_limit_mib: question.wired_limit_mb,
        cap_bytes,
        available_bytes: None,
    };
    let request = Request {
        model: &model,
        scheme: &scheme,
        workload,
        machine: &machine,
        backend: Backend::Metal,
        limits,
        margin_bytes: verdict::MARGIN_BYTES,
    };
    let refused = |e: shvplan::plan::PlanError| (StatusCode::UNPROCESSABLE_ENTITY, e.to_string());
    let plan = request.plan().map_err(refused)?;
    let counsel = advice::advise(&request);
    let report = Report {
        subject: &subject,
        request: &request,
        plan: &plan,
        counsel: &counsel,
        explain: question.explain,
    };
    report::json::render(&report).map_err(refused)
}

/// The machine of that name; `this` is the one the daemon runs on.
fn machine(given: Option<&str>) -> Result<Machine, Refusal> {
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
