//! Word error rate: substitutions, deletions and insertions of words, over the words of the reference (Levenshtein).
//!
//! Before they are compared, both texts are written out as they are spoken ("14" and "fourteen" are the same), put in
//! lower case, and stripped of all that is no letter, digit or apostrophe.

use std::fmt;

/// Errors and words of many texts together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    errors: usize,
    words: usize,
}

impl Score {
    pub fn add(&mut self, reference: &str, heard: &str) {
        let (reference, heard) = (normalised(reference), normalised(heard));
        self.errors += distance(&reference, &heard);
        self.words += reference.len();
    }

    pub fn percent(&self) -> f64 {
        self.errors as f64 * 100.0 / self.words.max(1) as f64
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WER {:.2} % ({} errors in {} words)", self.percent(), self.errors, self.words)
    }
}

fn normalised(text: &str) -> Vec<String> {
    let spoken = sotto::tts::for_ear(text).to_lowercase().replace('’', "'");
    let kept = |c: char| if c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    spoken.chars().map(kept).collect::<String>().split_whitespace().map(str::to_owned).collect()
}

fn distance(reference: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in heard.iter().enumerate() {
            let substituted = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[heard.len()]
}
