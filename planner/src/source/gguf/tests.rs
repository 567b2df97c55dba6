#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use proptest::prelude::*;

use super::{Gguf, GgufError, PerLayer, Progress, Split, read};

#[path = "../../../tests/support/gguf_file.rs"]
mod build;
use build::{GgufFile, string};

const F32: u32 = 0;
const Q4_0: u32 = 2;
const Q4_K: u32 = 12;

fn done(bytes: &[u8], file_bytes: u64) -> Result<Gguf, GgufError> {
    match read(bytes, file_bytes)? {
        Progress::Done(gguf) => Ok(*gguf),
        Progress::Need(bytes) => panic!("{bytes} bytes needed of a file that is at hand"),
    }
}

fn whole(file: &GgufFile) -> Result<Gguf, GgufError> {
    let bytes = file.bytes();
    done(&bytes, bytes.len() as u64)
}

fn refusal(file: &GgufFile) -> String {
    whole(file).unwrap_err().to_string()
}

#[test]
fn a_model_is_described() {
    let tokens = ["<s>", "</s>", "a"].map(string).concat();
    let file = GgufFile::llama()
        .text("general.name", "Tiny")
        .u32("llama.block_count", 2)
        .u32("llama.embedding_length", 64)
        .u32("llama.attention.head_count", 4)
        .array(
            "llama.attention.head_count_kv",
            5,
            2,
            &[2, 0, 0, 0, 0, 0, 0, 0],
        )
        .key("llama.context_length", 10, &4096_u64.to_le_bytes())
        .array("llama.attention.sliding_window_pattern", 7, 2, &[1, 0])
        .array("tokenizer.ggml.tokens", 8, 3, &tokens)
        .tensor("token_embd.weight", &[64, 3], F32, 768)
        .tensor("blk.0.attn_q.weight", &[64, 32], Q4_0, 1152);
    let gguf = whole(&file).unwrap();
    let description = &gguf.description;
    assert_eq!(description.architecture, "llama");
    assert_eq!(description.name.as_deref(), Some("Tiny"));
    assert_eq!(description.block_count, Some(2));
    assert_eq!(description.vocab_size, Some(3));
    assert_eq!(description.context_length, Some(4096));
    assert_eq!(description.head_count, Some(PerLayer::Same(4)));
    assert_eq!(description.head_count_kv, Some(PerLayer::Each(vec![2, 0])));
    assert_eq!(
        description.sliding_window_pattern,
        Some(PerLayer::Each(vec![1, 0]))
    );
    assert_eq!(description.expert_count, None);
    assert_eq!(gguf.split, None);
    let shapes: Vec<_> = gguf
        .tensors
        .iter()
        .map(|tensor| (tensor.shape.clone(), tensor.bytes))
        .collect();
    assert_eq!(shapes, [(vec![3, 64], 768), (vec![32, 64], 1152)]);
    assert_eq!(gguf.tensors[1].dtype.name(), "Q4_0");
}

#[test]
fn every_value_type_is_walked_over() {
    let mut file = GgufFile::llama();
    for (number, size) in [1_usize, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]
        .into_iter()
        .enumerate()
    {
        if size > 0 {
            let number = number as u32;
            file = file
                .key(&format!("one.{number}"), number, &vec![1; size])
                .array(&format!("many.{number}"), number, 3, &vec![1; 3 * size]);
        }
    }
    let inner = [&4_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 4]].concat();
    let file = file
        .array("strings", 8, 2, &[string("a"), string("")].concat())
        .array("arrays", 9, 2, &[inner.clone(), inner].concat())
        .u32("llama.block_count", 7);
    assert_eq!(whole(&file).unwrap().description.block_count, Some(7));
}

#[test]
fn versions_2_and_3_are_read() {
    let mut file = GgufFile::llama();
    file.version = 2;
    assert_eq!(whole(&file).unwrap().version, 2);
    for (version, reason) in [
        (
            1,
            "byte 4: version 1, whose counts have 32 bits; llama.cpp dropped it in 2023: convert the model again to 3",
        ),
        (
            3_u32.swap_bytes(),
            "byte 4: version 0x03000000 is big-endian, for s390x and the like: expected a little-endian file",
        ),
        (0, "byte 4: version 0: expected 2 or 3"),
        (4, "byte 4: version 4: expected 2 or 3"),
    ] {
        file.version = version;
        assert_eq!(refusal(&file), reason);
    }
}

#[test]
fn other_files_are_named() {
    let magic = |bytes: &[u8]| done(bytes, bytes.len() as u64).unwrap_err().to_string();
    assert_eq!(
        magic(b"PK\x03\x04...."),
        "byte 0: starts with `PK\\u{3}\\u{4}`: a GGUF file starts with `GGUF`"
    );
    assert_eq!(
        magic(b"version https://git-lfs.github.com/spec/v1"),
        "byte 0: a Git LFS pointer, not the weights: fetch them with `git lfs pull`"
    );
    assert_eq!(
        magic(b"GG"),
        "byte 0: the file ends within the magic number: 4 bytes expected, 2 left; the download is incomplete"
    );
}

