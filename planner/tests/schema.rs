//! `shvplan schema`: each document of `--format json` is what its schema says, and has nothing that it does not say.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::process::Command;

use serde_json::{Map, Value};

fn shvplan(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .args(arguments)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {output:?}"))
}

/// What is wrong with `value`, by the part of JSON Schema that schemars writes.
fn wrong(schema: &Value, value: &Value, whole: &Value, at: &str) -> Option<String> {
    if let Some(name) = schema.get("$ref") {
        let pointer = name.as_str().unwrap().strip_prefix('#').unwrap();
        return wrong(whole.pointer(pointer).unwrap(), value, whole, at);
    }
    if let Some(choices) = schema.get("anyOf") {
        let mut told = Vec::new();
        for choice in choices.as_array().unwrap() {
            told.push(wrong(choice, value, whole, at)?);
        }
        return Some(told.join("; or "));
    }
    let types = match schema.get("type") {
        None => return None,
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{at}: a type {other}"),
    };
    if !types.iter().any(|name| is(name.as_str().unwrap())) {
        return Some(format!("{at} is {value}, not of {types:?}"));
    }
    let least = schema.get("minimum").and_then(Value::as_f64);
    if least
        .zip(value.as_f64())
        .is_some_and(|(least, is)| is < least)
    {
        return Some(format!("{at} is {value}, too little"));
    }
    match value {
        Value::Object(fields) => {
            let none = Map::new();
            let known = schema.get("properties").and_then(Value::as_object);
            let known = known.unwrap_or(&none);
            let mut required = schema["required"].as_array().into_iter().flatten();
            let missing = required.find(|name| !fields.contains_key(name.as_str().unwrap()));
            if let Some(name) = missing {
                return Some(format!("{at} lacks {name}"));
            }
            fields.iter().find_map(|(name, field)| {
                let at = format!("{at}/{name}");
                match known.get(name) {
                    Some(schema) => wrong(schema, field, whole, &at),
                    None => Some(format!("{at} is not in the schema")),
                }
            })
        }
        Value::Array(items) => {
            let item = schema.get("items")?;
            let mut each = items.iter().enumerate();
            each.find_map(|(n, one)| wrong(item, one, whole, &format!("{at}/{n}")))
        }
        _ => None,
    }
}

const MODEL: [&str; 4] = ["--model", "qwen3-8b", "--quant", "int4"];

fn document(arguments: &[&str]) -> Value {
    shvplan(&[arguments, &["--format", "json"]].concat())
}

fn documents() -> [(&'static str, Vec<Value>); 4] {
    let with = |more: &[&str]| document(&[&MODEL[..], more].concat());
    let of = |command: &str, more: &[&str]| document(&[&[command], &MODEL[..], more].concat());
    [
        (
            "report",
            vec![with(&[]), with(&["--explain", "--context", "500000"])],
        ),
        ("several", vec![with(&["--with", "llama-3.1-8b@int8"])]),
        (
            "split",
            vec![
                // Qwen3 is no pipeline, so one of the ways is refused; Qwen2.5 can be either.
                of("split", &["--ranks", "2"]),
                document(&["split", "--model", "qwen2.5-7b", "--ranks", "2"]),
            ],
        ),
        ("train", vec![of("train", &[])]),
    ]
}

#[test]
fn documents_are_what_their_schemas_say() {
    for (kind, documents) in documents() {
        let schema = shvplan(&["schema", kind]);
        for document in documents {
            assert_eq!(document["schema"], format!("shvplan.{kind}/v1"));
            assert_eq!(wrong(&schema, &document, &schema, kind), None);
            // The look itself sees what is wrong.
            let mut more = document.clone();
            more["new"] = true.into();
            assert!(
                wrong(&schema, &more, &schema, kind)
                    .unwrap()
                    .contains("/new")
            );
            let mut less = document.clone();
            less.as_object_mut().unwrap().remove("schema");
            assert!(wrong(&schema, &less, &schema, kind).is_some());
        }
    }
}

#[test]
fn the_report_is_the_one_that_is_meant_without_a_name() {
    assert_eq!(shvplan(&["schema"]), shvplan(&["schema", "report"]));
}
