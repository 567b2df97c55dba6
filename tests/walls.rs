//! The walls of the house: who may know whom (ARCHITECTURE.md, "Walls"), read from Cargo's metadata and from the
//! source's own paths.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below a folder, with its text up to its unit tests, comments taken out.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in
            std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    visit(&root().join(folder), &mut paths);
    assert!(!paths.is_empty(), "{folder} has no sources");
    paths
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|n| n != "tests.rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            let code: Vec<&str> = code
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"))
                .collect();
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            (name, code.join("\n"))
        })
        .collect()
}

/// The names that follow `prefix` in the code: `crate::` → the modules that are used, groups in braces included.
fn named_after<'t>(code: &'t str, prefix: &str) -> Vec<&'t str> {
    let word = |text: &'t str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("")
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    c if start && (c.is_alphabetic() || c == '_') => {
                        names.push(word(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.push(word(rest));
        }
    }
    names
}

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let normal = list(&package["dependencies"])
                .into_iter()
                .filter(|d| d["kind"].is_null());
            let names = normal
                .map(|d| d["name"].as_str().unwrap_or_default().to_owned())
                .collect();
            (
                package["name"].as_str().unwrap_or_default().to_owned(),
                names,
            )
        })
        .collect()
}

#[test]
fn machine_knows_nobody() {
    let all = dependencies();
    for dependency in &all["shv-machine"] {
        let allowed = [
            "libc",
            "mach2",
            "serde",
            "serde_json",
            "sysinfo",
            "thiserror",
        ];
        assert!(
            allowed.contains(&dependency.as_str()),
            "shv-machine must not depend on {dependency}"
        );
    }
    for dependency in &all["shvplan"] {
        assert_ne!(dependency, "shvd", "the planner must not know the daemon");
    }
}

/// The planner's modules in the order in which they stand on each other: a module may use those of lower rank, and
/// itself.
const PLANNER: &[(&str, u8)] = &[
    ("names", 0),
    ("units", 0),
    ("quant", 1),
    ("model", 2),
    ("budget", 2),
    ("source", 3),
    ("weights", 3),
    ("cache", 3),
    ("working_set", 4),
    ("timeline", 5),
    ("verdict", 6),
    ("speed", 6),
    ("plan", 7),
    ("advice", 8),
    ("placement", 8),
    ("several", 8),
    ("shard", 8),
    ("training", 8),
    ("report", 9),
    ("gate", 10),
];

#[test]
fn the_planner_is_built_upwards() {
    let rank: BTreeMap<&str, u8> = PLANNER.iter().copied().collect();
    let mut seen = 0;
    for (file, code) in sources("planner/src") {
        let inside = file.trim_start_matches("planner/src/");
        let module = inside
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if ["cli", "main", "lib"].contains(&module) {
            continue;
        }
        seen += 1;
        let own = rank
            .get(module)
            .unwrap_or_else(|| panic!("{file}: module '{module}' has no place in the order"));
        for used in named_after(&code, "crate::") {
            let other = rank.get(used).unwrap_or_else(|| {
                panic!("{file}: uses crate::{used}, which has no place in the order")
            });
            assert!(
                used == module || other < own,
                "{file}: '{module}' must not stand on '{used}'"
            );
        }
    }
    assert!(seen > 10, "only {seen} files were looked at");
}

#[test]
fn the_planner_library_has_no_input_or_output() {
    let outside = ["fs", "net", "process", "time", "env", "io", "thread"];
    for (file, code) in sources("planner/src") {
        if file.starts_with("planner/src/cli/") || file == "planner/src/main.rs" {
            continue;
        }
        for used in named_after(&code, "std::") {
            assert!(
                !outside.contains(&used),
                "{file}: the library must not use std::{used}"
            );
        }
        for name in ["shv_machine", "println!", "eprintln!", "print!"] {
            assert!(
                !code.contains(name),
                "{file}: the library must not use {name}"
            );
        }
    }
}

#[test]
fn the_planner_knows_the_machine_only_in_its_command_line() {
    for (file, code) in sources("planner/src") {
        assert!(
            file.starts_with("planner/src/cli/") || !code.contains("shv_machine::"),
            "{file} knows shv_machine"
        );
        assert!(!code.contains("shvd::"), "{file} knows the daemon");
    }
}

/// The engine stands on the machine's samples; nothing of how it is asked or shown.
#[test]
fn the_engine_knows_neither_http_nor_metrics() {
    for (file, code) in sources("src/engine") {
        for used in named_after(&code, "crate::") {
            assert_eq!(
                used, "engine",
                "{file}: the engine must not use crate::{used}"
            );
        }
        for name in ["warp", "hyper", "tokio", "prometheus", "shvplan"] {
            assert!(
                !code.contains(&format!("{name}::")),
                "{file}: the engine must not use {name}"
            );
        }
    }
}

#[test]
fn the_scan_itself_finds_what_it_looks_for() {
    let code = "use crate::{a::B, c::{D, E}, f};\nlet x = crate::g::h();\nuse std::fs;";
    assert_eq!(named_after(code, "crate::"), ["a", "c", "f", "g"]);
    assert_eq!(named_after(code, "std::"), ["fs"]);
}
