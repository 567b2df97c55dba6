//! `docs/metrics.md`, written from the table.

use std::fmt::Write;

use super::table::{Kind, Platform, SECTIONS};

/// The page.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Written by `shvd metrics-doc` from `src/metrics/table.rs`; a test compares the two.\n\n\
         Units are base units, counters end in `_total`. A series that the platform, its release or the latest reading \
         does not tell is absent: never zero, never the value before. The names after a colon in the help are the \
         kernel's own, macOS first.\n",
    );
    for (title, rows) in SECTIONS {
        let _ = write!(
            page,
            "\n## {title}\n\n| name | kind | on | labels | |\n|---|---|---|---|---|\n"
        );
        for row in *rows {
            let kind = match row.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let platform = match row.platform {
                Platform::Both => "both",
                Platform::Mac => "macOS",
                Platform::Linux => "Linux",
            };
            let labels = row
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let _ = writeln!(
                page,
                "| `{}` | {kind} | {platform} | {labels} | {} |",
                row.name, row.help
            );
        }
    }
    page
}
