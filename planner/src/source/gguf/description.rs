//! What a GGUF file's metadata says of its model, typed.

use super::super::quote::quote;
use super::error::GgufError;
use super::value::Value;

/// Layers that a list by layer may have.
const LAYERS_MAX: u64 = 1024;
/// The longest name of an architecture: it stands before every key.
const ARCHITECTURE_BYTES_MAX: usize = 64;

/// One figure for all layers, or one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerLayer {
    /// The same everywhere.
    Same(u64),
    /// By layer, from the first.
    Each(Vec<u64>),
}

impl PerLayer {
    /// The figure of that layer, counted from 0.
    #[must_use]
    pub fn at(&self, layer: usize) -> Option<u64> {
        match self {
            Self::Same(value) => Some(*value),
            Self::Each(values) => values.get(layer).copied(),
        }
    }
}

/// Which part of a split model a file is (`split.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Counted from 0.
    pub number: u64,
    /// Files in all.
    pub count: u64,
    /// Tensors in all files together.
    pub tensor_count: Option<u64>,
}

/// The keys that say how a model is built (gguf 0.19.0, constants.py, `Keys`). What the file does not say is absent.
///
/// Keys under the architecture's name are written `{arch}.` here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GgufDescription {
    /// `general.architecture`: `llama`, `qwen3moe`.
    pub architecture: String,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.type`: `model`; `mmproj` and `adapter` are not models by themselves.
    pub kind: Option<String>,
    /// `general.file_type`, llama.cpp's number of the quantization mix.
    pub file_type: Option<u64>,
    /// `{arch}.vocab_size`, else the length of `tokenizer.ggml.tokens`.
    pub vocab_size: Option<u64>,
    /// `{arch}.context_length`.
    pub context_length: Option<u64>,
    /// `{arch}.block_count`: layers.
    pub block_count: Option<u64>,
    /// `{arch}.embedding_length`: the hidden size.
    pub embedding_length: Option<u64>,
    /// `{arch}.feed_forward_length`.
    pub feed_forward_length: Option<PerLayer>,
    /// `{arch}.attention.head_count`.
    pub head_count: Option<PerLayer>,
    /// `{arch}.attention.head_count_kv`; 0 in layers without attention.
    pub head_count_kv: Option<PerLayer>,
    /// `{arch}.attention.key_length`: a key head's dimension.
    pub key_length: Option<u64>,
    /// `{arch}.attention.value_length`.
    pub value_length: Option<u64>,
    /// `{arch}.attention.key_length_mla`.
    pub key_length_mla: Option<u64>,
    /// `{arch}.attention.value_length_mla`.
    pub value_length_mla: Option<u64>,
    /// `{arch}.attention.q_lora_rank`.
    pub q_lora_rank: Option<u64>,
    /// `{arch}.attention.kv_lora_rank`.
    pub kv_lora_rank: Option<u64>,
    /// `{arch}.attention.sliding_window`, in tokens.
    pub sliding_window: Option<u64>,
    /// `{arch}.attention.sliding_window_pattern`: 1 where a layer is windowed, or the period.
    pub sliding_window_pattern: Option<PerLayer>,
    /// `{arch}.attention.shared_kv_layers`.
    pub shared_kv_layers: Option<u64>,
    /// `{arch}.attention.indexer.key_length`.
    pub indexer_key_length: Option<u64>,
    /// `{arch}.full_attention_interval`.
    pub full_attention_interval: Option<u64>,
    /// `{arch}.rope.dimension_count`.
    pub rope_dimension_count: Option<u64>,
    /// `{arch}.expert_count`.
    pub expert_count: Option<u64>,
    /// `{arch}.expert_used_count`.
    pub expert_used_count: Option<u64>,
    /// `{arch}.expert_shared_count`.
    pub expert_shared_count: Option<u64>,
    /// `{arch}.expert_feed_forward_length`.
    pub expert_feed_forward_length: Option<u64>,
    /// `{arch}.expert_shared_feed_forward_length`.
    pub expert_shared_feed_forward_length: Option<u64>,
    /// `{arch}.leading_dense_block_count`.
    pub leading_dense_block_count: Option<u64>,
    /// `{arch}.nextn_predict_layers`: layers among `block_count` that predict further tokens.
    pub nextn_predict_layers: Option<u64>,
    /// `{arch}.ssm.conv_kernel`.
    pub ssm_conv_kernel: Option<u64>,
    /// `{arch}.ssm.inner_size`.
    pub ssm_inner_size: Option<u64>,
    /// `{arch}.ssm.state_size`.
    pub ssm_state_size: Option<u64>,
    /// `{arch}.ssm.time_step_rank`.
    pub ssm_time_step_rank: Option<u64>,
    /// `{arch}.ssm.group_count`.
    pub ssm_group_count: Option<u64>,
    /// `{arch}.shortconv.l_cache`.
    pub shortconv_l_cache: Option<u64>,
}

/// The keys of one file, looked up by name.
pub(super) struct Metadata<'e> {
    /// Sorted by key.
    entries: &'e [(&'e str, Value<'e>)],
    split: Option<Split>,
}

impl<'e> Metadata<'e> {
    pub(super) fn new(entries: &'e [(&'e str, Value<'e>)]) -> Result<Self, GgufError> {
        let mut metadata = Self {
            entries,
            split: None,
        };
        metadata.split = metadata.read_split()?;
        Ok(metadata)
    }

    pub(super) fn alignment(&self, default: u64) -> Result<u64, GgufError> {
        let key = "general.alignment";
        let alignment = self.unsigned(key)?.unwrap_or(default);
        if alignment.is_power_of_two() && alignment <= 1 << 31 {
            return Ok(alignment);
        }
        let found = alignment.to_string();
        Err(GgufError::KeyValue {
            key: key.to_owned(),
            found,
            expected: "a power of two below 2^32",
        })
    }

    pub(super) fn split(&self) -> Option<Split> {
        self.split
    }

    fn read_split(&self) -> Result<Option<Split>, GgufError> {
        let Some(count) = self.unsigned("split.count")? else {
            return Ok(None);
        };
        let number = self.unsigned("split.no")?.unwrap_or(0);
        if number >= count.max(1) {
            let found = format!("{number} of {count}");
            let expected = "a number below `split.count`";
            return Err(GgufError::KeyValue {
                key: "split.no".to_owned(),
                found,
                expected,
            });
        }
        let tensor_count = self.unsigned("split.tensors.count")?;
        Ok((count > 1).then_some(Split {
            number,
            count,
            tensor_count,
        }))
    }

    /// Parts of a split model after the first may leave everything but `split.*` out.
    pub(super) fn description(&self) -> Result<GgufDescription, GgufError> {
        let architecture = match self.text("general.architecture")? {
            Some(architecture) if architecture.len() <= ARCHITECTURE_BYTES_MAX => architecture,
            Some(architecture) => {
                let (key, found) = ("general.architecture".to_owned(), quote(architecture));
                return Err(GgufError::KeyValue {
                    key,
                    found,
                    expected: "a name of at most 64 bytes",
                });
            }
            None if self.split.is_some_and(|split| split.number > 0) => {
                return Ok(GgufDescription::default());
            }
            None => return Err(GgufError::NoArchitecture),
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let unsigned = |name: &str| self.unsigned(&key(name));
        let per_layer = |name: &str| self.per_layer(&key(name));
        let vocab_size = match unsigned("vocab_size")? {
            Some(vocab_size) => Some(vocab_size),
            None => self.length("tokenizer.ggml.tokens")?,
        };
        Ok(GgufDescription {
            name: self.text("general.name")?.map(str::to_owned),
            kind: self.text("general.type")?.map(str::to_owned),
            file_type: self.unsigned("general.file_type")?,
            vocab_size,
            context_length: unsigned("context_length")?,
            block_count: unsigned("block_count")?,
            embedding_length: unsigned("embedding_length")?,
            feed_forward_length: per_layer("feed_forward_length")?,
            head_count: per_layer("attention.head_count")?,
            head_count_kv: per_layer("attention.head_count_kv")?,
            key_length: unsigned("attention.key_length")?,
            value_length: unsigned("attention.value_length")?,
            key_length_mla: unsigned("attention.key_length_mla")?,
            value_length_mla: unsigned("attention.value_length_mla")?,
            q_lora_rank: unsigned("attention.q_lora_rank")?,
            kv_lora_rank: unsigned("attention.kv_lora_rank")?,
            sliding_window: unsigned("attention.sliding_window")?,
            sliding_window_pattern: per_layer("attention.sliding_window_pattern")?,
            shared_kv_layers: unsigned("attention.shared_kv_layers")?,
            indexer_key_length: unsigned("attention.indexer.key_length")?,
            full_attention_interval: unsigned("full_attention_interval")?,
            rope_dimension_count: unsigned("rope.dimension_count")?,
            expert_count: unsigned("expert_count")?,
            expert_used_count: unsigned("expert_used_count")?,
            expert_shared_count: unsigned("expert_shared_count")?,
            expert_feed_forward_length: unsigned("expert_feed_forward_length")?,
            expert_shared_feed_forward_length: unsigned("expert_shared_feed_forward_length")?,
            leading_dense_block_count: unsigned("leading_dense_block_count")?,
            nextn_predict_layers: unsigned("nextn_predict_layers")?,
            ssm_conv_kernel: unsigned("ssm.conv_kernel")?,
            ssm_inner_size: unsigned("ssm.inner_size")?,
            ssm_state_size: unsigned("ssm.state_size")?,
            ssm_time_step_rank: unsigned("ssm.time_step_rank")?,
            ssm_group_count: unsigned("ssm.group_count")?,
            shortconv_l_cache: unsigned("shortconv.l_cache")?,
            architecture: architecture.to_owned(),
        })
    }

    fn get(&self, key: &str) -> Option<&Value<'e>> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.0.cmp(key))
            .ok()?;
        self.entries.get(at).map(|entry| &entry.1)
    }

    fn unsigned(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a whole number, 0 or more", Value::unsigned)
    }

    fn text(&self, key: &str) -> Result<Option<&'e str>, GgufError> {
        self.typed(key, "text", |value| {
            if let Value::String(text) = *value {
                Some(text)
            } else {
                None
            }
        })
    }

    fn length(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "an array", |value| {
            if let Value::Array(array) = value {
                Some(array.length)
            } else {
                None
            }
        })
    }

    fn per_layer(&self, key: &str) -> Result<Option<PerLayer>, GgufError> {
        let expected = "a whole number, 0 or more, or a list of at most 1024 of them, one a layer";
        self.typed(key, expected, |value| match value {
            Value::Array(array) if array.length <= LAYERS_MAX => {
                array.unsigned().map(PerLayer::Each)
            }
            value => value.unsigned().map(PerLayer::Same),
        })
    }

    /// The value of a key where there is one; refused where `read` cannot make anything of it.
    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value<'e>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| GgufError::KeyValue {
            key: key.to_owned(),
            found: value.describe(),
            expected,
        })
    }
}
