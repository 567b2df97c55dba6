//! Flags of a plan that bring further models in.

use std::path::PathBuf;

use clap::Args;
use shvplan::units::parse_size;

/// Flags of a plan that bring further models in.
#[derive(Debug, Args)]
pub(crate) struct SeveralFlags {
    /// A further model beside it, with a quantization after an @; may be given many times.
    #[arg(
        long = "with",
        value_name = "M[@Q]",
        requires = "model",
        allow_hyphen_values = true
    )]
    pub(super) others: Vec<String>,
    /// A draft model for --model: speculative decoding.
    #[arg(
        long,
        value_name = "M[@Q]",
        requires = "model",
        allow_hyphen_values = true
    )]
    pub(super) draft: Option<String>,
    /// A model beside it that only reads, and keeps no caches between texts; may be given many times.
    #[arg(
        long = "embedder",
        value_name = "M[@Q]",
        requires = "model",
        allow_hyphen_values = true
    )]
    pub(super) embedders: Vec<String>,
    /// Models by name, with what each is asked for, as YAML (docs/several.md has the form).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "quant"])]
    pub(super) plan: Option<PathBuf>,
    /// --model is served by mlx_lm.server, which keeps this many prompts [default: 10 with --prompt-cache-bytes].
    #[arg(long, value_name = "N", requires = "model", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub(super) prompt_caches: Option<u64>,
    /// mlx_lm.server's --prompt-cache-bytes for --model.
    #[arg(long, value_name = "SIZE", requires = "model", value_parser = size)]
    pub(super) prompt_cache_bytes: Option<u64>,
    /// The models take turns; without it they may all work at once.
    #[arg(long)]
    pub(super) turns: bool,
}

impl SeveralFlags {
    /// Whether any of them is given, so that models are planned together.
    pub(crate) fn given(&self) -> bool {
        !self.others.is_empty()
            || !self.embedders.is_empty()
            || self.turns
            || self.draft.is_some()
            || self.plan.is_some()
            || self.prompt_caches.is_some()
            || self.prompt_cache_bytes.is_some()
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|e| e.to_string())
}
