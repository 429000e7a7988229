use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::pieces::byte_alphabet;
use super::{Cut, Kind, Tables, Tokenizer};
use peer::Peer;

#[path = "../../../tests/common/peer.rs"]
mod peer;

const CUTS: [&str; 5] = ["qwen2", "qwen35", "smollm", "gpt-2", "llama-bpe"];
/// Pieces that the texts are made of.
const PARTS: &[&str] = &["a", "b", "ab", "é", "e\u{301}", " ", "  ", "\n", "1", "½", "'s", "!", "日", "🙂", "नि"];

/// A random vocabulary with the bytes of [`PARTS`], or most of them, and merges of its tokens.
#[derive(Debug)]
struct Drawn {
    tokens: Vec<String>,
    merges: Vec<String>,
}

impl Drawn {
    fn kinds(&self) -> Vec<Kind> {
        self.tokens.iter().map(|token| if token.is_empty() { Kind::Unused } else { Kind::Text }).collect()
    }

    fn ours(&self, cut: &str) -> Tokenizer {
        let tokens = self.tokens.iter().map(String::as_str).collect();
        let merges = self.merges.iter().map(|merge| super::parts(merge));
        Tokenizer::new(Tables { cut: Cut::named(cut).unwrap(), tokens, kinds: self.kinds() }, merges).unwrap()
    }

    fn peer(&self, cut: &str) -> Peer {
        let used = self.tokens.iter().zip(0..).filter(|(token, _)| !token.is_empty());
        Peer::new(cut, used.map(|(token, id)| (token.as_str(), id)), self.merges.iter().map(String::as_str))
    }
}

/// Bytes of [`PARTS`] in the spelling of the vocabulary.
fn letters() -> Vec<String> {
    let bytes: Vec<u8> = PARTS.iter().flat_map(|part| part.bytes()).collect();
    byte_alphabet().into_iter().filter(|(_, byte)| bytes.contains(byte)).map(|(c, _)| c.to_string()).collect()
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let letters = letters();
    let most = letters.len() - 2..=letters.len();
    let pairs = vec(any::<(Index, Index)>(), 0..80);
    let tables =
        (subsequence(letters, most).prop_shuffle(), pairs, 0usize..3).prop_map(|(mut tokens, pairs, unused)| {
            let mut merges = Vec::new();
            for (left, right) in pairs {
                let (left, right) = (left.get(&tokens).clone(), right.get(&tokens).clone());
                merges.push(format!("{left} {right}"));
                // If it is a token already, two different merges make the same token.
                if !tokens.contains(&(left.clone() + &right)) && left.len() + right.len() < 20 {
                    tokens.push(left + &right);
                } else if !tokens.contains(&(left + &right)) {
                    merges.pop();
                }
            }
            // Not in the byte alphabet: they never match, whatever their bytes are.
            tokens.extend(["日", "é日"].map(str::to_owned));
            tokens.extend(vec![String::new(); unused]);
            (tokens, merges)
        });
    let shuffled = tables.prop_flat_map(|(tokens, merges)| (Just(tokens).prop_shuffle(), Just(merges).prop_shuffle()));
    shuffled.prop_map(|(tokens, merges)| Drawn { tokens, merges })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Holds for any vocabulary, ids and order of merges.
    #[test]
    fn tokens_are_those_of_the_crate(
        drawn in drawn(),
        cut in select(&CUTS[..]),
        texts in vec(vec(select(PARTS), 0..40), 1..4),
    ) {
        let (ours, peer) = (drawn.ours(cut), drawn.peer(cut));
        for text in texts {
            let text = text.concat();
            prop_assert_eq!(ours.encode(&text).unwrap(), peer.encode(&text), "{} {:?}", cut, text);
        }
    }

    #[test]
    fn any_text_is_cut_as_by_the_crate(text in any::<String>(), cut in select(&CUTS[..])) {
        let letters = Drawn { tokens: byte_alphabet().into_keys().map(String::from).collect(), merges: vec![] };
        let ours = letters.ours(cut);
        prop_assert_eq!(ours.words.composed(&text).into_owned(), ours.words.of(&ours.words.composed(&text)).collect::<String>());
        prop_assert_eq!(ours.encode(&text).unwrap(), letters.peer(cut).encode(&text));
    }
}

#[test]
fn of_equal_merges_the_last_counts() {
    let text = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let drawn = Drawn { tokens: text(&["a", "b", "ab", "bb"]), merges: text(&["a b", "b b", "a b"]) };
    assert_eq!(drawn.ours("qwen2").encode("abb").unwrap(), [0, 3]);
    assert_eq!(drawn.peer("qwen2").encode("abb"), [0, 3]);
}

#[test]
fn a_word_of_a_megabyte_is_merged_in_order() {
    let text = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let tokens = text(&["a", "b", "ab", "abab", "aa"]);
    let drawn = Drawn { tokens, merges: text(&["a b", "ab ab", "a a"]) };
    let (ours, peer) = (drawn.ours("qwen2"), drawn.peer("qwen2"));
    for part in ["a", "ab", "aab", "abababa"] {
        let word = part.repeat((1 << 20) / part.len());
        assert!(ours.encode(&word).unwrap() == peer.encode(&word), "{part}");
    }
}