#[test]
fn more_bytes_are_asked_for_until_the_header_is_whole() {
    let file = GgufFile::llama()
        .u32("llama.block_count", 2)
        .tensor("a", &[32], F32, 128);
    let (bytes, header) = (file.bytes(), file.header());
    for given in 0..header.len() {
        match read(&bytes[..given], bytes.len() as u64).unwrap() {
            Progress::Need(needed) => assert!(
                needed > given as u64 && needed <= header.len() as u64,
                "{given}"
            ),
            // The padding holds nothing.
            Progress::Done(_) => assert!(given + 32 > header.len(), "{given}"),
        }
    }
}

#[test]
fn lengths_of_2_to_the_63_are_refused() {
    let huge = 1_u64 << 63;
    for at in [8, 16] {
        let mut bytes = GgufFile::llama().bytes();
        bytes[at..at + 8].copy_from_slice(&huge.to_le_bytes());
        let error = done(&bytes, bytes.len() as u64).unwrap_err();
        assert!(
            matches!(error, GgufError::Count { count, .. } if count == huge),
            "{error}"
        );
    }
    let file = GgufFile::llama().key("k", 8, &huge.to_le_bytes());
    assert!(matches!(whole(&file), Err(GgufError::Truncated { wanted, .. }) if wanted == huge));
    for element_type in [0, 8, 9, 12] {
        let file = GgufFile::llama().array("k", element_type, huge, &[0; 64]);
        assert!(matches!(whole(&file), Err(GgufError::Count { count, .. }) if count == huge));
    }
    assert_eq!(
        refusal(&GgufFile::llama().tensor_at("t", &[huge, 2], F32, 0)),
        "tensor `t`: shape [2, 9223372036854775808] overflows: expected fewer elements than 2^63"
    );
    assert!(matches!(
        whole(&GgufFile::llama().tensor_at("t", &[32], F32, huge)),
        Err(GgufError::OutOfRange { data_offset, .. }) if data_offset == huge
    ));
    assert!(matches!(
        whole(&GgufFile::llama().tensor_at("t", &[32], F32, u64::MAX - 31)),
        Err(GgufError::OutOfRange { .. })
    ));
    whole(&GgufFile::llama().tensor_at("t", &[0, huge, huge], F32, 0)).unwrap();
}

#[test]
fn a_length_that_only_a_sparse_file_could_hold_is_refused() {
    let bytes = GgufFile::llama().array("k", 0, 1 << 40, &[]).bytes();
    assert!(matches!(
        read(&bytes, 1 << 50),
        Err(GgufError::HeaderTooLong { .. })
    ));
}

