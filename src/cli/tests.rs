//! Manual, completions and documents against the command line itself.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../../planner/tests/support/command_line.rs"]
mod command_line;

use clap::{CommandFactory as _, Parser as _};

use super::Arguments;

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn command_lines_in_documents_are_read() {
    let quoted = command_line::commands("shvd");
    assert!(quoted.len() > 10, "only {} were found", quoted.len());
    let complaints: Vec<String> = quoted
        .iter()
        .filter_map(|q| command_line::complaint(q, Arguments::try_parse_from(&q.words).map(drop)))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_manual_and_the_completions_have_every_flag_and_command() {
    let folder = tempfile::tempdir().unwrap();
    let _ = super::manual::pages(Arguments::command(), Some(folder.path()));
    let lacking = command_line::undocumented(&Arguments::command(), folder.path());
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}
