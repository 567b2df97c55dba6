//! Commands beside the daemon itself: arguments as typed, turned into engine calls, and what is printed.

pub mod pressure;
mod progress;
mod signals;
