//! From GGUF metadata to the config.json that the same model has on the hub.
//!
//! llama.cpp and transformers name the same sizes differently; the families read transformers' names. What has no
//! bearing on bytes (epsilons, rotary bases, multipliers) is not in the description, so the families' own names get
//! neutral values. Sources: gguf 0.19.0 constants.py (`MODEL_ARCH_NAMES`), llama.cpp `convert_hf_to_gguf.py`.

use serde_json::{Map, Value, json};

use super::super::checkpoint::Checkpoint;
use super::super::quote::quote;
use super::description::{GgufDescription, PerLayer};

/// Architectures of GGUF files that are known here, with the `model_type` of transformers. Each has been compared with
/// a public config.json of its kind.
const ARCHITECTURES: [(&str, &str); 18] = [
    ("cohere2", "cohere2"),
    ("command-r", "cohere"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("glm4", "glm4"),
    ("gpt-oss", "gpt_oss"),
    ("granite", "granite"),
    ("llama", "llama"),
    ("olmo2", "olmo2"),
    ("olmoe", "olmoe"),
    ("phi3", "phi3"),
    ("qwen2", "qwen2"),
    ("qwen2moe", "qwen2_moe"),
    ("qwen3", "qwen3"),
    ("qwen3moe", "qwen3_moe"),
    ("seed_oss", "seed_oss"),
    ("smollm3", "smollm3"),
];

/// Why a GGUF file's metadata does not describe a model that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "every field is named in the message above it")]
pub enum GgufConfigError {
    /// Another architecture.
    #[error(
        "key `general.architecture`: {} has no rule here: known are {}",
        quote(architecture),
        ARCHITECTURES.map(|row| row.0).join(", ")
    )]
    UnknownArchitecture { architecture: String },
    /// A projector or an adapter.
    #[error(
        "key `general.type`: {}: expected a model; projectors and adapters are none by themselves",
        quote(kind)
    )]
    NotAModel { kind: String },
    /// A key that the architecture needs.
    #[error("key `{architecture}.{key}` is missing: expected a whole number")]
    Missing {
        architecture: String,
        key: &'static str,
    },
    /// A figure that no family takes by layer.
    #[error("key `{architecture}.{key}` differs by layer: expected one number for all layers")]
    ByLayer {
        architecture: String,
        key: &'static str,
    },
}

/// The config.json of the model that a GGUF file holds.
///
/// # Errors
/// An architecture without a rule here, or sizes that are missing or differ by layer.
pub fn config(gguf: &GgufDescription, tensors: &Checkpoint) -> Result<Value, GgufConfigError> {
    if let Some(kind) = gguf.kind.as_ref().filter(|kind| *kind != "model") {
        return Err(GgufConfigError::NotAModel { kind: kind.clone() });
    }
    let row = ARCHITECTURES.iter().find(|row| row.0 == gguf.architecture);
    let Some(&(_, model_type)) = row else {
        return Err(GgufConfigError::UnknownArchitecture {
            architecture: gguf.architecture.clone(),
        });
    };
    let reading = Reading { gguf, tensors };
    let mut config = reading.common()?;
    let mut set = |field: &str, value: Value| drop(config.insert(field.to_owned(), value));
    let experts = gguf.expert_count.filter(|&count| count > 0);
    let model_type = if model_type == "llama" && experts.is_some() {
        "mixtral"
    } else {
        model_type
    };
    set("model_type", json!(model_type));
    if let Some(experts) = experts {
        let chosen = reading.need("expert_used_count", gguf.expert_used_count)?;
        set("num_experts", json!(experts));
        set("num_local_experts", json!(experts));
        set("num_experts_per_tok", json!(chosen));
        let width = gguf.expert_feed_forward_length;
        if model_type == "gpt_oss" {
            set(
                "intermediate_size",
                json!(reading.need("expert_feed_forward_length", width)?),
            );
        } else if matches!(model_type, "qwen2_moe" | "qwen3_moe") {
            set(
                "moe_intermediate_size",
                json!(reading.need("expert_feed_forward_length", width)?),
            );
        }
        if model_type == "qwen2_moe" {
            let shared = gguf.expert_shared_feed_forward_length;
            let shared = reading.need("expert_shared_feed_forward_length", shared)?;
            set("shared_expert_intermediate_size", json!(shared));
        }
    }
    if let Some(window) = gguf.sliding_window {
        set("sliding_window", json!(window));
    }
    Ok(Value::Object(config))
}

