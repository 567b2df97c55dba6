//! Module names that a quantization leaves out: whole parts of a path, `*` for anything, or `re:` and an expression.

/// Alternatives that one expression may have; more are no list of modules.
const ALTERNATIVES_MAX: usize = 64;

/// A part of a path between dots, with `*` for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    /// The patterns that an entry stands for: one, or one for each alternative of an expression.
    pub(super) fn all_of(entry: &str, patterns: &mut Vec<Self>) {
        match entry.strip_prefix("re:") {
            None => patterns.push(Self(format!("*.{entry}.*"))),
            Some(expression) => {
                let mut alternatives = vec![expression.to_owned()];
                // One group after the other, from the left; groups inside groups are not used for module names.
                while let Some(at) = alternatives.iter().position(|one| group(one).is_some()) {
                    let one = alternatives.swap_remove(at);
                    let Some((before, inside, after)) = group(&one) else {
                        return;
                    };
                    alternatives.extend(
                        inside
                            .split('|')
                            .map(|choice| format!("{before}{choice}{after}")),
                    );
                    if alternatives.len() > ALTERNATIVES_MAX {
                        return;
                    }
                }
                patterns.extend(
                    alternatives
                        .iter()
                        .map(|one| Self(format!("*.{}.*", without_syntax(one)))),
                );
            }
        }
    }

    /// Whether it names the module at `path`, or one that the module is in.
    pub(super) fn names(&self, path: &str) -> bool {
        matches(self.0.as_bytes(), format!(".{path}.").as_bytes())
    }
}

/// The first `(a|b)` of an expression: what is before, inside and after it.
fn group(expression: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = expression.split_once('(')?;
    let (inside, after) = rest.split_once(')')?;
    Some((before, inside, after))
}

/// An expression's text: `.*`, `\d+` and the like become `*`, anchors go, escapes are what they escape.
fn without_syntax(expression: &str) -> String {
    expression
        .replace(".*", "*")
        .replace(".+", "*")
        .replace("\\d+", "*")
        .replace("[0-9]+", "*")
        .replace(['\\', '^', '$'], "")
}

/// Whether `text` is `pattern`, where `*` is any bytes. Linear but for the last `*`, so bounded by the product.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == text.get(from) {
            at += 1;
            from += 1;
        } else if let Some((star_at, star_from)) = star {
            at = star_at + 1;
            from = star_from + 1;
            star = Some((star_at, from));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn names(entry: &str, path: &str) -> bool {
        let mut patterns = Vec::new();
        Pattern::all_of(entry, &mut patterns);
        patterns.iter().any(|pattern| pattern.names(path))
    }

    #[test]
    fn names_are_whole_parts_of_a_path() {
        assert!(names("lm_head", "lm_head"));
        assert!(names("gate", "model.layers.3.mlp.gate"));
        assert!(!names("gate", "model.layers.3.mlp.gate_proj"));
        assert!(!names("model.layers.1", "model.layers.10.mlp.up_proj"));
        assert!(names(
            "model.layers.*.self_attn",
            "model.layers.10.self_attn.q_proj"
        ));
        assert!(!names(
            "model.layers.*.self_attn",
            "model.layers.10.mlp.up_proj"
        ));
    }

    #[test]
    fn expressions_are_read_as_far_as_module_names_need() {
        assert!(names("re:.*self_attn.*", "model.layers.0.self_attn.q_proj"));
        assert!(names(
            "re:.*mlp\\.(gate|up|down)_proj.*",
            "model.layers.0.mlp.up_proj"
        ));
        assert!(!names(
            "re:.*mlp\\.(gate|up|down)_proj.*",
            "model.layers.0.mlp.experts.0.up_proj"
        ));
        assert!(names(
            "re:^model\\.layers\\.\\d+\\.mlp\\.gate$",
            "model.layers.7.mlp.gate"
        ));
        assert!(!names(
            "re:(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)",
            "aaaaaaaa"
        ));
        assert!(!names("re:(", "model.norm"));
        assert!(!names("re:***************x", "model.norm"));
    }
}
