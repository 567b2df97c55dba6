//! No header, however hostile, makes a reader take more than four times its length in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

#[path = "support/gguf_file.rs"]
mod gguf_file;

use std::hint::black_box;

use gguf_file::{GgufFile, string};
use peak_alloc::PeakAlloc;
use shvplan::source::json::Limits;
use shvplan::source::{gguf, index, json, safetensors};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Error messages, and what of a reader does not depend on its input.
const FIXED_BYTES: usize = 16 << 10;
/// A config is built into a tree, whose smallest parts take some 600 bytes however short the text.
const CONFIG_FIXED_BYTES: usize = 4 << 20;

/// What `read` takes at its most, beyond what is taken when it starts.
fn peak_bytes<T>(read: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = black_box(read());
    let peak = ALLOCATOR.peak_usage();
    drop(result);
    peak.saturating_sub(before)
}

fn check(name: &str, input_bytes: usize, fixed_bytes: usize, peak: usize) {
    assert!(
        peak <= 4 * input_bytes + fixed_bytes,
        "{name}: {peak} bytes for {input_bytes} of input, {:.2} times",
        peak as f64 / input_bytes as f64
    );
}

fn safetensors_entries(entry: impl Fn(usize) -> String, count: usize) -> String {
    let entries: Vec<String> = (0..count).map(entry).collect();
    format!("{{{}}}", entries.join(","))
}

