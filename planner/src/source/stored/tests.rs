#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use serde_json::json;

use super::super::checkpoint::{Checkpoint, StoredTensor, StoredType};
use super::super::safetensors::Dtype as FileDtype;
use super::{stored, take_head};
use crate::model::{Model, Reads, Role, Shape, Tensor, families};
use crate::quant::{Dtype, Override, Packing, Quant};
use crate::weights;

fn llama() -> Model {
    families::build(&json!({
        "model_type": "llama", "hidden_size": 128, "num_hidden_layers": 3, "intermediate_size": 256,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "torch_dtype": "float16",
    }))
    .unwrap()
}

/// Every array of the model by its path, with its shape and whether it may be packed.
fn arrays(model: &Model) -> Vec<(String, Vec<u64>, Role)> {
    let mut arrays = Vec::new();
    for tensor in &model.tensors {
        let (shape, role) = (tensor.shape.dims().to_vec(), tensor.role);
        match tensor.group.map(|group| &model.groups[group]) {
            None => arrays.push((tensor.path.to_string(), shape, role)),
            Some(group) => {
                let path = |layer| format!("{}.{layer}.{}", group.prefix, tensor.path);
                arrays.extend(
                    group
                        .layers
                        .iter()
                        .map(|layer| (path(layer), shape.clone(), role)),
                );
            }
        }
    }
    arrays
}

fn tensor(name: &str, dtype: FileDtype, shape: &[u64]) -> StoredTensor {
    let bytes = dtype.tensor_bytes(shape).unwrap();
    StoredTensor {
        name: name.to_owned(),
        dtype: StoredType::Safetensors(dtype),
        shape: shape.to_vec(),
        bytes,
    }
}

/// The tensors of a module packed so, with scales in `scales`.
fn packed(
    path: &str,
    shape: &[u64],
    bits: u64,
    group_size: u64,
    scales: FileDtype,
) -> Vec<StoredTensor> {
    let module = path.strip_suffix(".weight").unwrap();
    let with_last = |last| [&shape[..shape.len() - 1], &[last]].concat();
    let last = shape[shape.len() - 1];
    let mut tensors = vec![
        tensor(path, FileDtype::U32, &with_last(last * bits / 32)),
        tensor(
            &format!("{module}.scales"),
            scales,
            &with_last(last / group_size),
        ),
    ];
    if scales != FileDtype::U8 {
        tensors.push(tensor(
            &format!("{module}.biases"),
            scales,
            &with_last(last / group_size),
        ));
    }
    tensors
}

fn checkpoint(tensors: Vec<StoredTensor>) -> Checkpoint {
    Checkpoint::new(tensors, None).unwrap()
}

#[test]
fn plain_weights_are_in_their_own_type() {
    let model = llama();
    let files = checkpoint(
        arrays(&model)
            .iter()
            .map(|(path, shape, _)| tensor(path, FileDtype::Bf16, shape))
            .collect(),
    );
    let stored = stored(&model, &files, None);
    // config.json says float16; the tensors go before it.
    assert_eq!(
        (stored.scheme.quant, stored.scheme.dtype),
        (Quant::Plain(Dtype::Bf16), Dtype::Bf16)
    );
    assert!(
        stored.scheme.overrides.is_none()
            && stored.missing.is_empty()
            && stored.left_out.is_empty()
    );
    assert_eq!(
        weights::total_bytes(&model, &stored.scheme).unwrap(),
        files.total_bytes
    );
}

#[test]
fn packed_weights_give_the_rule_and_its_exceptions() {
    let model = llama();
    let mut tensors = Vec::new();
    for (path, shape, role) in arrays(&model) {
        match (role, path.as_str()) {
            (_, "lm_head.weight") => tensors.extend(packed(&path, &shape, 8, 32, FileDtype::Bf16)),
            (_, "model.layers.1.mlp.up_proj.weight") => {
                tensors.push(tensor(&path, FileDtype::Bf16, &shape));
            }
            (_, "model.norm.weight") => tensors.push(tensor(&path, FileDtype::F32, &shape)),
            (Role::Plain, _) => tensors.push(tensor(&path, FileDtype::Bf16, &shape)),
            _ => tensors.extend(packed(&path, &shape, 4, 64, FileDtype::Bf16)),
        }
    }
    let files = checkpoint(tensors);
    let stored = stored(&model, &files, None);
    assert_eq!(
        (stored.scheme.quant, stored.scheme.dtype),
        (Quant::Packed(Packing::affine(4, 64)), Dtype::Bf16)
    );
    let overrides: Vec<_> = stored.scheme.overrides.as_deref().unwrap().iter().collect();
    assert_eq!(
        overrides,
        [
            (
                &"lm_head".to_owned(),
                &Override::Packed(Packing::affine(8, 32))
            ),
            (
                &"model.layers.1.mlp.up_proj".to_owned(),
                &Override::Plain(Dtype::Bf16)
            ),
            (
                &"model.norm.weight".to_owned(),
                &Override::Plain(Dtype::F32)
            ),
        ]
    );
    assert_eq!(
        weights::total_bytes(&model, &stored.scheme).unwrap(),
        files.total_bytes
    );
    let lines = weights::ledger(&model, &stored.scheme).unwrap();
    assert_eq!(
        lines.iter().map(|line| line.bytes).sum::<u64>(),
        files.total_bytes
    );
}

