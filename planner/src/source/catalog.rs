//! The models that are known by name: public config.json files, shipped with the program.

use super::json::{self, JsonError, Limits};
use crate::model::{Model, families};
use crate::names;
use serde_json::Value;

/// One model of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name on the command line: `llama-1-30b`.
    pub name: &'static str,
    /// What people call it: `LLaMA 30B`.
    pub title: &'static str,
    /// Other names on the command line, separated by spaces: `30b`.
    pub aliases: &'static str,
    /// Its config.json.
    text: &'static str,
}

macro_rules! model {
    ($name:literal, $title:literal) => {
        model!($name, $title, "")
    };
    ($name:literal, $title:literal, $aliases:literal) => {
        Entry {
            name: $name,
            title: $title,
            aliases: $aliases,
            text: include_str!(concat!("../../catalog/models/", $name, ".json")),
        }
    };
}

/// Every model, by name.
pub const MODELS: &[Entry] = &[
    model!("command-r-35b", "Command R 35B"),
    model!("command-r7b", "Command R7B"),
    model!("deepseek-v2-lite", "DeepSeek V2 Lite"),
    model!("deepseek-v3", "DeepSeek V3"),
    model!("deepseek-v3.2", "DeepSeek V3.2"),
    model!("ernie-4.5-0.3b", "ERNIE 4.5 0.3B"),
    model!("exaone-4.0-32b", "EXAONE 4.0 32B"),
    model!("falcon-h1-0.5b", "Falcon H1 0.5B"),
    model!("gemma-2-9b", "Gemma 2 9B"),
    model!("gemma-2b", "Gemma 2B"),
    model!("gemma-3-1b", "Gemma 3 1B"),
    model!("gemma-3-27b-text", "Gemma 3 27B (text)", "gemma-3-27b"),
    model!("gemma-4-26b-a4b", "Gemma 4 26B-A4B"),
    model!("glm-4-9b-0414", "GLM-4 9B 0414"),
    model!("glm-4.5-air", "GLM-4.5 Air"),
    model!("glm-4.7-flash", "GLM-4.7 Flash"),
    model!("gpt-neox-20b", "GPT-NeoX 20B"),
    model!("gpt-oss-120b", "gpt-oss 120B"),
    model!("gpt2", "GPT-2"),
    model!("granite-3.3-8b", "Granite 3.3 8B"),
    model!("granite-4.0-h-tiny", "Granite 4.0 H Tiny"),
    model!("granite-4.0-micro", "Granite 4.0 Micro"),
    model!("internlm2-7b", "InternLM2 7B"),
    model!("jamba-v0.1", "Jamba v0.1"),
    model!("kimi-k2", "Kimi K2"),
    model!("kimi-linear-48b-a3b", "Kimi Linear 48B-A3B"),
    model!("lfm2-1.2b", "LFM2 1.2B"),
    model!("lfm2-8b-a1b", "LFM2 8B-A1B"),
    model!("llama-1-13b", "LLaMA 13B", "13b llama-13b"),
    model!("llama-1-30b", "LLaMA 30B", "30b llama-30b 33b"),
    model!("llama-1-65b", "LLaMA 65B", "65b llama-65b"),
    model!("llama-1-7b", "LLaMA 7B", "7b llama-7b"),
    model!("llama-2-13b", "Llama 2 13B"),
    model!("llama-2-70b", "Llama 2 70B"),
    model!("llama-2-7b", "Llama 2 7B"),
    model!("llama-3.1-405b", "Llama 3.1 405B"),
    model!("llama-3.1-70b", "Llama 3.1 70B"),
    model!("llama-3.1-8b", "Llama 3.1 8B"),
    model!("llama-3.2-1b", "Llama 3.2 1B"),
    model!("llama-3.2-3b", "Llama 3.2 3B"),
    model!("llama-4-scout", "Llama 4 Scout"),
    model!("mamba-130m", "Mamba 130M"),
    model!("mamba2-2.7b", "Mamba-2 2.7B"),
    model!("mimo-7b", "MiMo 7B"),
    model!("mimo-v2-flash", "MiMo V2 Flash"),
    model!("minicpm3-4b", "MiniCPM3 4B"),
    model!("minimax-m2.5", "MiniMax M2.5", "minimax-m2"),
    model!("mistral-7b-v0.1", "Mistral 7B v0.1"),
    model!("mistral-7b-v0.3", "Mistral 7B v0.3", "mistral-7b"),
    model!("mistral-small-24b-2501", "Mistral Small 24B 2501"),
    model!("mixtral-8x7b", "Mixtral 8x7B", "mixtral"),
    model!("nemotron-3-nano-30b-a3b", "Nemotron 3 Nano 30B-A3B"),
    model!("nemotron-h-8b", "Nemotron-H 8B"),
    model!("olmo-2-13b", "OLMo 2 13B"),
    model!("olmo-3-7b", "OLMo 3 7B"),
    model!("olmoe-1b-7b", "OLMoE 1B-7B"),
    model!("phi-2", "Phi-2"),
    model!("phi-3-mini-4k", "Phi-3 Mini 4K"),
    model!("phi-3.5-moe", "Phi-3.5 MoE"),
    model!("phi-4-mini", "Phi-4 Mini"),
    model!("qwen1.5-moe-a2.7b", "Qwen1.5 MoE A2.7B"),
    model!("qwen2.5-0.5b", "Qwen2.5 0.5B"),
    model!("qwen2.5-1.5b", "Qwen2.5 1.5B"),
    model!("qwen2.5-14b", "Qwen2.5 14B"),
    model!("qwen2.5-32b", "Qwen2.5 32B"),
    model!("qwen2.5-3b", "Qwen2.5 3B"),
    model!("qwen2.5-72b", "Qwen2.5 72B"),
    model!("qwen2.5-7b", "Qwen2.5 7B"),
    model!("qwen3-0.6b", "Qwen3 0.6B"),
    model!("qwen3-1.7b", "Qwen3 1.7B"),
    model!("qwen3-14b", "Qwen3 14B"),
    model!("qwen3-30b-a3b", "Qwen3 30B-A3B"),
    model!("qwen3-32b", "Qwen3 32B"),
    model!("qwen3-4b", "Qwen3 4B"),
    model!("qwen3-8b", "Qwen3 8B"),
    model!("qwen3-next-80b-a3b", "Qwen3 Next 80B-A3B"),
    model!("qwen3.5-27b", "Qwen3.5 27B"),
    model!("qwen3.5-35b-a3b", "Qwen3.5 35B-A3B"),
    model!("seed-oss-36b", "Seed-OSS 36B"),
    model!("smollm2-360m", "SmolLM2 360M"),
    model!("smollm3-3b", "SmolLM3 3B"),
    model!("stablelm-2-1.6b", "StableLM 2 1.6B"),
    model!("starcoder2-15b", "StarCoder2 15B"),
    model!("tinyllama-1.1b", "TinyLlama 1.1B"),
    model!("yi-34b", "Yi 34B"),
];

