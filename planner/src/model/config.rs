//! Reading fields of a config.json as the model classes of mlx-lm do: null counts as absent, numbers are
//! checked, and an error names the field, what it held and what would be accepted.

use serde_json::{Map, Value};
use thiserror::Error;

/// The largest dimension accepted; no public model comes near, and products of a few stay checkable.
const DIMENSION_MAX: u64 = 1 << 40;
/// The largest number of layers, experts or list entries accepted, since these are looped over.
const COUNT_MAX: u64 = 8192;

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A field that the model class needs is not there.
    #[error("field '{field}' is missing: {expected}")]
    Missing {
        /// Path of the field.
        field: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A field holds something that cannot be used.
    #[error("field '{field}' holds {value}: {expected}")]
    Invalid {
        /// Path of the field.
        field: String,
        /// What it holds, shortened.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The whole is not a model description.
    #[error("{0}")]
    Shape(&'static str),
    /// The architecture is not one whose rules are known.
    #[error(
        "unknown architecture: model_type '{model_type}' is none of the {known} that are known (see `shvplan models --families`)"
    )]
    UnknownArchitecture {
        /// The model_type.
        model_type: String,
        /// How many are known.
        known: usize,
    },
    /// A known architecture in a form that mlx-lm itself refuses to load.
    #[error("mlx-lm refuses this model: {0}")]
    Refused(String),
    /// Sizes multiply to more than can be counted.
    #[error("the sizes multiply to more than 2^60 elements (at '{path}'): no model is that large")]
    Overflow {
        /// The array.
        path: String,
    },
}

/// A JSON object with the path that led to it.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    map: &'a Map<String, Value>,
    /// Set where this is a nested object such as `text_config`.
    within: Option<&'static str>,
}

