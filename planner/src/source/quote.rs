//! Repeating what a file said inside an error, whatever the file said.

/// Characters of an offending value that an error repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// `text` between backquotes, control characters escaped, cut after 80 characters.
pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", printable(text, QUOTED_CHARS_MAX))
}

/// `text` with control characters escaped, cut after `chars_max` characters.
pub(crate) fn printable(text: &str, chars_max: usize) -> String {
    let mut printable = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == chars_max {
            printable.push('…');
            break;
        }
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
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
