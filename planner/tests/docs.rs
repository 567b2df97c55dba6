//! Documents that are generated, so that they cannot drift: `SHV_DOCS=write cargo test -p shvplan --test docs` writes
//! them, and without it the test compares.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod documents {
    pub(crate) mod baseline;
    pub(crate) mod families;
}

use std::path::Path;

/// Compares a document with what it should say, or writes it.
fn settle(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    if std::env::var_os("SHV_DOCS").is_some_and(|v| v == "write") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = stands.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        stands == text,
        "docs/{name} is out of date (first difference: {differs:?}): run SHV_DOCS=write cargo test -p shvplan --test docs"
    );
}

#[test]
fn the_baseline_document_is_up_to_date() {
    settle("baseline.md", &documents::baseline::text());
}

#[test]
fn the_list_of_families_is_up_to_date() {
    settle("families.md", &documents::families::text());
}
