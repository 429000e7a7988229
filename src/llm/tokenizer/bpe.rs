//! Byte pair encoding in flat tables: the bytes of a word become tokens, and neighbours merge by
//! the rules of the vocabulary.
//!
//! The tables take 4 bytes for each token and 8 or 12 for each merge. Hash maps over strings, as
//! libraries hold them, take some 240 for each token, and are needed for nothing else.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::pieces::{Pieces, byte_alphabet};

/// No token or no neighbour: ids and places are below it.
const NONE: u32 = u32::MAX;
/// Length limit of a word that is merged; places in it are counted in 32 bits.
pub const MAX_WORD: usize = NONE as usize - 1;

pub(super) struct Bpe {
    /// Token of each byte, or [`NONE`]: then the byte is left out.
    letters: [u32; 256],
    /// Start of each row of `pairs`, by ascending right token. The merges with left token `t` are
    /// `pairs[starts[t]..starts[t + 1]]`.
    starts: Vec<u32>,
    pairs: Vec<Pair>,
    /// Token that the merge of each rank makes. Empty if it equals the rank.
    made: Vec<u32>,
    /// Ordinary tokens in the order of their bytes, if whole words are looked up before they are
    /// merged.
    whole: Option<Vec<u32>>,
}

/// Merge of a left token with `right`. The lower rank goes first; only the order of ranks matters.
struct Pair {
    right: u32,
    rank: u32,
}

/// A token in a word that is being merged, and the places of its neighbours.
struct Symbol {
    token: u32,
    left: u32,
    right: u32,
}

/// Working memory for merging one word after another.
#[derive(Default)]
pub(super) struct BpeScratch {
    symbols: Vec<Symbol>,
    /// Queue of merges, lowest first: the rank in the upper half, the place of the left part in the
    /// lower.
    queue: BinaryHeap<Reverse<u64>>,
}

/// Ids of ordinary tokens by their text, while the tables are built.
pub(super) struct BpeVocabulary<'a>(HashMap<&'a str, u32>);

impl<'a> BpeVocabulary<'a> {
    /// Collects the tokens. Of several with the same text the last counts.
    pub fn new(tokens: impl Iterator<Item = (u32, &'a str)>) -> Self {
        BpeVocabulary(tokens.map(|(id, text)| (text, id)).collect())
    }

    fn letters(&self) -> [u32; 256] {
        let mut letters = [NONE; 256];
        for (c, byte) in byte_alphabet() {
            letters[usize::from(byte)] = self.0.get(&*c.encode_utf8(&mut [0; 4])).copied().unwrap_or(NONE);
        }
        letters
    }

    /// Tokens whose text is in the byte alphabet, in the order of their bytes. All are different.
    fn sorted(&self, pieces: &Pieces) -> Vec<u32> {
        let bytes = byte_alphabet();
        let in_alphabet = self.0.iter().filter(|(text, _)| text.chars().all(|c| bytes.contains_key(&c)));
        let mut ids: Vec<u32> = in_alphabet.map(|(_, &id)| id).collect();
        ids.sort_unstable_by_key(|&id| pieces.get(id));
        ids
    }

    /// Finds a merge of a and b as ids of a, b and ab, which must all be ordinary tokens. `joined`
    /// is a buffer for the text.
    fn merge(&self, (left, right): (&str, &str), joined: &mut String) -> Result<[u32; 3], String> {
        joined.clear();
        joined.extend([left, right]);
        let ids = [left, right, joined].map(|text| self.0.get(text).copied());
        let [Some(left), Some(right), Some(made)] = ids else {
            return Err(format!("merge {left:?} + {right:?} is not of ordinary tokens"));
        };
        Ok([left, right, made])
    }
}

impl Bpe {
    /// Builds the tables. `merges` are in the order of their ranks; of equal ones the last counts.
    /// With `whole_words`, a word that is a token by itself is not merged, as in Llama 3.
    pub fn new<'a>(
        vocabulary: &BpeVocabulary,
        merges: impl Iterator<Item = Result<(&'a str, &'a str), String>>,
        whole_words: Option<&Pieces>,
    ) -> Result<Self, String> {
        let mut joined = String::new();
        let (mut ranked, mut made) = (Vec::with_capacity(merges.size_hint().0), Vec::new());
        for (merge, rank) in merges.zip(0u32..) {
            let [left, right, joint] = vocabulary.merge(merge?, &mut joined)?;
            ranked.push((left, right, rank));
            made.push(joint);
        }
        // Most vocabularies list the results of merges in the order of the merges: then those ids
        // serve as ranks too.
        if made.is_sorted_by(|a, b| a < b) {
            ranked.iter_mut().zip(&made).for_each(|((.., rank), &id)| *rank = id);
            made = Vec::new();
        }
        made.shrink_to_fit();
        ranked.sort_unstable();
        let (starts, pairs) = rows(&ranked);
        let whole = whole_words.map(|pieces| vocabulary.sorted(pieces));
        Ok(Bpe { letters: vocabulary.letters(), starts, pairs, made, whole })
    }

