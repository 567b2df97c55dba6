//! Names as people type them, and close ones for a word that is not known.

/// Folds a typed name to the spelling of the catalogs: lower case, spaces and underscores as hyphens.
#[must_use]
pub fn folded(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace([' ', '_'], "-")
}

/// The names nearest to `typed`, best first, at most three: those that contain it or are contained in it, and those
/// within a third of its length by edit distance.
#[must_use]
pub fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    // A long word is no misspelt name, and the distance takes time quadratic in its length.
    if typed.is_empty() || typed.len() > 64 {
        return Vec::new();
    }
    let reach = (typed.len() / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let distance = strsim::damerau_levenshtein(typed, name);
            let within = typed.len() >= 3
                && (name.contains(typed) || typed.contains(name) && name.len() >= 3);
            (distance <= reach)
                .then_some(distance)
                .or_else(|| within.then_some(reach + 1))
                .map(|d| (d, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_are_found() {
        let names = ["llama-1-30b", "30b", "13b", "qwen3-8b"];
        assert_eq!(closest("30bb", names.into_iter()), ["30b"]);
        assert_eq!(closest("qwen3", names.into_iter()), ["qwen3-8b"]);
        assert!(closest("zzzzzzz", names.into_iter()).is_empty());
        assert!(closest(&"x".repeat(100_000), names.into_iter()).is_empty());
    }
}
