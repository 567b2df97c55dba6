//! Planner.

pub mod source;
