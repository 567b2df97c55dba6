#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use proptest::prelude::*;

use super::{HEADER_BYTES_MAX, Safetensors, SafetensorsError, header_bytes, read};

/// Reads a header in front of `data_bytes` of data.
fn with_data(header: &str, data_bytes: u64) -> Result<Safetensors, SafetensorsError> {
    read(header.as_bytes(), 8 + header.len() as u64 + data_bytes)
}

fn refusal(header: &str, data_bytes: u64) -> String {
    with_data(header, data_bytes).unwrap_err().to_string()
}

fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn object(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

#[test]
fn a_header_is_read() {
    let header = object(&[
        r#""__metadata__":{"format":"mlx","note":"x"}"#.to_owned(),
        entry("w", "BF16", "[2, 3]", 4, 16),
        entry("b", "F32", "[]", 0, 4),
        entry("caf\\u00e9", "U8", "[0]", 16, 16),
    ]);
    let file = with_data(&(header + "   "), 16).unwrap();
    assert_eq!(file.format.as_deref(), Some("mlx"));
    let tensors: Vec<_> = file
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.dtype.name(), t.shape.as_slice(), t.bytes))
        .collect();
    assert_eq!(
        tensors,
        [
            ("w", "BF16", &[2, 3][..], 12),
            ("b", "F32", &[], 4),
            ("café", "U8", &[0], 0)
        ]
    );
}

#[test]
fn every_dtype_of_the_format_is_read() {
    for (dtype, bytes) in [
        ("BOOL", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("U8", 8),
        ("I8", 8),
        ("F8_E5M2", 8),
        ("F8_E4M3", 8),
        ("F8_E8M0", 8),
        ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8),
        ("I16", 16),
        ("U16", 16),
        ("F16", 16),
        ("BF16", 16),
        ("I32", 32),
        ("U32", 32),
        ("F32", 32),
        ("C64", 64),
        ("F64", 64),
        ("I64", 64),
        ("U64", 64),
    ] {
        let file = with_data(&object(&[entry("t", dtype, "[8]", 0, bytes)]), bytes).unwrap();
        assert_eq!(file.tensors[0].bytes, bytes, "{dtype}");
    }
    assert_eq!(
        refusal(&object(&[entry("t", "F7", "[8]", 0, 8)]), 8),
        "tensor `t`: dtype `F7`: expected one of BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, \
         F8_E4M3FNUZ, F8_E5M2FNUZ, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64"
    );
}

#[test]
fn header_lengths_are_checked_against_the_file() {
    let length = |length: u64, file_bytes| header_bytes(&length.to_le_bytes(), file_bytes);
    assert_eq!(length(2, 10), Ok(2));
    assert!(matches!(
        length(3, 10),
        Err(SafetensorsError::HeaderBeyondFile {
            header_bytes: 3,
            file_bytes: 10
        })
    ));
    assert!(matches!(
        length(1 << 63, 1 << 40),
        Err(SafetensorsError::HeaderBeyondFile { .. })
    ));
    assert!(matches!(
        length(u64::MAX, u64::MAX),
        Err(SafetensorsError::HeaderBeyondFile { .. })
    ));
    assert_eq!(length(HEADER_BYTES_MAX, 1 << 40), Ok(100_000_000));
    assert_eq!(
        length(HEADER_BYTES_MAX + 1, 1 << 40)
            .unwrap_err()
            .to_string(),
        "byte 0: a header of 100000001 bytes: the format allows 100000000"
    );
    assert!(matches!(
        header_bytes(&[1, 0, 0], 3),
        Err(SafetensorsError::TooShort { file_bytes: 3 })
    ));
    assert!(matches!(
        header_bytes(&[0; 8], 7),
        Err(SafetensorsError::TooShort { file_bytes: 7 })
    ));
    assert!(matches!(
        header_bytes(b"version https", 130),
        Err(SafetensorsError::LfsPointer)
    ));
}

