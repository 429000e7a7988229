//! Bytes of the tokens, and their conversion back to text.

use std::collections::HashMap;

use super::Kind;

/// Bytes of all tokens, concatenated. Control and unused tokens have none.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// End of each token: token `id` has `bytes[ends[id - 1]..ends[id]]`.
    ends: Vec<u32>,
}

impl Pieces {
    pub fn new(tokens: &[&str], kinds: &[Kind]) -> Self {
        let byte_of = byte_alphabet();
        let mut pieces = Pieces { bytes: Vec::new(), ends: Vec::with_capacity(tokens.len()) };
        for (token, kind) in tokens.iter().zip(kinds) {
            match kind {
                Kind::Text => token.chars().for_each(|c| push_char(&mut pieces.bytes, &byte_of, c)),
                Kind::Marker => pieces.bytes.extend(token.as_bytes()),
                Kind::Control | Kind::Unused => {}
            }
            // The strings come from a file of limited size, in practice a few MB.
            pieces.ends.push(u32::try_from(pieces.bytes.len()).unwrap_or(u32::MAX));
        }
        pieces.bytes.shrink_to_fit();
        pieces
    }

    pub fn get(&self, token: u32) -> &[u8] {
        let end = |id: usize| self.ends.get(id).map(|&end| end as usize);
        let Some(to) = end(token as usize) else { return &[] };
        let from = (token as usize).checked_sub(1).and_then(end).unwrap_or(0);
        self.bytes.get(from..to).unwrap_or(&[])
    }
}

fn push_char(bytes: &mut Vec<u8>, byte_of: &HashMap<char, u8>, c: char) {
    match byte_of.get(&c) {
        Some(&byte) => bytes.push(byte),
        None => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// GPT-2's alphabet: a printable character for every byte. The printable ones of Latin-1 represent
/// themselves, the others are numbered from U+0100 (`bytes_to_unicode` of the GPT-2 release).
pub(super) fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let themselves = (0..=255u8).filter(printable).map(|b| (char::from(b), b));
    let others = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    themselves.chain(others).collect()
}

/// Converter of token bytes to text; holds back incomplete characters.
#[derive(Default)]
pub struct Detokenizer {
    held: Vec<u8>,
}

impl Detokenizer {
    /// Appends to `text` the characters that `bytes` completes. Invalid UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let rest = self.held.len() - done;
            if chunk.invalid().is_empty() || (chunk.invalid().len() == rest && is_incomplete(chunk.invalid())) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += chunk.invalid().len();
        }
        self.held.drain(..done);
    }

    /// Ends the text: a held incomplete character becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.held.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.held.clear();
        }
    }
}

/// Whether more bytes can complete a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