#[test]
fn every_packing_is_told_by_its_shapes() {
    let model = llama();
    for (bits, group_size, scales, name) in [
        (2, 32, FileDtype::F16, "int2:g32"),
        (3, 128, FileDtype::F16, "int3:g128"),
        (5, 64, FileDtype::F16, "int5:g64"),
        (6, 64, FileDtype::F32, "int6:g64"),
        (4, 32, FileDtype::U8, "mxfp4"),
        (4, 16, FileDtype::U8, "nvfp4"),
        (8, 32, FileDtype::U8, "mxfp8"),
    ] {
        let plain = if scales == FileDtype::U8 {
            FileDtype::F16
        } else {
            scales
        };
        let tensors = arrays(&model)
            .into_iter()
            .flat_map(|(path, shape, role)| match role {
                Role::Plain => vec![tensor(&path, plain, &shape)],
                _ => packed(&path, &shape, bits, group_size, scales),
            });
        let files = checkpoint(tensors.collect());
        let stored = stored(&model, &files, None);
        assert_eq!(stored.scheme.quant.to_string(), name);
        assert_eq!(stored.missing, Vec::<String>::new(), "{name}");
        assert_eq!(
            weights::total_bytes(&model, &stored.scheme).unwrap(),
            files.total_bytes,
            "{name}"
        );
    }
}

#[test]
fn experts_one_by_one_are_stacked() {
    for (stacked, single) in [
        (
            "mlp.switch_mlp.gate_proj.weight",
            "mlp.experts.{}.gate_proj.weight",
        ),
        (
            "block_sparse_moe.switch_mlp.up_proj.weight",
            "block_sparse_moe.experts.{}.w3.weight",
        ),
    ] {
        let mut model = llama();
        model.tensors = vec![Tensor {
            path: stacked.into(),
            shape: Shape::new(&[4, 64, 128]),
            reads: Reads::Experts { chosen: 2, of: 4 },
            ..model
                .tensors
                .iter()
                .find(|tensor| tensor.group.is_some() && tensor.role == Role::Linear)
                .unwrap()
                .clone()
        }];
        let name = |layer, expert: u64| {
            format!(
                "model.layers.{layer}.{}",
                single.replace("{}", &expert.to_string())
            )
        };
        let one = |layer, expert| packed(&name(layer, expert), &[64, 128], 4, 64, FileDtype::Bf16);
        let files = checkpoint(
            (0..3)
                .flat_map(|layer| (0..4).flat_map(move |expert| one(layer, expert)))
                .collect(),
        );
        let whole = stored(&model, &files, None);
        assert!(
            whole.missing.is_empty() && whole.left_out.is_empty(),
            "{whole:?}"
        );
        assert_eq!(
            weights::total_bytes(&model, &whole.scheme).unwrap(),
            files.total_bytes
        );
        let mut tensors = files.tensors;
        tensors.retain(|tensor| tensor.name != name(1, 3));
        assert_eq!(
            stored(&model, &checkpoint(tensors), None).missing,
            [format!("model.layers.1.{stacked}")]
        );
    }
}

#[test]
fn differences_are_told() {
    let model = llama();
    let mut tensors: Vec<StoredTensor> = arrays(&model)
        .iter()
        .map(|(path, shape, _)| tensor(path, FileDtype::Bf16, shape))
        .collect();
    tensors.retain(|tensor| tensor.name != "model.layers.2.self_attn.q_proj.weight");
    for stored in &mut tensors {
        match stored.name.as_str() {
            "model.embed_tokens.weight" => {
                *stored = tensor("model.embed_tokens.weight", FileDtype::Bf16, &[101, 128]);
            }
            "lm_head.weight" => *stored = tensor("lm_head.weight", FileDtype::F8E4M3, &[100, 128]),
            _ => {}
        }
    }
    tensors.push(tensor("model.mtp.weight", FileDtype::Bf16, &[7]));
    let stored = stored(&model, &checkpoint(tensors), None);
    assert_eq!(
        stored.missing,
        ["model.layers.2.self_attn.q_proj.weight", "lm_head.weight"]
    );
    assert_eq!(
        stored.reshaped,
        [(
            "model.embed_tokens.weight".to_owned(),
            vec![101, 128],
            vec![100, 128]
        )]
    );
    assert_eq!(
        (stored.left_out, stored.left_out_bytes),
        (vec!["model.mtp.weight".to_owned()], 14)
    );
    assert_eq!(stored.widened.into_iter().collect::<Vec<_>>(), ["F8_E4M3"]);
}

