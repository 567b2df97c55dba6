//! JSON as model repositories write it, read strictly.
//!
//! Python's `json.dump` writes bare `NaN`, `Infinity` and `-Infinity`, which JSON does not have; they are read as
//! null. Everything else that a careful reader would not accept is refused with its line and column: keys that appear
//! twice, deep nesting, a byte order mark, bytes that are not UTF-8, and documents whose tree would take far more
//! memory than their text.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::quote::{printable, quote};

/// What a document may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes.
    pub text_bytes_max: usize,
    /// Arrays and objects inside each other; the outermost counts as one.
    pub depth_max: usize,
}

impl Limits {
    /// For config.json and what is like it: 16 MiB of text, 64 levels.
    pub const CONFIG: Self = Self {
        text_bytes_max: 16 << 20,
        depth_max: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::CONFIG
    }
}

/// Why a document was refused. Lines and columns count from 1, columns in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nothing but white space.
    #[error("the file is empty: expected a JSON document")]
    Empty,
    /// The text is longer than [`Limits::text_bytes_max`].
    #[error("{bytes} bytes of JSON: at most {bytes_max} bytes are read")]
    TooLarge {
        /// Length of the text.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The text starts with U+FEFF.
    #[error("line 1 column 1: starts with a byte order mark: save the file as UTF-8 without one")]
    ByteOrderMark,
    /// The text is not UTF-8.
    #[error("line {line} column {column}: byte 0x{byte:02x} is not UTF-8: expected JSON in UTF-8")]
    NotUtf8 {
        /// Line of the first bad byte.
        line: usize,
        /// Column of the first bad byte.
        column: usize,
        /// The first bad byte.
        byte: u8,
    },
    /// An object has one key twice.
    #[error(
        "line {line} column {column}: key {} appears twice in one object: expected each key once",
        quote(key)
    )]
    DuplicateKey {
        /// Line where the second one was read.
        line: usize,
        /// Column where the second one was read.
        column: usize,
        /// The key.
        key: String,
    },
    /// More than [`Limits::depth_max`] arrays and objects inside each other.
    #[error(
        "line {line} column {column}: nested deeper than {depth_max} levels: expected at most {depth_max}"
    )]
    TooDeep {
        /// Line where it was noticed, at or just after the bracket too many.
        line: usize,
        /// Column where it was noticed.
        column: usize,
        /// The limit.
        depth_max: usize,
    },
    /// The tree would take far more memory than the text.
    #[error(
        "line {line} column {column}: so many small values that reading them would take over {tree_bytes_max} bytes"
    )]
    TooManyValues {
        /// Line where the limit was crossed.
        line: usize,
        /// Column where the limit was crossed.
        column: usize,
        /// What the tree of a text of this length may take.
        tree_bytes_max: usize,
    },
    /// Not JSON.
    #[error("line {line} column {column}: {message}")]
    Syntax {
        /// Line where reading stopped.
        line: usize,
        /// Column where reading stopped.
        column: usize,
        /// What was wrong and what was expected there.
        message: String,
    },
}

/// Reads one document.
///
/// Memory: at most four times the text plus 4 MiB; three times it for the tree, once where bare words are replaced.
///
/// # Errors
/// [`JsonError`] for anything beyond `limits` or JSON's grammar; `NaN`, `Infinity` and `-Infinity` are read as null.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value, JsonError> {
    let text = checked_text(bytes, limits.text_bytes_max)?;
    let text = python_numbers_to_null(text);
    let tree_bytes_max = text
        .len()
        .saturating_mul(4)
        .saturating_add(TREE_BYTES_ALLOWED);
    let tree = Tree {
        tree_bytes_left: Cell::new(tree_bytes_max),
        refused: Cell::new(None),
    };
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let value = Node {
        tree: &tree,
        depth_left: limits.depth_max,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match tree.refused.take() {
            Some(Refused::DuplicateKey(key)) => JsonError::DuplicateKey { line, column, key },
            Some(Refused::TooDeep) => JsonError::TooDeep {
                line,
                column,
                depth_max: limits.depth_max,
            },
            Some(Refused::TooManyValues) => JsonError::TooManyValues {
                line,
                column,
                tree_bytes_max,
            },
            None => JsonError::Syntax {
                line,
                column,
                message: message(&error),
            },
        }
    })
}

