//! Model files on disk, as `--model` opens them: whole directories, sets, links, the local cache, and what is refused.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails where it should"
)]

#[path = "support/gguf_file.rs"]
mod gguf_file;
#[path = "../src/cli/open/mod.rs"]
mod open;

use std::fs;
use std::path::Path;

use gguf_file::GgufFile;
use open::{Hub, OpenError, Opened};
use tempfile::TempDir;

/// A safetensors file of tensors of one byte each.
fn safetensors(names: &[&str]) -> Vec<u8> {
    let entries: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{}]}}"#,
                at + 1
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.resize(bytes.len() + names.len(), 0);
    bytes
}

fn index(places: &[(&str, &str)], total_size: u64) -> String {
    let map: Vec<String> = places
        .iter()
        .map(|(tensor, shard)| format!(r#""{tensor}":"{shard}""#))
        .collect();
    format!(
        r#"{{"metadata":{{"total_size":{total_size}}},"weight_map":{{{}}}}}"#,
        map.join(",")
    )
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn opened(path: &Path) -> Opened {
    open::open(path.to_str().unwrap(), &Hub::default()).unwrap()
}

/// The refusal, with the temporary folder's path taken out.
fn refusal(folder: &TempDir, name: &str) -> String {
    let path = if name.is_empty() {
        folder.path().to_owned()
    } else {
        folder.path().join(name)
    };
    let error = open::open(path.to_str().unwrap(), &Hub::default()).unwrap_err();
    error
        .to_string()
        .replace(folder.path().to_str().unwrap(), "DIR")
}

fn names(opened: &Opened) -> Vec<&str> {
    opened
        .weights
        .iter()
        .flat_map(|weights| &weights.tensors)
        .map(|tensor| tensor.name.as_str())
        .collect()
}

const SHARD_1: &str = "model-00001-of-00002.safetensors";
const SHARD_2: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[test]
fn a_directory_with_an_index() {
    let index = index(&[("a", SHARD_1), ("c", SHARD_1), ("b", SHARD_2)], 3);
    let folder = folder(&[
        ("config.json", br#"{"model_type":"llama","x":NaN}"#),
        (INDEX, index.as_bytes()),
        (SHARD_1, &safetensors(&["a", "c"])),
        (SHARD_2, &safetensors(&["b"])),
        ("consolidated.safetensors", b"never opened"),
    ]);
    let whole = opened(folder.path());
    assert_eq!(names(&whole), ["a", "b", "c"]);
    assert_eq!(whole.weights.as_ref().unwrap().total_bytes, 3);
    assert_eq!(whole.config.as_ref().unwrap()["model_type"], "llama");
    assert!(whole.notes.is_empty(), "{:?}", whole.notes);
    assert_eq!(names(&opened(&folder.path().join(INDEX))), ["a", "b", "c"]);
    let one = opened(&folder.path().join(SHARD_2));
    assert_eq!(names(&one), ["a", "b", "c"]);
    assert_eq!(
        one.notes,
        [format!(
            "{SHARD_2} is one of 2 files; all of them are counted"
        )]
    );
    let config = opened(&folder.path().join("config.json"));
    assert!(config.weights.is_none() && config.config.is_some());
}

#[test]
fn headers_alone_are_read() {
    let folder = folder(&[("model.safetensors", &safetensors(&["a"]))]);
    let path = folder.path().join("model.safetensors");
    let header_bytes = fs::metadata(&path).unwrap().len() - 1;
    assert_eq!(opened(folder.path()).bytes_read, header_bytes);
}

#[test]
fn an_index_is_checked_against_its_shards() {
    let places = index(&[("a", SHARD_1), ("b", SHARD_2)], 7);
    let incomplete = folder(&[(INDEX, places.as_bytes()), (SHARD_1, &safetensors(&["a"]))]);
    assert_eq!(
        refusal(&incomplete, ""),
        format!(
            "DIR/{SHARD_2}: missing, but DIR/{INDEX} puts tensors there; the download is incomplete"
        )
    );
    fs::write(incomplete.path().join(SHARD_2), safetensors(&["x"])).unwrap();
    assert_eq!(
        refusal(&incomplete, ""),
        format!("DIR/{SHARD_2}: has no tensor `b`, which DIR/{INDEX} puts there")
    );
    fs::write(incomplete.path().join(SHARD_2), safetensors(&["a", "b"])).unwrap();
    assert_eq!(
        refusal(&incomplete, ""),
        format!("DIR/{INDEX}: tensor `a` is in more than one file: expected each tensor once")
    );
    fs::write(incomplete.path().join(SHARD_2), safetensors(&["b", "x"])).unwrap();
    let notes = opened(incomplete.path()).notes.join("\n");
    assert!(
        notes.contains("1 tensors of the shards are not in"),
        "{notes}"
    );
    assert!(
        notes.contains("says total_size 7; the tensors have 3 bytes"),
        "{notes}"
    );
    let outside = index(&[("a", "../../secret.safetensors")], 1);
    fs::write(incomplete.path().join(INDEX), outside).unwrap();
    assert!(
        refusal(&incomplete, "").contains("without any path"),
        "{}",
        refusal(&incomplete, "")
    );
}

#[test]
fn a_numbered_set_without_an_index_is_complete_or_refused() {
    let set = folder(&[
        (SHARD_1, &safetensors(&["a"])),
        (SHARD_2, &safetensors(&["b"])),
    ]);
    assert_eq!(names(&opened(set.path())), ["a", "b"]);
    fs::remove_file(set.path().join(SHARD_1)).unwrap();
    let expected = format!(
        "DIR/{SHARD_1}: missing, but the names of the others count 2 files; the download is incomplete"
    );
    assert_eq!(refusal(&set, ""), expected);
    assert_eq!(refusal(&set, SHARD_2), expected);
}

#[test]
fn quantization_beside_the_config_is_taken_in() {
    let folder = folder(&[
        ("config.json", br#"{"model_type":"llama"}"#),
        (
            "hf_quant_config.json",
            br#"{"quantization":{"quant_algo":"NVFP4"}}"#,
        ),
    ]);
    let config = opened(folder.path()).config.unwrap();
    assert_eq!(
        config["quantization_config"]["quantization"]["quant_algo"],
        "NVFP4"
    );
}

#[test]
fn other_weights_are_named() {
    let old = folder(&[("weights.npz", b"PK"), ("README.md", b"")]);
    let accepted = "expected a directory with config.json or model*.safetensors, or a config.json, .safetensors, \
                    .safetensors.index.json or .gguf file";
    assert_eq!(
        refusal(&old, "weights.npz"),
        format!("DIR/weights.npz: not read: {accepted}")
    );
    assert_eq!(
        refusal(&old, "README.md"),
        format!("DIR/README.md: not read: {accepted}")
    );
    assert_eq!(
        refusal(&old, ""),
        format!("DIR: holds no model: {accepted}; found weights.npz")
    );
    fs::write(old.path().join("config.json"), "{}").unwrap();
    assert_eq!(
        opened(old.path()).notes,
        ["weights.npz not read: weights are counted from config.json"]
    );
}

#[test]
fn errors_name_the_file() {
    let folder = folder(&[
        ("model.safetensors", b"\x00\x00\x00\x00\x00\x00\x00\x80{}"),
        ("config.json", b"{\"a\": 1, \"a\": 2}"),
        ("empty.safetensors", b""),
        ("a.gguf", b"GGUF\x01\0\0\0"),
    ]);
    assert_eq!(
        refusal(&folder, "model.safetensors"),
        "DIR/model.safetensors: byte 0: a header of 9223372036854775808 bytes in a file of 10: expected at most 2; \
         the download is incomplete or this is not a safetensors file"
    );
    assert_eq!(
        refusal(&folder, "config.json"),
        "DIR/config.json: line 1 column 12: key `a` appears twice in one object: expected each key once"
    );
    assert_eq!(
        refusal(&folder, "empty.safetensors"),
        "DIR/empty.safetensors: 0 bytes long: a safetensors file starts with 8 bytes of header length"
    );
    assert!(refusal(&folder, "a.gguf").starts_with("DIR/a.gguf: byte 4: version 1"));
    assert_eq!(
        refusal(&folder, "none"),
        "DIR/none: not found; looked for DIR/none"
    );
}

#[test]
fn a_config_that_is_too_long_is_not_read() {
    let folder = folder(&[]);
    let path = folder.path().join("config.json");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        refusal(&folder, "config.json"),
        "DIR/config.json: 1099511627776 bytes is too long: at most 16777216 are read"
    );
}

#[cfg(unix)]
#[test]
fn symlink_loops_and_broken_links_are_refused() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[]);
    let at = |name: &str| folder.path().join(name);
    symlink(at("b.safetensors"), at("a.safetensors")).unwrap();
    symlink(at("a.safetensors"), at("b.safetensors")).unwrap();
    assert_eq!(
        refusal(&folder, "a.safetensors"),
        "DIR/a.safetensors: a symbolic link that leads back to itself: expected a link to a file"
    );
    symlink(at("config.json"), at("config.json")).unwrap();
    assert!(matches!(
        open::open(folder.path().to_str().unwrap(), &Hub::default()),
        Err(OpenError::LinkLoop { path }) if path.ends_with("config.json")
    ));
    fs::remove_file(at("config.json")).unwrap();
    symlink("blobs/1234", at("config.json")).unwrap();
    assert_eq!(
        refusal(&folder, ""),
        "DIR/config.json: a link to blobs/1234, which is not there; the download is incomplete"
    );
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_opened() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[]);
    symlink("/dev/zero", folder.path().join("model.safetensors")).unwrap();
    assert!(refusal(&folder, "").starts_with("DIR/model.safetensors: not a regular file"));
    fs::create_dir(folder.path().join("d.gguf")).unwrap();
    symlink("/dev/zero", folder.path().join("z.gguf")).unwrap();
    assert!(refusal(&folder, "z.gguf").starts_with("DIR/z.gguf: not a regular file"));
}

fn part(number: u16, count: u16, tensor: &str) -> Vec<u8> {
    let file = if number == 0 {
        GgufFile::llama()
    } else {
        GgufFile::bare()
    };
    file.key("split.no", 2, &number.to_le_bytes())
        .key("split.count", 2, &count.to_le_bytes())
        .key("split.tensors.count", 5, &i32::from(count).to_le_bytes())
        .tensor(tensor, &[32], 0, 128)
        .bytes()
}

#[test]
fn a_split_gguf_is_read_whole() {
    let (first, second) = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
    let split = folder(&[
        (first, &part(0, 2, "a")),
        (second, &part(1, 2, "b")),
        ("mmproj-F16.gguf", b"never opened"),
    ]);
    for path in [
        split.path().to_owned(),
        split.path().join(first),
        split.path().join(second),
    ] {
        let opened = opened(&path);
        assert_eq!(names(&opened), ["a", "b"]);
        assert_eq!(opened.gguf.unwrap().architecture, "llama");
    }
    fs::write(split.path().join(second), part(0, 2, "b")).unwrap();
    assert_eq!(
        refusal(&split, first),
        format!("DIR/{second}: split.no 0 of split.count 2: its name says part 2 of 2")
    );
    fs::remove_file(split.path().join(first)).unwrap();
    assert_eq!(
        refusal(&split, ""),
        format!(
            "DIR/{first}: missing, but the names of the others count 2 files; the download is incomplete"
        )
    );
    fs::write(split.path().join("alone.gguf"), part(0, 3, "b")).unwrap();
    assert_eq!(
        refusal(&split, "alone.gguf"),
        "DIR/alone.gguf: part 1 of a model split over 3 files: expected its name to end in -00001-of-00003.gguf"
    );
    assert_eq!(
        refusal(&split, ""),
        format!("DIR: holds several models, alone.gguf, {second}: name one of them")
    );
}

#[test]
fn a_gguf_header_longer_than_the_first_read() {
    let tokens = gguf_file::string("token").repeat(200_000);
    let file = GgufFile::llama()
        .u32("llama.block_count", 1)
        .array("tokenizer.ggml.tokens", 8, 200_000, &tokens)
        .tensor("a", &[1 << 22], 0, 1 << 24);
    let folder = folder(&[("m.gguf", &file.bytes())]);
    let opened = opened(folder.path());
    assert_eq!(opened.gguf.unwrap().vocab_size, Some(200_000));
    assert!(
        opened.bytes_read < 2 * file.header().len() as u64,
        "{}",
        opened.bytes_read
    );
}

#[test]
fn org_and_name_are_found_in_the_local_cache() {
    let cache = folder(&[
        ("models--org--name/refs/main", b"abc123"),
        ("models--org--name/snapshots/abc123/config.json", b"{}"),
        ("models--org--name/snapshots/old/config.json", b"{}"),
        ("models--org--one/snapshots/only/config.json", b"{}"),
        ("models--org--gone/refs/main", b"../../../etc"),
        ("models--org--gone/snapshots/x/config.json", b"{}"),
    ]);
    let hub = Hub {
        roots: vec!["/nowhere".into(), cache.path().to_owned()],
    };
    let opened = |model: &str| {
        open::open(model, &hub)
            .map(|opened| opened.path)
            .map_err(|error| error.to_string())
    };
    let snapshots = cache.path().join("models--org--name/snapshots");
    assert_eq!(opened("org/name"), Ok(snapshots.join("abc123")));
    assert_eq!(
        opened(cache.path().join("models--org--name").to_str().unwrap()),
        Ok(snapshots.join("abc123"))
    );
    assert_eq!(
        opened("org/one"),
        Ok(cache.path().join("models--org--one/snapshots/only"))
    );
    let gone = opened("org/gone").unwrap_err();
    assert!(
        gone.contains("names snapshot `../../../etc`, which is not there; snapshots there: x"),
        "{gone}"
    );
    let none = opened("org/none").unwrap_err();
    assert_eq!(
        none,
        format!(
            "org/none: not found; looked for org/none, /nowhere/models--org--none, {}",
            cache.path().join("models--org--none").display()
        )
    );
    assert_eq!(
        opened("../none").unwrap_err(),
        "../none: not found; looked for ../none"
    );
}

#[test]
fn cache_folders_follow_the_environment() {
    let hub = |set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        Hub::from_environment(|name| {
            set.iter()
                .find(|(set, _)| set == name)
                .map(|(_, value)| value.into())
        })
        .roots
    };
    assert_eq!(
        hub(&[("HOME", "/h")]),
        [Path::new("/h/.cache/huggingface/hub")]
    );
    assert_eq!(
        hub(&[
            ("HOME", "/h"),
            ("HF_HOME", "/hf"),
            ("HF_HUB_CACHE", "/c"),
            ("XDG_CACHE_HOME", "")
        ]),
        [
            Path::new("/c"),
            Path::new("/hf/hub"),
            Path::new("/h/.cache/huggingface/hub")
        ]
    );
    assert!(hub(&[]).is_empty());
}