fn headers() -> Vec<(&'static str, String)> {
    let empty = |shape: &str| {
        let shape = shape.to_owned();
        move |at: usize| {
            format!(r#""{at:x}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}}"#)
        }
    };
    let cut = |text: String| text[..text.len() - 1].to_owned();
    let escaped = format!("\\n{}", "x\\n".repeat(300_000));
    vec![
        (
            "many empty tensors",
            safetensors_entries(empty("0"), 20_000),
        ),
        (
            "many dimensions",
            safetensors_entries(empty(&format!("{}0", "1,".repeat(31))), 20_000),
        ),
        (
            "one long name",
            format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20)),
        ),
        ("one long escaped name", format!(r#"{{"{escaped}":1}}"#)),
        (
            "one long escaped dtype",
            format!(r#"{{"a":{{"dtype":"{escaped}"}}}}"#),
        ),
        (
            "claims of many tensors",
            format!("{{{}", r#""dtype""#.repeat(200_000)),
        ),
        (
            "a long name, then such claims",
            format!(r#"{{"{escaped}":{{{}"#, r#""dtype""#.repeat(100_000)),
        ),
        (
            "much metadata",
            format!(r#"{{"__metadata__":{{{}}}}}"#, r#""":"","#.repeat(200_000)),
        ),
        (
            "a long list",
            format!(r#"{{"a":{{"shape":[{}"#, "1,".repeat(1 << 20)),
        ),
        ("deep lists", format!(r#"{{"a":{}"#, "[".repeat(1 << 20))),
        (
            "the end missing",
            cut(safetensors_entries(empty("0"), 20_000)),
        ),
    ]
}

/// Strings that an error would like to repeat, in every place of `template` that is marked `@`.
fn text_everywhere(templates: &[&'static str]) -> Vec<(&'static str, String)> {
    let texts = [
        "\u{7f}".repeat(1 << 20),
        "\\u001f".repeat(200_000),
        "x".repeat(1 << 20),
    ];
    let mut inputs = Vec::new();
    for template in templates {
        for text in &texts {
            inputs.push((*template, template.replace('@', text)));
        }
    }
    inputs
}

fn indexes() -> Vec<(&'static str, String)> {
    let places = |place: &dyn Fn(usize) -> String| {
        let places: Vec<String> = (0..40_000).map(place).collect();
        format!(r#"{{"weight_map":{{{}}}}}"#, places.join(","))
    };
    let escaped = "x\\n".repeat(300_000);
    vec![
        (
            "one shard",
            places(&|at| format!(r#""{at:x}":"a.safetensors""#)),
        ),
        (
            "as many shards as tensors",
            places(&|at| format!(r#""{at:x}":"{at:x}.safetensors""#)),
        ),
        (
            "escaped names",
            places(&|at| format!(r#""{at:x}\n":"{at:x}\n.safetensors""#)),
        ),
        (
            "one long name",
            format!(r#"{{"weight_map":{{"{escaped}":"{escaped}.safetensors"}}}}"#),
        ),
        (
            "claims of many shards",
            format!(r#"{{"weight_map":{{{}"#, r#".safetensors""#.repeat(100_000)),
        ),
        (
            "a list as the size",
            format!(
                r#"{{"metadata":{{"total_size":[{}0]}}}}"#,
                "0,".repeat(1 << 20)
            ),
        ),
        (
            "a tree beside",
            format!(r#"{{"x":[{}0]}}"#, r#"{"a":[]},"#.repeat(100_000)),
        ),
    ]
}

fn gguf_files() -> Vec<(&'static str, Vec<u8>)> {
    let many = |file: GgufFile, count: usize, add: fn(GgufFile, usize) -> GgufFile| {
        (0..count).fold(file, add).bytes()
    };
    let nested = [&4_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat();
    vec![
        (
            "many tensors",
            many(GgufFile::llama(), 20_000, |file, at| {
                file.tensor_at(&format!("{at:x}"), &[], 24, 0)
            }),
        ),
        (
            "many empty tensors",
            many(GgufFile::llama(), 20_000, |file, at| {
                file.tensor_at(&format!("{at:x}"), &[0], 24, 0)
            }),
        ),
        (
            "many keys",
            many(GgufFile::llama(), 20_000, |file, at| {
                file.key(&format!("{at:x}"), 0, &[0])
            }),
        ),
        (
            "a long name",
            GgufFile::llama()
                .text("general.name", &"x".repeat(1 << 20))
                .bytes(),
        ),
        (
            "a long architecture",
            GgufFile::bare()
                .text("general.architecture", &"x".repeat(1 << 20))
                .bytes(),
        ),
        (
            "a long list by layer",
            GgufFile::llama()
                .array("llama.feed_forward_length", 0, 1 << 20, &vec![1; 1 << 20])
                .bytes(),
        ),
        (
            "many strings",
            GgufFile::llama()
                .array(
                    "tokenizer.ggml.tokens",
                    8,
                    100_000,
                    &string("").repeat(100_000),
                )
                .bytes(),
        ),
        (
            "many arrays",
            GgufFile::llama()
                .array("k", 9, 100_000, &nested.repeat(100_000))
                .bytes(),
        ),
    ]
}

fn configs() -> Vec<(&'static str, String)> {
    vec![
        ("zeros", format!("[{}0]", "0,".repeat(1 << 20))),
        ("empty lists", format!("[{}0]", "[],".repeat(1 << 20))),
        (
            "objects of one key",
            format!("[{}0]", r#"{"":0},"#.repeat(1 << 20)),
        ),
        ("many keys", {
            let keys: Vec<String> = (0..200_000).map(|at| format!(r#""{at:x}":0"#)).collect();
            format!("{{{}}}", keys.join(","))
        }),
        ("deep lists", "[".repeat(1 << 20)),
        (
            "one long escaped string",
            format!(r#"["{}"]"#, "x\\n".repeat(1 << 20)),
        ),
        ("NaNs", format!("[{}NaN]", "NaN,".repeat(1 << 20))),
    ]
}

/// One test: the allocator counts what all threads take.
#[test]
fn memory_is_bounded_by_the_header() {
    let headers_of_text = text_everywhere(&[
        r#""@""#,
        r#"{"a":"@"}"#,
        r#"{"@":"a"}"#,
        r#"{"a":{"@":1}}"#,
        r#"{"a":{"dtype":"@","shape":[],"data_offsets":[0,0]}}"#,
        r#"{"a":{"shape":"@"}}"#,
        r#"{"a":{"shape":["@"]}}"#,
        r#"{"a":{"data_offsets":["@"]}}"#,
        r#"{"__metadata__":"@"}"#,
        r#"{"__metadata__":{"@":1}}"#,
        r#"{"__metadata__":{"@":"@"}}"#,
    ]);
    for (name, header) in headers().into_iter().chain(headers_of_text) {
        let file_bytes = 8 + header.len() as u64;
        let peak = peak_bytes(|| safetensors::read(header.as_bytes(), file_bytes));
        check(name, header.len(), FIXED_BYTES, peak);
    }
    let indexes_of_text = text_everywhere(&[
        r#""@""#,
        r#"{"@":1}"#,
        r#"{"weight_map":"@"}"#,
        r#"{"weight_map":{"@":1}}"#,
        r#"{"weight_map":{"a":"@"}}"#,
        r#"{"metadata":"@"}"#,
        r#"{"metadata":{"total_size":"@"}}"#,
    ]);
    for (name, text) in indexes().into_iter().chain(indexes_of_text) {
        let peak = peak_bytes(|| index::read(text.as_bytes()).map(|index| index.shards().len()));
        check(name, text.len(), FIXED_BYTES, peak);
    }
    for (name, bytes) in gguf_files() {
        let peak = peak_bytes(|| gguf::read(&bytes, bytes.len() as u64));
        check(name, bytes.len(), FIXED_BYTES, peak);
        // The counts alone, in front of a file that is said to be long enough.
        let peak = peak_bytes(|| gguf::read(&bytes[..24], 1 << 50));
        check(name, 24, FIXED_BYTES, peak);
    }
    for (name, text) in configs() {
        let peak = peak_bytes(|| json::parse(text.as_bytes(), Limits::CONFIG));
        check(name, text.len(), CONFIG_FIXED_BYTES, peak);
    }
    // The bound is what is checked: a list of half a million zeros without it would take 32 MB.
    let zeros = format!("[{}0]", "0,".repeat(1 << 19));
    let unbounded = peak_bytes(|| serde_json::from_str::<serde_json::Value>(&zeros).unwrap());
    assert!(unbounded > 4 * zeros.len() + CONFIG_FIXED_BYTES);
}
