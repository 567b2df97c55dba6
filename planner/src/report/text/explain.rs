//! What `--explain` adds: memory over time, every array, every kind of cache, and what the answer rests on.

use std::fmt::Write as _;

use super::wrapped;
use crate::cache;
use crate::plan::PlanError;
use crate::report::json::phase_name;
use crate::report::{Report, basis};
use crate::units::grouped;
use crate::weights;

/// Columns that sentences are wrapped to.
const COLUMNS: usize = 76;

pub(super) fn write(out: &mut String, report: &Report<'_>) -> Result<(), PlanError> {
    let request = report.request;
    heading(out, "memory over time");
    let steps = request.timeline(report.plan.footprint.weights_bytes);
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| vec![phase_name(step.phase), grouped(step.bytes)])
        .collect();
    columns(out, &rows, &[Side::Left, Side::Right]);

    heading(out, "weights, array by array (* stands for the layers)");
    let lines = weights::ledger(request.model, request.scheme)?;
    let mut rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let shape: Vec<String> = line.shape.iter().map(u64::to_string).collect();
            vec![
                line.path.clone(),
                format!("{} ×", line.count),
                shape.join("×"),
                line.stored.to_string(),
                grouped(line.bytes),
            ]
        })
        .collect();
    let total: u64 = lines.iter().map(|l| l.bytes).sum();
    rows.push(last_row(5, total));
    columns(
        out,
        &rows,
        &[Side::Left, Side::Right, Side::Left, Side::Left, Side::Right],
    );

    let lines = cache::ledger(request.model, &request.workload, request.scheme.dtype);
    heading(out, "caches, once the whole context is in");
    let mut rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let room = match line.room_tokens {
                0 => "does not grow".to_owned(),
                tokens => format!("room for {}", grouped(tokens)),
            };
            vec![
                line.class.to_owned(),
                format!("{} ×", line.count),
                line.keeps.clone(),
                room,
                line.stored_as.clone(),
                grouped(line.bytes),
            ]
        })
        .collect();
    let total: u64 = lines.iter().map(|l| l.bytes).sum();
    rows.push(last_row(6, total));
    columns(
        out,
        &rows,
        &[
            Side::Left,
            Side::Right,
            Side::Left,
            Side::Left,
            Side::Left,
            Side::Right,
        ],
    );

    heading(out, "what this rests on");
    for basis in basis::of(report) {
        let text = format!("{} [{}]", basis.statement, basis.source);
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let lines = wrapped(&words, " ", COLUMNS).replace('\n', "\n    ");
        let _ = writeln!(out, "  - {lines}");
    }
    Ok(())
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n  {text}\n");
}

fn last_row(cells: usize, total: u64) -> Vec<String> {
    let mut row = vec![String::new(); cells];
    "total".clone_into(&mut row[0]);
    row[cells - 1] = grouped(total);
    row
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Rows with every column as wide as its widest cell.
fn columns(out: &mut String, rows: &[Vec<String>], sides: &[Side]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    for row in rows {
        out.push(' ');
        for ((cell, side), width) in row.iter().zip(sides).zip(&widths) {
            let _ = match side {
                Side::Left => write!(out, " {cell:<width$} "),
                Side::Right => write!(out, " {cell:>width$} "),
            };
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
}
