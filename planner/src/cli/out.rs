//! Writing, so that a closed pipe ends a run quietly and a full disk is told.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use super::Failure;
use shvplan::report::text::Colour;

/// Prints to standard output. A reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::about("standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints, or writes to a file where one is named.
pub(crate) fn deliver(text: &str, file: Option<&Path>) -> Result<(), Failure> {
    match file {
        None => print(text),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| Failure::about(path.display(), error))
        }
    }
}

/// Tells what went wrong.
pub(crate) fn complain(why: &str) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "shvplan: {why}");
}

/// Colour, where standard output is a terminal that wants it.
pub(crate) fn colour(to_file: bool) -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    if !to_file && !refused && io::stdout().is_terminal() {
        Colour::On
    } else {
        Colour::Off
    }
}
