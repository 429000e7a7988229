//! Filter of text that is not to be spoken: a model's reasoning, and fenced code.

/// Passes on the text that is to be spoken.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamFilter {
    hiding: Option<&'static str>,
    /// Start of what may become a marker.
    held: String,
}

/// Markers that begin and end a stretch that is not spoken.
const HIDDEN: [(&str, &str); 2] = [("<think>", "</think>"), ("```", "```")];

impl StreamFilter {
    pub(super) fn pass(&mut self, text: &str, out: &mut String) {
        self.held.push_str(text);
        while let Some(done) = self.step(out) {
            self.held.drain(..done);
        }
    }

    /// Handles the certain part at the start of `held` and returns its length; `None` when more
    /// text is needed.
    fn step(&mut self, out: &mut String) -> Option<usize> {
        let markers: Vec<&str> = match self.hiding {
            Some(end) => vec![end],
            None => HIDDEN.iter().map(|(start, _)| *start).collect(),
        };
        let found = markers.iter().filter_map(|marker| Some((self.held.find(marker)?, *marker))).min();
        if let Some((at, marker)) = found {
            self.show(at, out);
            self.hiding = match self.hiding {
                Some(_) => None,
                None => HIDDEN.iter().find(|(start, _)| *start == marker).map(|(_, end)| *end),
            };
            // A hidden stretch separates the text around it.
            out.push('\n');
            return Some(at + marker.len());
        }
        let certain = self.held.len() - longest_beginning(&self.held, &markers);
        self.show(certain, out);
        self.held.drain(..certain);
        None
    }

    fn show(&self, end: usize, out: &mut String) {
        if self.hiding.is_none() {
            out.push_str(&self.held[..end]);
        }
    }

    pub(super) fn finish(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        if self.hiding.take().is_none() {
            out.push_str(&held);
        }
    }
}

/// Number of bytes at the end of `text` that may be the beginning of a marker.
fn longest_beginning(text: &str, markers: &[&str]) -> usize {
    let begins =
        |length: &usize| markers.iter().any(|marker| *length < marker.len() && text.ends_with(&marker[..*length]));
    let longest = markers.iter().map(|marker| marker.len()).max().unwrap_or(0);
    (1..longest).rev().find(begins).unwrap_or(0)
}