#[test]
fn a_file_shorter_than_its_header_is_refused() {
    assert!(matches!(
        read(b"{}", 9),
        Err(SafetensorsError::HeaderCut { .. })
    ));
    assert!(matches!(
        read(b"{}", 0),
        Err(SafetensorsError::HeaderCut { .. })
    ));
}

#[test]
fn offsets_are_checked() {
    assert_eq!(
        refusal(
            &object(&[
                entry("a", "U8", "[8]", 0, 8),
                entry("b", "U8", "[8]", 4, 12)
            ]),
            12
        ),
        "tensor `b`: begins at data offset 4, inside `a` which ends at 8: expected no overlap"
    );
    assert_eq!(
        refusal(&object(&[entry("a", "U8", "[16]", 0, 16)]), 8),
        "tensor `a`: data_offsets [0, 16] in 8 bytes of data: expected at most 8; the download may be incomplete"
    );
    assert_eq!(
        refusal(&object(&[entry("a", "U8", "[8]", 8, 0)]), 8),
        "tensor `a`: data_offsets [8, 0]: expected the end at or after the beginning"
    );
    assert_eq!(
        refusal(
            &object(&[
                entry("a", "U8", "[4]", 0, 4),
                entry("b", "U8", "[4]", 8, 12)
            ]),
            12
        ),
        "data bytes 4 to 8 belong to no tensor: the format allows no holes"
    );
    assert_eq!(
        refusal(&object(&[entry("a", "U8", "[4]", 0, 4)]), 6),
        "data bytes 4 to 6 belong to no tensor: the format allows no holes"
    );
    assert_eq!(
        refusal(&object(&[entry("a", "F32", "[4, 2]", 0, 16)]), 16),
        "tensor `a`: 16 bytes at data_offsets for shape [4, 2] of F32: expected 32"
    );
    assert!(matches!(
        with_data(&object(&[entry("a", "U8", "[8]", 0, u64::MAX)]), 8),
        Err(SafetensorsError::OutOfRange { .. })
    ));
}

#[test]
fn dimensions_of_2_to_the_63_are_refused() {
    let huge = 1_u64 << 63;
    assert_eq!(
        refusal(
            &object(&[entry("a", "U8", &format!("[{huge}, 2]"), 0, 0)]),
            0
        ),
        "tensor `a`: 0 bytes at data_offsets for shape [9223372036854775808, 2] of U8: \
         expected a shape whose bytes can be counted"
    );
    let message = refusal(
        &object(&[entry("a", "U8", "[18446744073709551616]", 0, 0)]),
        0,
    );
    assert!(
        message.contains("tensor `a`: invalid type: floating point"),
        "{message}"
    );
    let message = refusal(&object(&[entry("a", "U8", "[-1]", 0, 0)]), 0);
    assert!(
        message
            .contains("tensor `a`: invalid type: integer `-1`, expected a whole number below 2^64"),
        "{message}"
    );
    let message = refusal(
        &object(&[entry("a", "U8", &format!("[{}1]", "1,".repeat(40)), 0, 1)]),
        1,
    );
    assert!(
        message.contains("tensor `a`: shape has more than 32 numbers"),
        "{message}"
    );
}

