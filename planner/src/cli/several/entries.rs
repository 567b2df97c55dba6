//! The models of a plan, from flags or from YAML.

use std::path::Path;

use serde::Deserialize;

use crate::cli::args::PlanArgs;
use crate::cli::{Failure, yaml};

/// A plan.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Vec<Entry>,
    /// Whether they take turns, as --turns.
    #[serde(default)]
    turns: bool,
}

/// One model of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) quant: Option<String>,
    pub(super) context: Option<u64>,
    pub(super) concurrency: Option<u64>,
    #[serde(default)]
    pub(super) embedder: bool,
    /// A draft model, as M@Q.
    pub(super) draft: Option<String>,
    /// Prompts that its server keeps.
    pub(super) prompt_caches: Option<u64>,
    /// The most bytes of them.
    pub(super) prompt_cache_bytes: Option<String>,
    pub(super) adapter: Option<AdapterEntry>,
}

/// A LoRA adapter on a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdapterEntry {
    pub(super) rank: u64,
    /// Layers from the end on; without it, all.
    pub(super) layers: Option<u64>,
    #[serde(default)]
    pub(super) keys: Vec<String>,
    #[serde(default)]
    pub(super) dora: bool,
}

/// The models that the flags or their file name, and whether they take turns.
pub(super) fn entries(args: &PlanArgs) -> Result<(Vec<Entry>, bool), Failure> {
    let flags = &args.several;
    if let Some(path) = &flags.plan {
        let file: File = yaml::read(path)?;
        let shown = path.display();
        if !(1..=64).contains(&file.models.len()) {
            return Err(Failure::about(
                shown,
                format!(
                    "field 'models': {} models; from 1 to 64 are expected",
                    file.models.len()
                ),
            ));
        }
        for (at, entry) in file.models.iter().enumerate() {
            if file.models[..at].iter().any(|e| e.name == entry.name) {
                return Err(Failure::about(
                    shown,
                    format!("model '{}': the name stands there twice", entry.name),
                ));
            }
        }
        return Ok((file.models, file.turns || flags.turns));
    }
    let named = |operand: &String| {
        let (model, quant) = operand_of(operand);
        Entry {
            name: operand.clone(),
            model: model.to_owned(),
            quant: quant.map(ToOwned::to_owned),
            ..Entry::default()
        }
    };
    let chats = args.model.iter().chain(&flags.others).map(named);
    let embedders = flags.embedders.iter().map(|operand| Entry {
        embedder: true,
        ..named(operand)
    });
    let mut all: Vec<Entry> = chats.chain(embedders).collect();
    if let Some(first) = all.first_mut() {
        if args.quant.is_some() {
            first.quant.clone_from(&args.quant);
        }
        first.draft.clone_from(&flags.draft);
        first.prompt_caches = flags.prompt_caches;
        first.prompt_cache_bytes = flags.prompt_cache_bytes.map(|b| b.to_string());
    }
    Ok((all, flags.turns))
}

/// `M@Q` → model and quantization; a path that is there may have an @ of its own.
pub(super) fn operand_of(operand: &str) -> (&str, Option<&str>) {
    operand
        .rsplit_once('@')
        .filter(|_| !Path::new(operand).exists())
        .map_or((operand, None), |(model, quant)| (model, Some(quant)))
}