/// `bytes` as text, once length, encoding and first characters are what JSON may have.
pub(crate) fn checked_text(bytes: &[u8], text_bytes_max: usize) -> Result<&str, JsonError> {
    if bytes.len() > text_bytes_max {
        return Err(JsonError::TooLarge {
            bytes: bytes.len(),
            bytes_max: text_bytes_max,
        });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::ByteOrderMark);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        JsonError::NotUtf8 {
            line: before.split(|&byte| byte == b'\n').count(),
            column: before.len() - line_start + 1,
            byte: bytes.get(before.len()).copied().unwrap_or_default(),
        }
    })?;
    if text.trim_ascii().is_empty() {
        return Err(JsonError::Empty);
    }
    Ok(text)
}

/// Characters of a message that are kept: serde_json repeats a string of the wrong type whole.
const MESSAGE_CHARS_MAX: usize = 200;

/// serde_json's message without the position that it repeats at its end, safe to print.
pub(crate) fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message
        .rfind(" at line ")
        .map_or(message.as_str(), |end| &message[..end]);
    printable(message, MESSAGE_CHARS_MAX)
}

/// Where in `text` an error was noticed, in bytes from its start.
pub(crate) fn byte_offset(text: &str, error: &serde_json::Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let line_start = text
        .bytes()
        .enumerate()
        .filter(|&(_, byte)| byte == b'\n')
        .take(lines_before)
        .last()
        .map_or(0, |(newline, _)| newline + 1);
    line_start + error.column().saturating_sub(1)
}

/// What any tree may take, however short its text: a map of one key takes some 600 bytes.
const TREE_BYTES_ALLOWED: usize = 4 << 20;
/// An array grows by doubling: while it moves, the old and the new one are both there, three slots an element.
const ELEMENT_BYTES: usize = 3 * size_of::<Value>();
/// A B-tree node holds 11 slots of key and value and is at least half full, but for the root.
const ENTRY_BYTES: usize = 3 * (size_of::<String>() + size_of::<Value>());
const MAP_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 32;

/// `NaN`, stood in for by a string of as many bytes, that is read as null. DEL has no use in a config.
const NAN_STAND_IN: &str = "\u{7f}";

/// Replaces Python's bare words outside strings by as many bytes of JSON, so that lines and columns stay.
fn python_numbers_to_null(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut replaced: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let (length, word) = match byte {
            b'"' => {
                at += string_length(rest);
                continue;
            }
            b'-' if rest.starts_with(b"-Infinity") => (9, "null     "),
            b'I' if rest.starts_with(b"Infinity") => (8, "null    "),
            b'N' if rest.starts_with(b"NaN") => (3, "\"\u{7f}\""),
            _ => {
                at += 1;
                continue;
            }
        };
        let replaced = replaced.get_or_insert_with(|| String::with_capacity(text.len()));
        replaced.push_str(&text[copied..at]);
        replaced.push_str(word);
        at += length;
        copied = at;
    }
    match replaced {
        Some(mut replaced) => {
            replaced.push_str(&text[copied..]);
            Cow::Owned(replaced)
        }
        None => Cow::Borrowed(text),
    }
}

/// Bytes of the string that `rest` starts with, both quotes included; all of `rest` if it does not end.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Why the tree was not finished, where serde's error has only words.
enum Refused {
    DuplicateKey(String),
    TooDeep,
    TooManyValues,
}

struct Tree {
    tree_bytes_left: Cell<usize>,
    refused: Cell<Option<Refused>>,
}

impl Tree {
    fn refuse<E: serde::de::Error>(&self, why: Refused) -> E {
        self.refused.set(Some(why));
        E::custom("refused")
    }

    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.tree_bytes_left.get().checked_sub(bytes);
        self.tree_bytes_left
            .set(left.ok_or_else(|| self.refuse(Refused::TooManyValues))?);
        Ok(())
    }
}

/// One value of the tree, with the levels that may still be below it.
#[derive(Clone, Copy)]
struct Node<'t> {
    tree: &'t Tree,
    depth_left: usize,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| self.tree.refuse(Refused::TooDeep))?;
        Ok(Self { depth_left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        if value == NAN_STAND_IN {
            return Ok(Value::Null);
        }
        self.tree.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(below)? {
            self.tree.spend(ELEMENT_BYTES)?;
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.tree
                .spend(ENTRY_BYTES + key.len() + if map.is_empty() { MAP_BYTES } else { 0 })?;
            if map.contains_key(&key) {
                return Err(self.tree.refuse(Refused::DuplicateKey(key)));
            }
            let value = entries.next_value_seed(below)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests;
