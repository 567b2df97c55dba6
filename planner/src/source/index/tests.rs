#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use proptest::prelude::*;

use super::{IndexError, read};

fn refusal(text: &str) -> String {
    read(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn an_index_is_read() {
    let text = r#"{"metadata": {"total_size": 12.0, "x": [1]}, "weight_map": {
        "b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
        "c": "model-00001-of-00002.safetensors"}}"#;
    let index = read(text.as_bytes()).unwrap();
    assert_eq!(index.total_size, Some(12));
    assert_eq!(
        index.shards(),
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors"
        ]
    );
    let tensors: Vec<_> = index.places.iter().map(|place| &*place.tensor).collect();
    assert_eq!(tensors, ["a", "b", "c"]);
}

#[test]
fn total_size_may_be_anything() {
    for size in ["\"12\"", "null", "-1", "1e300", "[[]]", "{}"] {
        let text = format!(
            r#"{{"metadata":{{"total_size":{size}}},"weight_map":{{"a":"b.safetensors"}}}}"#
        );
        assert_eq!(read(text.as_bytes()).unwrap().total_size, None, "{size}");
    }
    read(br#"{"metadata":null,"weight_map":{"a":"b.safetensors"}}"#).unwrap();
}

#[test]
fn shards_outside_the_folder_are_refused() {
    for shard in [
        "../a.safetensors",
        "/etc/a.safetensors",
        "a/b.safetensors",
        "a\\\\b.safetensors",
        "c:a.safetensors",
        "..safetensors",
        ".safetensors",
        "a\\u0000.safetensors",
        "a.bin",
        "",
    ] {
        let text = format!(r#"{{"weight_map":{{"t":"{shard}"}}}}"#);
        assert!(
            matches!(read(text.as_bytes()), Err(IndexError::ShardName { .. })),
            "{shard}"
        );
    }
    assert_eq!(
        refusal(r#"{"weight_map":{"t":"../a.safetensors"}}"#),
        "`weight_map` puts tensor `t` into `../a.safetensors`: expected the name of a .safetensors file in the \
         same folder, without any path"
    );
}

#[test]
fn duplicates_are_refused() {
    assert_eq!(
        refusal(r#"{"weight_map":{"t":"a.safetensors","t":"b.safetensors"}}"#),
        "`weight_map` has tensor `t` twice: expected each once"
    );
    let twice = r#"{"weight_map":{"t":"a.safetensors"},"weight_map":{}}"#;
    assert!(
        refusal(twice).contains("`weight_map` appears twice"),
        "{}",
        refusal(twice)
    );
    let twice = r#"{"metadata":{"total_size":1,"total_size":2},"weight_map":{}}"#;
    assert!(
        refusal(twice).contains("`total_size` appears twice"),
        "{}",
        refusal(twice)
    );
}

#[test]
fn other_shapes_of_json_are_refused() {
    for (text, expected) in [
        ("", "the file is empty: expected a JSON document"),
        (
            "{}",
            "`weight_map` is missing or empty: expected an object of tensor name to shard file name",
        ),
        (
            r#"{"weight_map":{}}"#,
            "`weight_map` is missing or empty: expected an object of tensor name to shard file name",
        ),
        (
            r#"{"weight_map":{"t":1}}"#,
            "byte 19, tensor `t`: invalid type: integer `1`, expected a string",
        ),
        (
            r#"{"weight_map":{"t":"a.safe"#,
            "byte 25, tensor `t`: EOF while parsing a string",
        ),
    ] {
        assert_eq!(refusal(text), expected);
    }
    let deep = format!(r#"{{"weight_map":{{"t":{}"#, "[".repeat(1 << 20));
    assert!(
        refusal(&deep).contains("invalid type: sequence"),
        "{}",
        refusal(&deep)
    );
    let deep = format!(r#"{{"other":{}"#, "[".repeat(1 << 20));
    assert!(
        refusal(&deep).contains("nested deeper than 64 levels"),
        "{}",
        refusal(&deep)
    );
    let deep = format!(r#"{{"metadata":{{"total_size":{}"#, "[".repeat(1 << 20));
    assert!(
        refusal(&deep).contains("nested deeper than 64 levels"),
        "{}",
        refusal(&deep)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_changed_byte_is_harmless(at in 0_usize..200, byte in any::<u8>()) {
        let text = r#"{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
        let mut bytes = text.as_bytes().to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(index) = read(&bytes) {
            prop_assert!(index.shards().iter().all(|shard| !shard.contains('/')));
        }
    }
}
