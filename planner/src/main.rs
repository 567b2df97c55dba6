//! Planner CLI.
fn main() {}
