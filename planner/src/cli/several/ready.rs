//! Entries resolved: models described, their workloads, adapters and prompt caches.

use shvplan::cache::Workload;
use shvplan::plan::{CONCURRENCY_MAX, CONTEXT_MAX};
use shvplan::quant::Scheme;
use shvplan::several::{PROMPTS_KEPT, PromptCaches, Role};
use shvplan::training::{ADAPTER_BYTES, Adapter};
use shvplan::units::parse_size;

use super::entries::{Entry, operand_of};
use crate::cli::args::PlanArgs;
use crate::cli::resolve::{self, Described, Found};
use crate::cli::{Failure, out};

/// A model that is there, with what is asked of it.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) role: Role,
    pub(super) described: Box<Described>,
    pub(super) scheme: Scheme,
    pub(super) workload: Workload,
    pub(super) prompt_caches: Option<PromptCaches>,
    pub(super) adapter_bytes: u64,
}

/// The model of an entry, and its draft; `None` in place of one whose architecture is not known, which is told.
pub(super) fn prepare(args: &PlanArgs, entry: &Entry) -> Result<Vec<Option<Ready>>, Failure> {
    let about = |why: String| Failure::about(format!("model '{}'", entry.name), why);
    let within = |field: &str, value: Option<u64>, default: u64, most: u64| {
        let value = value.unwrap_or(default);
        if (1..=most).contains(&value) {
            Ok(value)
        } else {
            Err(about(format!(
                "field '{field}': {value}; from 1 to {most} is expected"
            )))
        }
    };
    let context = within("context", entry.context, args.workload.context, CONTEXT_MAX)?;
    let concurrency = within(
        "concurrency",
        entry.concurrency,
        args.workload.load.concurrency,
        CONCURRENCY_MAX,
    )?;
    let workload = Workload {
        concurrency,
        ..resolve::workload(context, &args.workload.load)?
    };
    if entry.draft.is_some() && entry.embedder {
        return Err(about(
            "field 'draft': an embedder answers nothing".to_owned(),
        ));
    }
    if entry.draft.is_some() && concurrency > 1 {
        return Err(about(format!(
            "field 'concurrency': {concurrency}; with a draft model mlx-lm answers one request at a time, so that 1 is expected"
        )));
    }
    let role = if entry.embedder {
        Role::Embedder
    } else {
        Role::Chat
    };
    let Some(mut main) = ready(
        &entry.name,
        &entry.model,
        entry.quant.as_deref(),
        role,
        workload,
    )?
    else {
        return Ok(vec![None]);
    };
    main.prompt_caches = prompt_caches(entry).map_err(about)?;
    if let Some(adapter) = &entry.adapter {
        let adapter = Adapter {
            rank: within("adapter.rank", Some(adapter.rank), 8, 65_536)?,
            layers: adapter.layers,
            keys: adapter.keys.clone(),
            dora: adapter.dora,
        };
        let added = adapter
            .added(&main.described.model, &main.scheme)
            .map_err(|e| about(e.to_string()))?;
        main.adapter_bytes = added.parameters.saturating_mul(ADAPTER_BYTES);
    }
    let mut all = vec![Some(main)];
    if let Some(operand) = &entry.draft {
        let (model, quant) = operand_of(operand);
        let name = format!("{}, draft", entry.name);
        all.push(ready(&name, model, quant, Role::Draft, workload)?);
    }
    Ok(all)
}

fn ready(
    name: &str,
    model: &str,
    quant: Option<&str>,
    role: Role,
    workload: Workload,
) -> Result<Option<Ready>, Failure> {
    let (subject, described) = match resolve::model(model)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown { why, .. } => {
            out::complain(&why);
            return Ok(None);
        }
    };
    let scheme = resolve::scheme(quant, &described)?;
    Ok(Some(Ready {
        name: name.to_owned(),
        title: subject.title,
        role,
        described,
        scheme,
        workload,
        prompt_caches: None,
        adapter_bytes: 0,
    }))
}

fn prompt_caches(entry: &Entry) -> Result<Option<PromptCaches>, String> {
    let bytes_max = entry
        .prompt_cache_bytes
        .as_deref()
        .map(|text| parse_size(text).map_err(|e| format!("field 'prompt_cache_bytes': {e}")))
        .transpose()?;
    if entry.prompt_caches.is_none() && bytes_max.is_none() {
        return Ok(None);
    }
    if entry.embedder {
        return Err("field 'prompt_caches': an embedder keeps no prompts".to_owned());
    }
    Ok(Some(PromptCaches {
        count: entry.prompt_caches.unwrap_or(PROMPTS_KEPT),
        bytes_max,
    }))
}
