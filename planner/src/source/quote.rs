//! Quoting what a file said inside an error, whatever the file said.

/// Characters of an offending value that an error repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// `text` between backquotes, control characters escaped, cut after [`QUOTED_CHARS_MAX`] characters.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (index, character) in text.chars().enumerate() {
        if index == QUOTED_CHARS_MAX {
            quoted.push('…');
            break;
        }
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(quote("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
    }

    #[test]
    fn long_values_are_cut() {
        let quoted = quote(&"x".repeat(10_000));
        assert_eq!(quoted.chars().count(), 80 + 3);
        assert!(quoted.ends_with("…`"));
    }
}
