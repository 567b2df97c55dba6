//! `shvplan man`: manual pages, made from the command line itself.

use std::path::Path;

use clap::Command;

use super::{Ending, Failure, out};

/// Prints the program's own page, or writes that and one for each command into a folder.
pub(super) fn run(command: Command, folder: Option<&Path>) -> Result<Ending, Failure> {
    // `help` says what the pages say.
    let command = command.disable_help_subcommand(true);
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|e| Failure::about("standard output", e))?;
        return out::print(&String::from_utf8_lossy(&page)).map(|()| Ending::Fits);
    };
    let failed = |e| Failure::about(folder.display(), e);
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)?;
    Ok(Ending::Fits)
}