#[test]
fn duplicate_keys_are_refused() {
    assert_eq!(
        refusal(
            &object(&[
                entry("a", "U8", "[1]", 0, 1),
                entry("\\u0061", "U8", "[1]", 1, 2)
            ]),
            2
        ),
        "tensor `a`: appears twice: expected each name once"
    );
    assert_eq!(
        refusal(
            r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            1
        ),
        "byte 38, tensor `a`: duplicate field `dtype`"
    );
    let message = refusal(r#"{"__metadata__":{"a":"b","a":"b"}}"#, 0);
    assert!(
        message.contains("`__metadata__` has `a` twice"),
        "{message}"
    );
    let message = refusal(r#"{"__metadata__":{},"__metadata__":{}}"#, 0);
    assert!(
        message.contains("`__metadata__` appears twice"),
        "{message}"
    );
}

#[test]
fn metadata_may_be_null_as_mlx_writes_it() {
    let header = object(&[
        r#""__metadata__":null"#.to_owned(),
        entry("w", "BF16", "[2, 3]", 0, 12),
    ]);
    let file = with_data(&header, 12).unwrap();
    assert_eq!((file.format, file.tensors.len()), (None, 1));
    let message = refusal(r#"{"__metadata__":7}"#, 0);
    assert!(message.contains("`__metadata__` as an object"), "{message}");
}

#[test]
fn other_shapes_of_json_are_refused() {
    for (header, expected) in [
        ("", "header: the file is empty: expected a JSON document"),
        (
            "[]",
            "byte 9: invalid type: sequence, expected an object of tensor name to dtype, shape and data_offsets",
        ),
        ("{", "byte 8: EOF while parsing an object"),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_off"#,
            "byte 47, tensor `a`: EOF while parsing a string",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[]}}"#,
            "byte 37, tensor `a`: missing field `data_offsets`",
        ),
        (
            r#"{"a":{"x":1}}"#,
            "byte 16, tensor `a`: unknown field `x`, expected one of `dtype`, `shape`, `data_offsets`",
        ),
        ("{}x", "byte 10: trailing characters"),
    ] {
        assert_eq!(refusal(header, 0), expected);
    }
}

#[test]
fn deep_nesting_is_refused_at_its_first_level() {
    let message = refusal(&format!(r#"{{"a":{}"#, "[".repeat(1 << 20)), 0);
    assert!(message.len() < 300, "{message}");
    let message = refusal(&format!(r#"{{"a":{{"shape":{}"#, "[".repeat(1 << 20)), 0);
    assert!(
        message.contains("tensor `a`: invalid type: sequence, expected a whole number below 2^64"),
        "{message}"
    );
    let message = refusal(
        &format!(r#"{{"__metadata__":{{"a":{}"#, "[".repeat(1 << 20)),
        0,
    );
    assert!(message.contains("invalid type: sequence"), "{message}");
}

#[test]
fn hostile_names_are_quoted_safely() {
    let name = "\\u001b[2J".repeat(1000);
    let message = refusal(&object(&[entry(&name, "?", "[]", 0, 1)]), 1);
    assert!(
        message.len() < 1500 && !message.contains('\u{1b}'),
        "{message}"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), file_bytes in any::<u64>()) {
        let _ = header_bytes(&bytes, file_bytes);
        let _ = read(&bytes, file_bytes);
    }

    #[test]
    fn a_changed_byte_is_harmless(at in 0_usize..300, byte in any::<u8>()) {
        let header = object(&[
            r#""__metadata__":{"format":"pt"}"#.to_owned(),
            entry("a", "F16", "[2, 2]", 0, 8),
            entry("b", "U32", "[3]", 8, 20),
        ]);
        let mut bytes = header.into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(file) = read(&bytes, 8 + length as u64 + 20) {
            prop_assert_eq!(file.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>(), 20);
        }
    }

    /// Tensors laid one after the other are read back as they are, in any order.
    #[test]
    fn what_is_written_is_read(shapes in proptest::collection::vec((0_u64..5, 1_u64..5), 0..20), seed in any::<usize>()) {
        let mut end = 0;
        let mut entries = Vec::new();
        for (index, (rows, columns)) in shapes.iter().enumerate() {
            let begin = end;
            end += rows * columns * 2;
            entries.push(entry(&format!("t{index}"), "F16", &format!("[{rows},{columns}]"), begin, end));
        }
        if !entries.is_empty() {
            let middle = seed % entries.len();
            entries.rotate_left(middle);
        }
        let file = with_data(&object(&entries), end).unwrap();
        prop_assert_eq!(file.tensors.len(), shapes.len());
        prop_assert_eq!(file.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>(), end);
    }
}