#[test]
fn no_packing_is_read_into_shapes_that_fit_none() {
    let model = llama();
    let hostile = |weight: &[u64], scales: &[u64]| {
        let files = checkpoint(vec![
            tensor("lm_head.weight", FileDtype::U32, weight),
            tensor("lm_head.scales", FileDtype::Bf16, scales),
        ]);
        stored(&model, &files, None)
            .missing
            .contains(&"lm_head.weight".to_owned())
    };
    for (weight, scales) in [
        (&[100, 0][..], &[100, 2][..]),
        (&[100, 16], &[100, 0]),
        (&[100, 16], &[]),
        (&[], &[100, 2]),
        (&[100, 1_000_000], &[100, 2]),
        (&[1 << 63, 1 << 63, 0], &[0, 1 << 63, 1 << 63]),
    ] {
        assert!(hostile(weight, scales), "{weight:?} {scales:?}");
    }
}

#[test]
fn a_head_of_its_own_is_the_files_to_decide() {
    let config = json!({
        "model_type": "gemma3_text", "hidden_size": 128, "num_hidden_layers": 6, "intermediate_size": 256,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 100, "sliding_window": 16,
    });
    let mut model = families::build(&config).unwrap();
    let tied = model.parameters();
    take_head(&mut model, &Checkpoint::default());
    assert_eq!(model.parameters(), tied);
    take_head(
        &mut model,
        &checkpoint(vec![tensor("lm_head.weight", FileDtype::Bf16, &[100, 128])]),
    );
    assert_eq!(model.parameters(), tied + 12_800);
    let mut model = llama();
    let before = model.parameters();
    take_head(
        &mut model,
        &checkpoint(vec![tensor("lm_head.weight", FileDtype::Bf16, &[100, 128])]),
    );
    assert_eq!(model.parameters(), before);
}

#[test]
fn weights_of_auto_awq_are_packed_as_mlx_lm_packs_them() {
    let model = llama();
    let mut tensors = Vec::new();
    for (path, shape, role) in arrays(&model) {
        let module = path.strip_suffix(".weight").unwrap();
        if role == Role::Linear && module != "lm_head" {
            let (rows, columns) = (shape[0], shape[1]);
            tensors.push(tensor(
                &format!("{module}.qweight"),
                FileDtype::I32,
                &[columns, rows / 8],
            ));
            tensors.push(tensor(
                &format!("{module}.scales"),
                FileDtype::F16,
                &[columns / 128, rows],
            ));
            tensors.push(tensor(
                &format!("{module}.qzeros"),
                FileDtype::I32,
                &[columns / 128, rows / 8],
            ));
        } else {
            tensors.push(tensor(&path, FileDtype::F16, &shape));
        }
    }
    let stored = stored(&model, &checkpoint(tensors), None);
    assert_eq!(stored.scheme.quant.to_string(), "int4:g128");
    assert!(
        stored.missing.is_empty() && stored.left_out.is_empty(),
        "{stored:?}"
    );
    let lines = weights::ledger(&model, &stored.scheme).unwrap();
    let form = |part: &str| {
        lines
            .iter()
            .find(|line| line.path.contains(part))
            .map(|line| line.stored.to_string())
    };
    assert_eq!(form("q_proj").as_deref(), Some("int4:g128"));
    assert_eq!(form("lm_head").as_deref(), Some("fp16"));
    assert_eq!(form("embed_tokens").as_deref(), Some("fp16"));
}

#[test]
fn what_is_under_other_names_is_as_the_config_declares() {
    use crate::source::{catalog, quantization};
    let description = catalog::find("gpt-oss-120b")
        .unwrap()
        .description()
        .unwrap();
    let model = families::build(&description).unwrap();
    let declared = quantization::declared(&model, &description)
        .unwrap()
        .unwrap();
    // The published files hold the experts fused and packed under names of their own.
    let found = arrays(&model)
        .into_iter()
        .filter(|(path, ..)| !path.contains(".experts."));
    let files = checkpoint(
        found
            .map(|(path, shape, _)| tensor(&path, FileDtype::Bf16, &shape))
            .collect(),
    );
    let stored = stored(&model, &files, Some(&declared));
    assert_eq!(stored.scheme.quant.to_string(), "mxfp4");
    assert_eq!(stored.missing.len(), 36 * 6);
    assert_eq!(
        weights::total_bytes(&model, &stored.scheme).unwrap(),
        65_248_815_744
    );
}

#[test]
fn the_text_model_is_found_where_transformers_puts_it() {
    let mut model = llama();
    for group in &mut model.groups {
        group.prefix = "language_model.model.layers".into();
    }
    for tensor in model
        .tensors
        .iter_mut()
        .filter(|tensor| tensor.group.is_none())
    {
        tensor.path = format!("language_model.{}", tensor.path).into();
    }
    for place in ["", "model.language_model.", "language_model."] {
        let files = arrays(&model).into_iter().map(|(path, shape, _)| {
            let inner = path.strip_prefix("language_model.").unwrap();
            let name = match inner.strip_prefix("model.").filter(|_| !place.is_empty()) {
                Some(module) => format!("{place}{module}"),
                None => inner.to_owned(),
            };
            tensor(&name, FileDtype::F32, &shape)
        });
        let stored = stored(&model, &checkpoint(files.collect()), None);
        assert_eq!(stored.missing, Vec::<String>::new(), "{place}");
        assert_eq!(stored.scheme.dtype, Dtype::F32);
    }
}