    /// Appends the tokens of `word` to `tokens`. The word has at most [`MAX_WORD`] bytes; n of
    /// them take O(n log n) steps.
    pub fn encode(&self, word: &[u8], pieces: &Pieces, room: &mut BpeScratch, tokens: &mut Vec<u32>) {
        if let Some(token) = self.whole.as_ref().and_then(|sorted| find(sorted, word, pieces)) {
            tokens.push(token);
            return;
        }
        room.fill(word.iter().map(|&byte| self.letters[usize::from(byte)]).filter(|&token| token != NONE));
        self.merge(room);
        tokens.extend(room.symbols.iter().map(|symbol| symbol.token).filter(|&token| token != NONE));
    }

    /// Merges neighbours until no merge is left: the lowest rank first, of equal ones the leftmost.
    fn merge(&self, room: &mut BpeScratch) {
        let BpeScratch { symbols, queue } = room;
        let pairs = symbols.windows(2).zip(0u32..);
        queue.extend(pairs.filter_map(|(pair, at)| self.turn(&pair[0], &pair[1], at)));
        while let Some(Reverse(turn)) = queue.pop() {
            let (rank, at) = ((turn >> 32) as u32, turn as u32);
            let left = &symbols[at as usize];
            let Some(right) = symbols.get(left.right as usize) else { continue };
            // One of the two may have merged with another since.
            if self.rank(left.token, right.token) != Some(rank) {
                continue;
            }
            let (before, gone, after) = (left.left, left.right, right.right);
            symbols[gone as usize].token = NONE;
            let left = &mut symbols[at as usize];
            (left.token, left.right) = (self.made.get(rank as usize).copied().unwrap_or(rank), after);
            if let Some(after) = symbols.get_mut(after as usize) {
                after.left = at;
            }
            let left = &symbols[at as usize];
            queue.extend(symbols.get(before as usize).and_then(|symbol| self.turn(symbol, left, before)));
            queue.extend(symbols.get(after as usize).and_then(|symbol| self.turn(left, symbol, at)));
        }
    }

    /// Queue entry for merging the symbol at place `at` with its right neighbour.
    fn turn(&self, left: &Symbol, right: &Symbol, at: u32) -> Option<Reverse<u64>> {
        self.rank(left.token, right.token).map(|rank| Reverse(u64::from(rank) << 32 | u64::from(at)))
    }

    fn rank(&self, left: u32, right: u32) -> Option<u32> {
        let row = self.starts.get(left as usize..)?;
        let &[from, to, ..] = row else { return None };
        let row = &self.pairs[from as usize..to as usize];
        row.binary_search_by_key(&right, |pair| pair.right).ok().map(|found| row[found].rank)
    }
}

impl BpeScratch {
    /// Starts a word of these tokens.
    fn fill(&mut self, tokens: impl Iterator<Item = u32>) {
        self.queue.clear();
        self.symbols.clear();
        let places = tokens.zip(0u32..);
        self.symbols.extend(places.map(|(token, at)| Symbol { token, left: at.wrapping_sub(1), right: at + 1 }));
    }
}

/// Builds the table of merges by their left parts. `ranked` is in ascending order.
fn rows(ranked: &[(u32, u32, u32)]) -> (Vec<u32>, Vec<Pair>) {
    let left_parts = ranked.last().map_or(0, |&(highest, ..)| highest as usize + 1);
    let mut starts = Vec::with_capacity(left_parts + 1);
    let mut pairs: Vec<Pair> = Vec::with_capacity(ranked.len());
    for row in ranked.chunk_by(|a, b| a.0 == b.0) {
        starts.resize(row[0].0 as usize + 1, pairs.len() as u32);
        let last_of_equal = row.chunk_by(|a, b| a.1 == b.1).filter_map(|equal| equal.last());
        pairs.extend(last_of_equal.map(|&(_, right, rank)| Pair { right, rank }));
    }
    starts.resize(left_parts + 1, pairs.len() as u32);
    (starts, pairs)
}

/// Finds the token with exactly these bytes.
fn find(sorted: &[u32], bytes: &[u8], pieces: &Pieces) -> Option<u32> {
    sorted.binary_search_by(|&id| pieces.get(id).cmp(bytes)).ok().map(|at| sorted[at])
}
