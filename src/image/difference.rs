//! What differs between two listings.
//!
//! Owns the comparison of two sorted lists of `path → line`, line by line and then word by word
//! (`key=value`), and how a difference is said. Refuses to know where the lists come from.

use super::listing::Listing;
use crate::printable::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The word whose value says nothing to people: whether the content is the same.
const CONTENT_WORD: &str = "sha256";

/// One path at which two listings differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, or whatever the listings have for one.
    pub path: String,
    /// What differs there.
    #[serde(flatten)]
    pub change: Change,
}

/// What differs at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Only the first listing has it.
    OnlyInFirst,
    /// Only the second listing has it.
    OnlyInSecond,
    /// Both have it with other words.
    Words {
        /// By key: its value in the first and in the second listing.
        words: BTreeMap<String, (Option<String>, Option<String>)>,
    },
    /// The same is in it, packed in another way.
    Packing,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", printable(&self.path))?;
        let words = match &self.change {
            Change::OnlyInFirst => return formatter.write_str("only in the first"),
            Change::OnlyInSecond => return formatter.write_str("only in the second"),
            Change::Packing => return formatter.write_str("packed differently, the same entries"),
            Change::Words { words } => words,
        };
        let shown = |value: &Option<String>| match value {
            Some(value) => printable(value),
            None => "none".to_owned(),
        };
        let mut separator = "";
        for (key, (first, second)) in words {
            match key.as_str() {
                CONTENT_WORD => write!(formatter, "{separator}content")?,
                _ => {
                    let (first, second) = (shown(first), shown(second));
                    write!(
                        formatter,
                        "{separator}{} {first} → {second}",
                        printable(key)
                    )?;
                }
            }
            separator = ", ";
        }
        Ok(())
    }
}

/// The paths at which two listings differ, in their order.
#[must_use]
pub fn differences(first: &Listing, second: &Listing) -> Vec<Difference> {
    let mut found = Vec::new();
    for (path, line) in first {
        match second.get(path) {
            Some(other) if other == line => {}
            Some(other) => {
                let words = changed_words(line, other);
                // The same words in another order say the same.
                if !words.is_empty() {
                    found.push((path, Change::Words { words }));
                }
            }
            None => found.push((path, Change::OnlyInFirst)),
        }
    }
    let only_in_second = second.keys().filter(|path| !first.contains_key(*path));
    found.extend(only_in_second.map(|path| (path, Change::OnlyInSecond)));
    found.sort_by(|one, other| one.0.cmp(other.0));
    let differences = found.into_iter().map(|(path, change)| Difference {
        path: path.clone(),
        change,
    });
    differences.collect()
}

fn changed_words(first: &str, second: &str) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let mut words: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for word in first.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        words.entry(key.to_owned()).or_default().0 = Some(value.to_owned());
    }
    for word in second.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        words.entry(key.to_owned()).or_default().1 = Some(value.to_owned());
    }
    words.retain(|_, (first, second)| first != second);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[(&str, &str)]) -> Listing {
        let lines = lines.iter();
        lines
            .map(|(path, line)| ((*path).to_owned(), (*line).to_owned()))
            .collect()
    }

    #[test]
    fn each_difference_is_named_in_the_order_of_paths() {
        let first = listing(&[
            ("/a", "kind=file mode=0644 size=1 sha256=x"),
            ("/b", "kind=file"),
            ("/same", "kind=pipe"),
            ("/z", "kind=link target=a"),
        ]);
        let second = listing(&[
            ("/a", "kind=file mode=0600 size=2 sha256=y"),
            ("/c", "kind=file"),
            ("/same", "kind=pipe"),
            ("/z", "kind=directory"),
        ]);
        let said: Vec<String> = differences(&first, &second)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "/a: mode 0644 → 0600, content, size 1 → 2",
                "/b: only in the first",
                "/c: only in the second",
                "/z: kind link → directory, target a → none",
            ]
        );
        assert_eq!(differences(&first, &first), []);
        let turned = listing(&[("/a", "mode=0644 kind=file")]);
        assert_eq!(
            differences(&turned, &listing(&[("/a", "kind=file mode=0644")])),
            []
        );
    }
}