#[test]
fn truncated_strings_are_refused() {
    let bytes = GgufFile::llama().text("general.name", "a model").header();
    for end in 24..bytes.len() - 32 {
        let error = done(&bytes[..end], end as u64).unwrap_err();
        assert!(
            matches!(error, GgufError::Truncated { .. } | GgufError::Count { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn duplicates_are_refused() {
    assert_eq!(
        refusal(&GgufFile::llama().u32("k", 1).u32("k", 1)),
        "key `k` appears twice: expected each key once"
    );
    assert_eq!(
        refusal(
            &GgufFile::llama()
                .tensor("t", &[32], F32, 128)
                .tensor("t", &[32], F32, 128)
        ),
        "tensor `t` appears twice: expected each name once"
    );
}

#[test]
fn overlapping_and_out_of_range_tensors_are_refused() {
    let mut file = GgufFile::llama()
        .tensor_at("a", &[32], F32, 0)
        .tensor_at("b", &[32], F32, 64);
    file.data_bytes = 192;
    assert_eq!(
        refusal(&file),
        "tensor `b`: begins at data offset 64, inside `a` which ends at 128: expected no overlap"
    );
    let mut file = GgufFile::llama().tensor_at("a", &[32], F32, 32);
    file.data_bytes = 128;
    assert_eq!(
        refusal(&file),
        "tensor `a`: 128 bytes at data offset 32 in 128 bytes of data: expected all of them inside; \
         the download may be incomplete"
    );
    file = GgufFile::llama().tensor_at("a", &[32], F32, 8);
    assert_eq!(
        refusal(&file),
        "tensor `a`: data offset 8: expected a multiple of the alignment 32"
    );
}

#[test]
fn alignment_is_the_files_own() {
    let mut file = GgufFile::llama()
        .u32("general.alignment", 8)
        .tensor_at("a", &[4], F32, 8);
    (file.alignment, file.data_bytes) = (8, 24);
    assert_eq!(whole(&file).unwrap().data_offset % 8, 0);
    for alignment in [0, 3] {
        assert_eq!(
            refusal(&GgufFile::llama().u32("general.alignment", alignment)),
            format!("key `general.alignment`: {alignment}: expected a power of two below 2^32")
        );
    }
}

#[test]
fn tensor_types_are_checked() {
    let of = |number| refusal(&GgufFile::llama().tensor("t", &[256], number, 256));
    assert_eq!(
        of(31),
        "byte 90: tensor `t` has type 31 (Q4_0_4_4), removed from ggml: expected a file converted again"
    );
    assert_eq!(
        of(142),
        "byte 90: tensor `t` has type 142, unknown to ggml: expected 0 (F32) to 42"
    );
    assert_eq!(
        refusal(&GgufFile::llama().tensor("t", &[128, 2], Q4_K, 144)),
        "tensor `t`: rows of 128 elements of Q4_K: expected a multiple of 256"
    );
    assert_eq!(
        refusal(&GgufFile::llama().tensor("t", &[1; 5], F32, 4)),
        "byte 78: tensor `t` has 5 dimensions: expected at most 4"
    );
}

#[test]
fn deep_arrays_are_refused() {
    let level = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let file = GgufFile::llama().key("k", 9, &level.repeat(1000));
    assert!(matches!(
        whole(&file),
        Err(GgufError::TooDeep { depth_max: 8, .. })
    ));
}

#[test]
fn keys_are_checked() {
    assert_eq!(
        refusal(&GgufFile::bare()),
        "key `general.architecture` is missing: expected the architecture's name, such as `llama`"
    );
    assert_eq!(
        refusal(&GgufFile::llama().text("llama.block_count", "two")),
        "key `llama.block_count`: `two`: expected a whole number, 0 or more"
    );
    assert_eq!(
        refusal(&GgufFile::llama().key("llama.block_count", 5, &(-2_i32).to_le_bytes())),
        "key `llama.block_count`: -2: expected a whole number, 0 or more"
    );
    assert_eq!(
        refusal(&GgufFile::llama().array("llama.attention.head_count_kv", 6, 1, &[0; 4])),
        "key `llama.attention.head_count_kv`: an array of 1 float32: expected a whole number, 0 or more, \
         or a list of at most 1024 of them, one a layer"
    );
    assert!(matches!(
        whole(&GgufFile::llama().key("k", 13, &[0; 8])),
        Err(GgufError::ValueType { number: 13, .. })
    ));
    assert!(matches!(
        whole(&GgufFile::llama().u32("", 0)),
        Err(GgufError::EmptyName { .. })
    ));
    let not_text = [&1_u64.to_le_bytes()[..], b"\xff"].concat();
    assert!(matches!(
        whole(&GgufFile::llama().key("k", 8, &not_text)),
        Err(GgufError::NotUtf8 { .. })
    ));
}

#[test]
fn parts_of_a_split_model_say_which_they_are() {
    let part = |number: u16| {
        GgufFile::bare()
            .key("split.no", 2, &number.to_le_bytes())
            .key("split.count", 2, &3_u16.to_le_bytes())
    };
    let gguf = whole(&part(1)).unwrap();
    assert_eq!(
        gguf.split,
        Some(Split {
            number: 1,
            count: 3,
            tensor_count: None
        })
    );
    assert_eq!(gguf.description.architecture, "");
    // The first part describes the model.
    assert!(matches!(whole(&part(0)), Err(GgufError::NoArchitecture)));
    assert_eq!(
        refusal(&part(3)),
        "key `split.no`: 3 of 3: expected a number below `split.count`"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(rest in proptest::collection::vec(any::<u8>(), 0..300), file_bytes in any::<u64>()) {
        let bytes = [b"GGUF\x03\0\0\0", &rest[..]].concat();
        let _ = read(&bytes, file_bytes);
        let _ = read(&bytes, bytes.len() as u64);
    }

    /// A byte changed anywhere is read or refused, and nothing that is read lies outside the file.
    #[test]
    fn a_changed_byte_is_harmless(at in 0_usize..400, byte in any::<u8>()) {
        let file = GgufFile::llama()
            .u32("llama.block_count", 2)
            .array("tokenizer.ggml.tokens", 8, 2, &[string("a"), string("b")].concat())
            .tensor("a", &[64, 2], F32, 512)
            .tensor("b", &[256], Q4_K, 144);
        let mut bytes = file.bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(gguf) = done(&bytes, length as u64) {
            let total: u64 = gguf.tensors.iter().map(|tensor| tensor.bytes).sum();
            prop_assert!(gguf.data_offset + total <= length as u64);
        }
    }
}
