//! Commands beside the daemon itself: arguments as typed, turned into engine calls, and what is printed.

pub mod bench;
mod bench_table;
mod machine_limits;
pub mod manual;
pub mod pressure;
pub mod profile;
mod progress;
mod signals;