impl Entry {
    /// Its config.json as a tree.
    ///
    /// # Errors
    /// When the shipped text is no JSON, which a test rules out.
    pub fn description(&self) -> Result<Value, JsonError> {
        json::parse(self.text.as_bytes(), Limits::CONFIG)
    }

    /// The model it builds, if its `model_type` is `architecture`.
    #[must_use]
    pub fn model_of(&self, architecture: &str) -> Option<Model> {
        // Looking for the name first spares parsing most of the catalog.
        if !self.text.contains(architecture) {
            return None;
        }
        let description = self.description().ok()?;
        let same = description.get("model_type").and_then(Value::as_str) == Some(architecture);
        same.then(|| families::build(&description).ok()).flatten()
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.split_whitespace().any(|alias| alias == name)
    }
}

/// The model of that name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    let name = names::folded(name);
    MODELS.iter().find(|entry| entry.answers_to(&name))
}

/// Names close to one that is not known, best first, at most three.
#[must_use]
pub fn close_to(name: &str) -> Vec<&'static str> {
    let names = MODELS
        .iter()
        .flat_map(|entry| std::iter::once(entry.name).chain(entry.aliases.split_whitespace()));
    names::closest(&names::folded(name), names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_find_their_model() {
        assert_eq!(find("30b").map(|e| e.title), Some("LLaMA 30B"));
        assert_eq!(find("LLaMA 30B").map(|e| e.name), Some("llama-1-30b"));
        assert_eq!(find("qwen3_8B").map(|e| e.name), Some("qwen3-8b"));
        assert!(find("31b").is_none() && find("").is_none());
        assert!(close_to("qwen3-8bb").contains(&"qwen3-8b"));
    }

    #[test]
    fn every_name_is_unique_and_every_description_builds() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in MODELS {
            for name in std::iter::once(entry.name).chain(entry.aliases.split_whitespace()) {
                assert!(seen.insert(name), "{name} twice");
            }
            let description = entry.description().expect(entry.name);
            let model = match families::build(&description) {
                Ok(model) => model,
                Err(crate::model::ConfigError::UnknownArchitecture { .. }) => continue,
                Err(e) => panic!("{}: {e}", entry.name),
            };
            assert!(model.parameters() > 50_000_000, "{}", entry.name);
        }
    }
}