/// A value as it can stand in an error: one line, shortened.
fn quoted(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 60 {
        let cut = (0..=57)
            .rev()
            .find(|&i| text.is_char_boundary(i))
            .unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

impl<'a> Config<'a> {
    /// The top of a description.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn new(value: &'a Value) -> Result<Self, ConfigError> {
        match value.as_object() {
            Some(map) if !map.is_empty() => Ok(Self { map, within: None }),
            Some(_) => Err(ConfigError::Shape(
                "the description is an empty object: a config.json with at least model_type is expected",
            )),
            None => Err(ConfigError::Shape(
                "the description is not a JSON object: a config.json as published with the model is expected",
            )),
        }
    }

    fn path(&self, field: &str) -> String {
        self.within
            .map_or_else(|| field.to_owned(), |outer| format!("{outer}.{field}"))
    }

    /// The value of a field; null counts as absent.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there, null or not.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// Whether there is any field.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        !self.map.is_empty()
    }

    /// An error about a field's value.
    #[must_use]
    pub fn invalid(&self, field: &str, expected: impl Into<String>) -> ConfigError {
        let value = self
            .map
            .get(field)
            .map_or_else(|| "nothing".to_owned(), quoted);
        ConfigError::Invalid {
            field: self.path(field),
            value,
            expected: expected.into(),
        }
    }

    /// A nested object, if it is there.
    ///
    /// # Errors
    /// When it is there and no object.
    pub fn object(&self, field: &'static str) -> Result<Option<Config<'a>>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Config {
                map,
                within: Some(field),
            })),
            Some(_) => Err(self.invalid(field, "an object is expected")),
        }
    }

    /// A nested object that must be there.
    ///
    /// # Errors
    /// When it is not there, or no object.
    pub fn need_object(&self, field: &'static str) -> Result<Config<'a>, ConfigError> {
        self.object(field)?.ok_or_else(|| ConfigError::Missing {
            field: self.path(field),
            expected: "an object is expected",
        })
    }

    fn whole(&self, field: &str, value: &Value, least: u64, most: u64) -> Result<u64, ConfigError> {
        // Python writes some whole numbers as floats (2816.0).
        let number = value.as_u64().or_else(|| {
            value
                .as_f64()
                .filter(|f| f.fract() == 0.0 && *f >= 0.0 && *f < 1e15)
                .map(|f| f as u64)
        });
        match number {
            Some(n) if (least..=most).contains(&n) => Ok(n),
            _ => Err(self.invalid(
                field,
                format!("a whole number from {least} to {most} is expected"),
            )),
        }
    }

    /// A dimension that may be absent: 1 to 2⁴⁰.
    ///
    /// # Errors
    /// When it is there and out of range.
    pub fn dim_opt(&self, field: &str) -> Result<Option<u64>, ConfigError> {
        self.get(field)
            .map(|v| self.whole(field, v, 1, DIMENSION_MAX))
            .transpose()
    }

    /// A dimension that must be there.
    ///
    /// # Errors
    /// When it is missing or out of range.
    pub fn dim(&self, field: &str) -> Result<u64, ConfigError> {
        self.dim_opt(field)?.ok_or_else(|| self.missing(field))
    }

    /// A dimension with the default of the model class.
    ///
    /// # Errors
    /// When it is there and out of range, or null.
    pub fn dim_or(&self, field: &str, default: u64) -> Result<u64, ConfigError> {
        self.given(field)?;
        Ok(self.dim_opt(field)?.unwrap_or(default))
    }

    /// A dimension that may be null where no layer is of the kind that uses it; 0 says so, and lists of layers refuse it.
    ///
    /// # Errors
    /// When it is missing or out of range.
    pub fn dim_if_used(&self, field: &str) -> Result<u64, ConfigError> {
        match self.map.get(field) {
            Some(Value::Null) => Ok(0),
            _ => self.dim(field),
        }
    }

    /// The same with the default of the model class.
    ///
    /// # Errors
    /// When it is there and out of range.
    pub fn dim_if_used_or(&self, field: &str, default: u64) -> Result<u64, ConfigError> {
        match self.map.get(field) {
            Some(Value::Null) => Ok(0),
            _ => self.dim_or(field, default),
        }
    }

    /// Refuses null where the class has a default and no check for null. A default takes the place of a field that is
    /// not there; null reaches the class as it stands, and fails in its arithmetic. Where a class checks, its family
    /// reads an optional field.
    fn given(&self, field: &str) -> Result<(), ConfigError> {
        match self.map.get(field) {
            Some(Value::Null) => Err(self.invalid(
                field,
                "a number is expected, or no such field: its default does not take the place of null in mlx-lm",
            )),
            _ => Ok(()),
        }
    }

    /// A count that must be there: 1 to 8192 (layers, heads, experts).
    ///
    /// # Errors
    /// When it is missing or out of range.
    pub fn count(&self, field: &str) -> Result<u64, ConfigError> {
        self.get(field)
            .map(|v| self.whole(field, v, 1, COUNT_MAX))
            .transpose()?
            .ok_or_else(|| self.missing(field))
    }

    /// A count that may be zero, with the default of the model class: 0 to 8192.
    ///
    /// # Errors
    /// When it is there and out of range, or null.
    pub fn count_or(&self, field: &str, default: u64) -> Result<u64, ConfigError> {
        self.given(field)?;
        Ok(self
            .get(field)
            .map(|v| self.whole(field, v, 0, COUNT_MAX))
            .transpose()?
            .unwrap_or(default))
    }

    /// A count that may be absent or zero.
    ///
    /// # Errors
    /// When it is there and out of range.
    pub fn count_opt(&self, field: &str) -> Result<Option<u64>, ConfigError> {
        self.get(field)
            .map(|v| self.whole(field, v, 0, COUNT_MAX))
            .transpose()
    }

    fn missing(&self, field: &str) -> ConfigError {
        ConfigError::Missing {
            field: self.path(field),
            expected: "a whole number is expected",
        }
    }

    /// A truth value with the default of the model class. Null is false, as to Python, and not the default.
    ///
    /// # Errors
    /// When it is there and neither true nor false.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(self.invalid(field, "true or false is expected")),
        }
    }

    /// A truth value that must be there.
    ///
    /// # Errors
    /// When it is missing, or neither true nor false.
    pub fn flag(&self, field: &str) -> Result<bool, ConfigError> {
        if !self.has(field) {
            return Err(ConfigError::Missing {
                field: self.path(field),
                expected: "true or false is expected",
            });
        }
        self.flag_or(field, false)
    }

    /// Fields that the model class takes without a default, though no size depends on them. Some are computed with as the
    /// model is made, and cannot be null.
    ///
    /// # Errors
    /// When one is missing.
    pub fn needs(&self, fields: &[&str]) -> Result<(), ConfigError> {
        self.needs_or_null(fields)?;
        let numbers = ["num_key_value_heads", "partial_rotary_factor"];
        match fields
            .iter()
            .find(|f| numbers.contains(f) && self.get(f).is_none())
        {
            None => self.norms_hold(fields),
            Some(field) => Err(self.invalid(field, "a number is expected, and not null")),
        }
    }

    /// Fields without a default that the class takes null for.
    ///
    /// # Errors
    /// When one is missing.
    pub fn needs_or_null(&self, fields: &[&str]) -> Result<(), ConfigError> {
        match fields.iter().find(|field| !self.has(field)) {
            None => Ok(()),
            Some(field) => Err(ConfigError::Missing {
                field: self.path(field),
                expected: "the model class has no default for it",
            }),
        }
    }

    /// Refuses what norms do not take for the number that keeps them from dividing by zero: nothing, or none above it.
    ///
    /// # Errors
    /// When one of the fields that end in `eps` or `epsilon` is there and no number above zero.
    pub fn norms_hold(&self, fields: &[&str]) -> Result<(), ConfigError> {
        let wrong = |field: &&&str| {
            let value = self.get(field).and_then(Value::as_f64);
            let norm = field.ends_with("eps") || field.ends_with("epsilon");
            norm && self.has(field) && value.is_none_or(|eps| eps <= 0.0)
        };
        match fields.iter().find(wrong) {
            None => Ok(()),
            Some(field) => Err(self.invalid(field, "a number above zero is expected")),
        }
    }

    /// A number with the default of the model class.
    ///
    /// # Errors
    /// When it is there and no number, or null.
    pub fn number_or(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        self.given(field)?;
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|f| f.is_finite())
                .ok_or_else(|| self.invalid(field, "a number is expected")),
        }
    }

    /// A string, if it is there.
    ///
    /// # Errors
    /// When it is there and no string.
    pub fn text(&self, field: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(self.invalid(field, "a string is expected")),
        }
    }

    /// A list, if it is there, of at most 8192 entries.
    ///
    /// # Errors
    /// When it is there and no list, or longer.
    pub fn list(&self, field: &str) -> Result<Option<&'a [Value]>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() as u64 <= COUNT_MAX => Ok(Some(list)),
            Some(_) => Err(self.invalid(field, "a list is expected")),
        }
    }

    /// A list of strings, if it is there.
    ///
    /// # Errors
    /// When it is there and holds anything else.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(list) = self.list(field)? else {
            return Ok(None);
        };
        list.iter()
            .map(|v| {
                v.as_str()
                    .ok_or_else(|| self.invalid(field, "a list of strings is expected"))
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of whole numbers, if it is there.
    ///
    /// # Errors
    /// When it is there and holds anything else.
    pub fn wholes(&self, field: &str) -> Result<Option<Vec<u64>>, ConfigError> {
        let Some(list) = self.list(field)? else {
            return Ok(None);
        };
        list.iter()
            .map(|v| self.whole(field, v, 0, DIMENSION_MAX))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A whole number, or a list of one for each of `layers` (gemma3n's `intermediate_size`).
    ///
    /// # Errors
    /// When it is missing, of another form, or of another length.
    pub fn dim_per_layer(&self, field: &str, layers: u64) -> Result<Vec<u64>, ConfigError> {
        match self.get(field) {
            Some(Value::Array(_)) => {
                let list = self.wholes(field)?.unwrap_or_default();
                if list.len() as u64 == layers {
                    Ok(list)
                } else {
                    Err(self.invalid(
                        field,
                        format!("a list of {layers} entries, one a layer, is expected"),
                    ))
                }
            }
            _ => Ok(vec![self.dim(field)?; usize::try_from(layers).unwrap_or(0)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_field_value_and_what_would_do() {
        let value =
            json!({"a": -1, "b": "x", "c": 1_u64 << 63, "t": {"d": 0}, "n": null, "f": 12.0});
        let config = Config::new(&value).unwrap();
        assert_eq!(config.dim("f"), Ok(12));
        assert_eq!(config.dim_opt("n"), Ok(None));
        assert_eq!(config.dim_or("no such", 7), Ok(7));
        assert!(config.dim_or("n", 7).is_err());
        let text = config.dim("a").unwrap_err().to_string();
        assert_eq!(
            text,
            "field 'a' holds -1: a whole number from 1 to 1099511627776 is expected"
        );
        assert!(config.dim("b").unwrap_err().to_string().contains("\"x\""));
        assert!(
            config
                .dim("c")
                .unwrap_err()
                .to_string()
                .contains("9223372036854775808")
        );
        assert!(
            config
                .need_object("t")
                .unwrap()
                .count("d")
                .unwrap_err()
                .to_string()
                .contains("'t.d' holds 0")
        );
        assert_eq!(
            config.dim("zz").unwrap_err().to_string(),
            "field 'zz' is missing: a whole number is expected"
        );
    }
}
