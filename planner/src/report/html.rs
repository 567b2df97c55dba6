//! The report as one HTML file: no script, no outside resource, light and dark, and on paper.

mod chart;
mod page;

pub use page::render;
