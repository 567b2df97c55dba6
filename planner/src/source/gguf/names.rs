//! llama.cpp's names of tensors for the paths that mlx-lm's modules have.
//!
//! Source: gguf 0.19.0 constants.py (`TENSOR_NAMES`) and tensor_mapping.py.

/// Modules outside the layers.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

/// Modules of a layer, in mlx-lm and in llama.cpp. Where two rows have one module, the first that the file has is it:
/// what is before the MLP in one family is after attention in another.
const IN_LAYER: [(&str, &str); 50] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("post_self_attn_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("post_mlp_layernorm", "post_ffw_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.sinks", "attn_sinks"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.router", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.switch_mlp.gate_proj", "ffn_gate_exps"),
    ("mlp.switch_mlp.up_proj", "ffn_up_exps"),
    ("mlp.switch_mlp.down_proj", "ffn_down_exps"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
    ("block_sparse_moe.switch_mlp.gate_proj", "ffn_gate_exps"),
    ("block_sparse_moe.switch_mlp.up_proj", "ffn_up_exps"),
    ("block_sparse_moe.switch_mlp.down_proj", "ffn_down_exps"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.q_a_layernorm", "attn_q_a_norm"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("attention.wqkv", "attn_qkv"),
    ("attention.wo", "attn_output"),
    ("feed_forward.w1", "ffn_gate"),
    ("feed_forward.w2", "ffn_down"),
    ("feed_forward.w3", "ffn_up"),
    ("attention_norm", "attn_norm"),
];

/// The names under which a GGUF file may have the array at `path`.
pub(in crate::source) fn candidates(path: &str) -> Vec<String> {
    if let Some((layer, rest)) = in_layer(path) {
        let named = |module: &str, suffix: &str| -> Vec<String> {
            let rows = IN_LAYER.iter().filter(|row| row.0 == module);
            rows.map(|row| format!("blk.{layer}.{}.{suffix}", row.1))
                .collect()
        };
        // A parameter that is no module's weight or bias stands by its own name (attention sinks).
        let whole = named(rest, "weight");
        return match rest.rsplit_once('.') {
            Some((module, suffix)) if whole.is_empty() => named(module, suffix),
            _ => whole,
        };
    }
    let module_and_suffix = path.rsplit_once('.');
    let outside = module_and_suffix.and_then(|(module, suffix)| {
        let row = OUTSIDE.iter().find(|row| row.0 == module)?;
        Some(format!("{}.{suffix}", row.1))
    });
    outside.into_iter().collect()
}

/// The layer's number and what follows it in `model.layers.3.mlp.up_proj.weight`.
fn in_layer(path: &str) -> Option<(&str, &str)> {
    let (_, after) = path.split_once("layers.")?;
    after
        .split_once('.')
        .filter(|(layer, _)| layer.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn paths_have_the_names_of_llama_cpp() {
        assert_eq!(
            candidates("model.embed_tokens.weight"),
            ["token_embd.weight"]
        );
        assert_eq!(candidates("lm_head.weight"), ["output.weight"]);
        assert_eq!(
            candidates("model.layers.12.self_attn.q_proj.bias"),
            ["blk.12.attn_q.bias"]
        );
        assert_eq!(
            candidates("model.layers.0.self_attn.sinks"),
            ["blk.0.attn_sinks.weight"]
        );
        assert_eq!(
            candidates("model.layers.0.post_attention_layernorm.weight"),
            ["blk.0.post_attention_norm.weight", "blk.0.ffn_norm.weight"]
        );
        assert!(candidates("model.layers.0.unheard.of.weight").is_empty());
    }
}
