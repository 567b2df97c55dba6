//! `docs/metrics.md` is generated from the table of metrics: `SHV_DOCS=write cargo test -p shvd --test docs` writes it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the documents, each with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![
        root().join("README.md"),
        root().join("ARCHITECTURE.md"),
        root().join("CONTRIBUTING.md"),
    ];
    for folder in ["docs", "dashboards"] {
        let listed = std::fs::read_dir(root().join(folder)).unwrap();
        paths.extend(listed.map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "md"));
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn links_and_pictures_lead_somewhere() {
    let mut looked_at = 0;
    for (path, text) in documents() {
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', ' ']).next())
            .chain(["src=\"", "srcset=\""].into_iter().flat_map(|marker| {
                text.split(marker)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
            }))
            .filter(|target| !target.contains("://") && !target.starts_with('#'));
        for target in targets {
            looked_at += 1;
            let file = target.split('#').next().unwrap();
            assert!(
                path.parent().unwrap().join(file).exists(),
                "{}: {target}",
                path.display()
            );
        }
    }
    assert!(looked_at > 50, "only {looked_at} links were found");
}

#[test]
fn the_book_has_every_document() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    for (path, _) in documents() {
        let Ok(name) = path.strip_prefix(root().join("docs")) else {
            continue;
        };
        let name = name.display().to_string();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "docs/README.md does not lead to {name}"
        );
    }
}

#[test]
fn metrics_that_documents_name_exist() {
    let known = shvd::metrics::markdown();
    for (path, text) in documents() {
        for span in text.split('`').skip(1).step_by(2) {
            let is_name = span.starts_with("shv_")
                && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            assert!(
                !is_name || known.contains(&format!("`{span}`")),
                "{}: {span}",
                path.display()
            );
        }
    }
}

#[test]
fn the_list_of_metrics_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = shvd::metrics::markdown();
    if std::env::var_os("SHV_DOCS").is_some_and(|v| v == "write") {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == text,
        "docs/metrics.md is out of date: run SHV_DOCS=write cargo test -p shvd --test docs"
    );
}