struct Reading<'g> {
    gguf: &'g GgufDescription,
    tensors: &'g Checkpoint,
}

impl Reading<'_> {
    /// What all families read, and neutral values for what they insist on but bytes do not depend on.
    fn common(&self) -> Result<Map<String, Value>, GgufConfigError> {
        let gguf = self.gguf;
        let hidden = self.need("embedding_length", gguf.embedding_length)?;
        let layers = self.need("block_count", gguf.block_count)?;
        let layers = layers.saturating_sub(gguf.nextn_predict_layers.unwrap_or(0));
        let heads = self.one("attention.head_count", gguf.head_count.as_ref())?;
        let heads = self.need("attention.head_count", heads)?;
        let kv_heads = self
            .one("attention.head_count_kv", gguf.head_count_kv.as_ref())?
            .unwrap_or(heads);
        let head_dim = gguf.key_length.or_else(|| hidden.checked_div(heads));
        let width = self.one("feed_forward_length", gguf.feed_forward_length.as_ref())?;
        let rows = |name: &str| {
            self.tensors
                .get(name)
                .and_then(|tensor| tensor.shape.first().copied())
        };
        let vocab = self.need("vocab_size", rows("token_embd.weight").or(gguf.vocab_size))?;
        let has = |name: &str| self.tensors.get(name).is_some();
        let (query_bias, output_bias) = (has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias"));
        let object = json!({
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "intermediate_size": width,
            "vocab_size": vocab,
            "max_position_embeddings": gguf.context_length.unwrap_or(4096),
            "tie_word_embeddings": !has("output.weight"),
            "attention_bias": query_bias,
            "attention_out_bias": output_bias,
            "mlp_bias": has("blk.0.ffn_up.bias"),
            "use_qk_norm": has("blk.0.attn_q_norm.weight"),
            "torch_dtype": "float16",
            "rms_norm_eps": 1e-5,
            "layer_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": 4096,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "logit_scale": 1.0,
            "logits_scaling": 1.0,
            "attention_multiplier": 1.0,
            "embedding_multiplier": 1.0,
            "residual_multiplier": 1.0,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": true,
        });
        let Value::Object(mut object) = object else {
            return Ok(Map::new());
        };
        object.retain(|_, value| !value.is_null());
        Ok(object)
    }

    fn need(&self, key: &'static str, value: Option<u64>) -> Result<u64, GgufConfigError> {
        value.ok_or_else(|| GgufConfigError::Missing {
            architecture: self.gguf.architecture.clone(),
            key,
        })
    }

    /// The one figure of all layers.
    fn one(
        &self,
        key: &'static str,
        value: Option<&PerLayer>,
    ) -> Result<Option<u64>, GgufConfigError> {
        match value {
            None => Ok(None),
            Some(PerLayer::Same(value)) => Ok(Some(*value)),
            Some(PerLayer::Each(values)) => match values.split_first() {
                Some((first, rest)) if rest.iter().all(|value| value == first) => Ok(Some(*first)),
                _ => Err(GgufConfigError::ByLayer {
                    architecture: self.gguf.architecture.clone(),
                    key,
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that unwraps an error fails where it should"
    )]

    use serde_json::Value;

    use super::super::super::catalog;
    use super::super::super::checkpoint::{Checkpoint, StoredTensor, StoredType};
    use super::super::{GgmlType, GgufDescription, PerLayer};
    use super::{ARCHITECTURES, GgufConfigError, config};
    use crate::model::families;

    /// The metadata that llama.cpp's converter makes of a config.json, as far as bytes depend on it.
    fn described(architecture: &str, config: &Value) -> (GgufDescription, Checkpoint) {
        let number = |field: &str| config.get(field).and_then(Value::as_u64);
        let experts = number("num_experts").or_else(|| number("num_local_experts"));
        let gguf = GgufDescription {
            architecture: architecture.to_owned(),
            block_count: number("num_hidden_layers"),
            embedding_length: number("hidden_size"),
            feed_forward_length: number("intermediate_size").map(PerLayer::Same),
            head_count: number("num_attention_heads").map(PerLayer::Same),
            head_count_kv: number("num_key_value_heads").map(PerLayer::Same),
            key_length: number("head_dim"),
            context_length: number("max_position_embeddings"),
            sliding_window: number("sliding_window"),
            expert_count: experts,
            expert_used_count: number("num_experts_per_tok")
                .or_else(|| number("experts_per_token")),
            expert_feed_forward_length: number("moe_intermediate_size")
                .or_else(|| number("intermediate_size")),
            expert_shared_feed_forward_length: number("shared_expert_intermediate_size"),
            ..GgufDescription::default()
        };
        let tied = ["gemma", "cohere", "command"]
            .iter()
            .any(|family| architecture.starts_with(family))
            || config["tie_word_embeddings"] == true;
        let biased = config["attention_bias"] == true || architecture.starts_with("qwen2");
        let tensor = |name: &str, shape: &[u64]| StoredTensor {
            name: name.to_owned(),
            dtype: StoredType::Ggml(GgmlType::from_number(0).unwrap()),
            shape: shape.to_vec(),
            bytes: 4 * shape.iter().product::<u64>(),
        };
        let mut tensors = vec![tensor(
            "token_embd.weight",
            &[number("vocab_size").unwrap(), 1],
        )];
        if !tied {
            tensors.push(tensor("output.weight", &[1]));
        }
        if biased {
            tensors.push(tensor("blk.0.attn_q.bias", &[1]));
        }
        if architecture == "gpt-oss" {
            tensors.push(tensor("blk.0.attn_output.bias", &[1]));
        }
        (gguf, Checkpoint::new(tensors, None).unwrap())
    }

    #[test]
    fn the_same_model_comes_of_either_description() {
        let mut compared = Vec::new();
        for (architecture, name) in [
            ("cohere2", "command-r7b"),
            ("command-r", "command-r-35b"),
            ("gemma", "gemma-2b"),
            ("gemma2", "gemma-2-9b"),
            ("gemma3", "gemma-3-27b-text"),
            ("glm4", "glm-4-9b-0414"),
            ("gpt-oss", "gpt-oss-120b"),
            ("granite", "granite-3.3-8b"),
            ("llama", "llama-3.1-8b"),
            ("llama", "mixtral-8x7b"),
            ("llama", "mistral-small-24b-2501"),
            ("olmo2", "olmo-2-13b"),
            ("olmoe", "olmoe-1b-7b"),
            ("phi3", "phi-3-mini-4k"),
            ("phi3", "phi-4-mini"),
            ("qwen2", "qwen2.5-7b"),
            ("qwen2moe", "qwen1.5-moe-a2.7b"),
            ("qwen3", "qwen3-8b"),
            ("qwen3moe", "qwen3-30b-a3b"),
            ("seed_oss", "seed-oss-36b"),
            ("smollm3", "smollm3-3b"),
        ] {
            let Some(entry) = catalog::find(name) else {
                continue;
            };
            let published = entry.description().unwrap();
            let (gguf, tensors) = described(architecture, &published);
            let expected = families::build(&published).unwrap();
            let got = families::build(&config(&gguf, &tensors).unwrap())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(got.parameters(), expected.parameters(), "{name}");
            assert_eq!(
                format!("{:?}", got.groups),
                format!("{:?}", expected.groups),
                "{name}"
            );
            compared.push(architecture);
        }
        for (architecture, _) in ARCHITECTURES {
            assert!(
                compared.contains(&architecture) || architecture == "smollm3",
                "{architecture} was not compared"
            );
        }
    }

    #[test]
    fn what_cannot_be_described_is_told() {
        let (mut gguf, tensors) = described(
            "llama",
            &catalog::find("llama-3.1-8b")
                .unwrap()
                .description()
                .unwrap(),
        );
        gguf.head_count_kv = Some(PerLayer::Each(vec![8, 4]));
        assert_eq!(
            config(&gguf, &tensors).unwrap_err().to_string(),
            "key `llama.attention.head_count_kv` differs by layer: expected one number for all layers"
        );
        gguf.embedding_length = None;
        assert_eq!(
            config(&gguf, &tensors).unwrap_err().to_string(),
            "key `llama.embedding_length` is missing: expected a whole number"
        );
        gguf.architecture = "mpt".to_owned();
        assert!(matches!(
            config(&gguf, &tensors),
            Err(GgufConfigError::UnknownArchitecture { .. })
        ));
        gguf.kind = Some("mmproj".to_owned());
        assert!(matches!(
            config(&gguf, &tensors),
            Err(GgufConfigError::NotAModel { .. })
        ));
    }
}
