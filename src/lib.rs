//! The daemon: takes one reading of the machine a second and serves it to Prometheus, to scripts and to its own page.

#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::format_collect,
        clippy::format_push_string,
        clippy::items_after_statements,
        clippy::needless_for_each,
        clippy::needless_pass_by_value,
        clippy::type_complexity,
        reason = "tests compare figures that are exact, and are written to be read"
    )
)]

pub mod cli;
pub mod config;
pub mod engine;
pub mod history;
pub mod http;
pub mod metrics;
pub mod plans;
pub mod profile;
pub mod reservations;
pub mod sampler;
pub mod serve;
