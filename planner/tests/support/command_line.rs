//! The command lines that the documents quote, for tests that read them with the program's own parser.

use std::path::{Path, PathBuf};

/// A command line and where it stands.
pub(crate) struct Quoted {
    /// File and line.
    pub(crate) place: String,
    /// Its words, the program first.
    pub(crate) words: Vec<String>,
    /// Whether it stands in a sentence, where it may be cut short, rather than in a block to copy.
    pub(crate) in_sentence: bool,
}

/// Every command line of `program` in README.md, docs/ and the other documents.
pub(crate) fn commands(program: &str) -> Vec<Quoted> {
    let root = root();
    let mut files = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "dashboards", "deploy/gate", "fuzz"] {
        let listed = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(listed.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        found.extend(in_document(&text, &name, program));
    }
    found
}

/// The repository, from either package.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if own.join("docs").is_dir() {
        own
    } else {
        own.parent().unwrap()
    };
    root.to_owned()
}

fn in_document(text: &str, name: &str, program: &str) -> Vec<Quoted> {
    let mut found = Vec::new();
    let mut in_block = false;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let place = format!("{name}:{}", number + 1);
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let mut whole = line.trim().trim_start_matches("$ ").to_owned();
            while let Some(open) = whole.strip_suffix('\\') {
                whole = format!("{open} {}", lines.next().map_or("", |(_, l)| l.trim()));
            }
            found.extend(
                in_block_line(&whole, program)
                    .into_iter()
                    .map(|words| Quoted {
                        place: place.clone(),
                        words,
                        in_sentence: false,
                    }),
            );
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(
                spans
                    .filter(|span| span.starts_with(&format!("{program} ")))
                    .map(|span| Quoted {
                        place: place.clone(),
                        words: words(span),
                        in_sentence: true,
                    }),
            );
        }
    }
    found
}

/// The commands of one line: several may be joined, and `cargo run … -p PROGRAM --` is one too. What follows a wide gap
/// is an explanation.
fn in_block_line(line: &str, program: &str) -> Vec<Vec<String>> {
    let line = line.split("   ").next().unwrap_or_default();
    let mut found = Vec::new();
    for part in line.split("&&").flat_map(|part| part.split('|')) {
        let mut words = words(part);
        if words.first().is_some_and(|word| word == "cargo")
            && words.iter().any(|word| word == program)
            && let Some(dashes) = words.iter().position(|word| word == "--")
        {
            words.splice(..=dashes, [program.to_owned()]);
        }
        if words.first().is_some_and(|word| word == program) {
            found.push(words);
        }
    }
    found
}

/// A command's words up to a comment or a redirection; quotes hold words together.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.chars().chain([' ']) {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() => {
                if word.starts_with('#') || word.starts_with('>') || word == "…" {
                    break;
                }
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            Some(_) | None => word.push(c),
        }
    }
    words
}

/// Whether a command line is read without complaint, or, in a sentence, with no other than that it is cut short.
pub(crate) fn complaint(quoted: &Quoted, read: Result<(), clap::Error>) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let error = read.err()?;
    let is_cut_short = match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::ValueValidation => true,
        // A flag that is named without its value.
        ErrorKind::InvalidValue => {
            error.get(ContextKind::InvalidValue) == Some(&ContextValue::String(String::new()))
        }
        _ => false,
    };
    let is_fine = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) || quoted.in_sentence && is_cut_short;
    (!is_fine).then(|| format!("{}: {}: {error}", quoted.place, quoted.words.join(" ")))
}

/// The flags and commands that the manual pages in `folder` or the completion scripts do not have.
pub(crate) fn undocumented(command: &clap::Command, folder: &Path) -> Vec<String> {
    let mut command = command.clone();
    command.build();
    let name = command.get_name().to_owned();
    let mut places = vec![("man".to_owned(), String::new())];
    for shell in [
        clap_complete::Shell::Bash,
        clap_complete::Shell::Zsh,
        clap_complete::Shell::Fish,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
        places.push((shell.to_string(), String::from_utf8(script).unwrap()));
    }
    let mut lacking = Vec::new();
    let subcommands = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help");
    let own = std::iter::once((name.clone(), &command));
    for (page, part) in own.chain(subcommands.map(|c| (format!("{name}-{}", c.get_name()), c))) {
        // In a manual page a hyphen is escaped.
        places[0].1 = std::fs::read_to_string(folder.join(format!("{page}.1")))
            .unwrap_or_default()
            .replace('\\', "");
        let flags = part.get_arguments().filter(|a| !a.is_hide_set());
        let wanted = flags
            .filter_map(clap::Arg::get_long)
            .chain([part.get_name()]);
        for word in wanted {
            for (place, text) in &places {
                if !text.contains(word) {
                    lacking.push(format!("{place}: {page}: {word}"));
                }
            }
        }
    }
    lacking
}
