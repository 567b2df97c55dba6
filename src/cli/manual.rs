//! `shvd man` and `shvd completions`: made from the command line itself.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

/// Prints the program's own page, or writes that and one for each command into a folder.
#[must_use]
pub fn pages(command: Command, folder: Option<&Path>) -> ExitCode {
    // `help` says what the pages say.
    let command = command.disable_help_subcommand(true);
    let Some(folder) = folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        return ended("standard output", rendered.and_then(|()| print(&page)));
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    ended(&folder.display().to_string(), written)
}

/// Prints a completion script.
#[must_use]
pub fn completions(mut command: Command, shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    ended("standard output", print(&script))
}

/// A reader that went away (`| head`) is no failure.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn ended(what: &str, result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shvd: {what}: {error}");
            ExitCode::FAILURE
        }
    }
}
