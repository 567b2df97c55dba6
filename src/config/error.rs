//! What is wrong with a settings file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a settings file was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, where they are known.
    pub at: Option<(usize, usize)>,
    /// The key, the value and what would be accepted.
    pub problem: String,
}

impl ConfigError {
    /// A problem with `key`, whose line is looked up in `text`.
    pub(super) fn of_key(file: &Path, text: &str, key: &str, problem: &str) -> Self {
        Self {
            file: file.to_owned(),
            at: find_key(text, key),
            problem: format!("{key}: {problem}"),
        }
    }

    /// A problem with the file as a whole.
    pub(super) fn of_file(file: &Path, problem: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            at: None,
            problem: problem.to_string(),
        }
    }

    /// What the YAML reader found. Its message ends with the place, which is moved to the front.
    pub(super) fn of_yaml(file: &Path, error: &serde_yaml::Error) -> Self {
        let at = error.location().map(|place| (place.line(), place.column()));
        let mut problem = error.to_string();
        if let Some((line, column)) = at {
            problem = problem.replace(&format!(" at line {line} column {column}"), "");
        }
        Self {
            file: file.to_owned(),
            at,
            problem,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(out, ":{line}:{column}")?;
        }
        write!(out, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Line and column of a dotted key in block-style YAML; `None` when it is written in another style.
fn find_key(text: &str, key: &str) -> Option<(usize, usize)> {
    let mut wanted = key.split('.').peekable();
    for (number, line) in text.lines().enumerate() {
        let name = wanted.peek()?;
        let content = line.trim_start();
        if content
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(':'))
        {
            wanted.next();
            if wanted.peek().is_none() {
                return Some((number + 1, line.len() - content.len() + 1));
            }
        }
    }
    None
}
