//! Where other libraries put the arrays that mlx-lm has under names of its own.

/// Where transformers puts the text model's arrays in files with vision or sound beside it.
pub(super) fn inside_wrappers(path: &str) -> Vec<String> {
    let Some(inner) = path.strip_prefix("language_model.") else {
        return Vec::new();
    };
    let module = inner.strip_prefix("model.").unwrap_or(inner);
    vec![
        inner.to_owned(),
        format!("model.language_model.{module}"),
        format!("language_model.{module}"),
    ]
}

/// Stacked experts in mlx-lm, and one expert's weight in the files that it stacks (`sanitize` of each family).
pub(super) const SINGLE_EXPERTS: [(&str, &str); 4] = [
    (
        "block_sparse_moe.switch_mlp.gate_proj.",
        "block_sparse_moe.experts.{}.w1.",
    ),
    (
        "block_sparse_moe.switch_mlp.down_proj.",
        "block_sparse_moe.experts.{}.w2.",
    ),
    (
        "block_sparse_moe.switch_mlp.up_proj.",
        "block_sparse_moe.experts.{}.w3.",
    ),
    (".switch_mlp.", ".experts.{}."),
];
