#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{JsonError, Limits, parse};

fn read(text: &str) -> Result<Value, JsonError> {
    parse(text.as_bytes(), Limits::CONFIG)
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn bare_python_numbers_are_null() {
    let text = r#"{"time_step_limit": [0.0, Infinity], "low": -Infinity, "n": NaN, "s": "NaN -Infinity \" Infinity"}"#;
    let expected = json!({"time_step_limit": [0.0, null], "low": null, "n": null, "s": "NaN -Infinity \" Infinity"});
    assert_eq!(read(text).unwrap(), expected);
}

#[test]
fn python_words_do_not_move_later_columns() {
    assert_eq!(
        refusal("{\"a\": NaN, \"b\": -Infinity, \"c\": !}"),
        "line 1 column 33: expected value"
    );
}

#[test]
fn words_that_only_start_like_python_numbers_are_refused() {
    for text in [
        "[NaNa]",
        "[Infinityx]",
        "[-InfinityNaN]",
        "[nan]",
        "[+Infinity]",
        "[1NaN]",
    ] {
        assert!(
            matches!(read(text), Err(JsonError::Syntax { line: 1, .. })),
            "{text}"
        );
    }
}

#[test]
fn duplicate_keys_are_refused_at_any_level() {
    assert_eq!(
        refusal("{\"a\": 1,\n \"b\": {\"k\": 1, \"k\": 2}}"),
        "line 2 column 18: key `k` appears twice in one object: expected each key once"
    );
    // The same key written with an escape is the same key.
    assert!(matches!(
        read(r#"{"k": 1, "\u006b": 2}"#),
        Err(JsonError::DuplicateKey { .. })
    ));
    read(r#"{"a": {"k": 1}, "b": {"k": 1}}"#).unwrap();
}

#[test]
fn depth_is_counted_from_the_outermost() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    read(&nested(64)).unwrap();
    assert_eq!(
        refusal(&nested(65)),
        "line 1 column 66: nested deeper than 64 levels: expected at most 64"
    );
    assert!(matches!(
        read(&"[".repeat(1 << 20)),
        Err(JsonError::TooDeep { .. })
    ));
    assert!(matches!(
        read(&r#"{"a":"#.repeat(1 << 20)),
        Err(JsonError::TooDeep { .. })
    ));
}

#[test]
fn what_is_not_json_is_refused() {
    assert_eq!(refusal(""), "the file is empty: expected a JSON document");
    assert_eq!(
        refusal(" \n\t"),
        "the file is empty: expected a JSON document"
    );
    assert_eq!(
        refusal("\u{feff}{}"),
        "line 1 column 1: starts with a byte order mark: save the file as UTF-8 without one"
    );
    assert_eq!(
        parse(b"{\n\"a\": \"\xff\"}", Limits::CONFIG)
            .unwrap_err()
            .to_string(),
        "line 2 column 7: byte 0xff is not UTF-8: expected JSON in UTF-8"
    );
    assert_eq!(refusal("{} {}"), "line 1 column 4: trailing characters");
    assert_eq!(refusal("{\"a\": 1,}"), "line 1 column 9: trailing comma");
    assert_eq!(
        refusal("{\"a\": \"b"),
        "line 1 column 8: EOF while parsing a string"
    );
    assert_eq!(refusal("[1e999]"), "line 1 column 6: number out of range");
}

#[test]
fn long_documents_are_refused_before_they_are_read() {
    let limits = Limits {
        text_bytes_max: 4,
        ..Limits::CONFIG
    };
    assert_eq!(
        parse(b"[1,2]", limits).unwrap_err().to_string(),
        "5 bytes of JSON: at most 4 bytes are read"
    );
    parse(b"[12]", limits).unwrap();
}

#[test]
fn documents_of_many_tiny_values_are_refused() {
    let text = format!("[{}0]", "0,".repeat(2_000_000));
    assert!(matches!(read(&text), Err(JsonError::TooManyValues { .. })));
    let text = format!("[{}0]", "{\"\":0},".repeat(1_000_000));
    assert!(matches!(read(&text), Err(JsonError::TooManyValues { .. })));
    // A thousand overrides of a module's quantization are ordinary.
    let entries: Vec<String> = (0..1_000)
        .map(|i| format!(r#""model.layers.{i}.mlp.gate": {{"group_size": 64, "bits": 8}}"#))
        .collect();
    read(&format!("{{{}}}", entries.join(", "))).unwrap();
}

#[test]
fn integers_keep_every_digit() {
    assert_eq!(read("18446744073709551615").unwrap(), json!(u64::MAX));
    assert_eq!(read("-9223372036854775808").unwrap(), json!(i64::MIN));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Limits::CONFIG);
    }

    #[test]
    fn json_like_text_never_panics(text in r#"[\[\]{}:,"\\0-9.eE+\-NaIinftyul ]{0,80}"#) {
        let _ = read(&text);
    }

    /// Where serde_json accepts a document without repeated keys, this reads the same value.
    #[test]
    fn agrees_with_serde_json(text in r#"(\[|\{"a": )?(null|true|-?[0-9]{1,20}(\.[0-9]{1,3})?|"[a-z\\]{0,4}")[\]}]?"#) {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(read(&text).unwrap(), value);
        }
    }
}
