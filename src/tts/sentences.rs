//! Cuts an answer into speakable pieces while it is still being written.
//!
//! A piece is handed on as soon as its end is certain: an end mark counts once what follows it shows that it was one.
//! The first piece may end at a clause, so that sound starts early. What is not for the ear is left out on the way: what
//! a model thinks between `<think>` and `</think>`, and fenced code.

use unicode_segmentation::UnicodeSegmentation;

/// A first piece may end at a clause mark once it holds so many words: about a second of sound, time enough to make the
/// next piece.
const FIRST_PIECE_WORDS: usize = 4;
/// A piece without any end mark is cut at a space near so many bytes, so that the voice need not wait for ever.
const LONGEST: usize = 240;

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 32] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "approx", "no", "fig", "inc", "ltd",
    "co", "corp", "dept", "est", "min", "max", "gen", "col", "sgt", "capt", "lt", "mt", "ph.d", "a.m", "p.m",
];

/// Marks after which a clause ends, in the first piece.
const CLAUSE_MARKS: [char; 4] = [',', ';', ':', '—'];

/// Words before which a speaker may draw breath: the first piece may end there too. Without them a model that writes
/// long sentences keeps the listener waiting (measured: 740 ms from the first token to the first piece, at the median).
const JOINTS: [&str; 17] = [
    "and", "but", "or", "because", "which", "who", "that", "when", "where", "while", "with", "for", "from", "to", "in",
    "on", "by",
];

/// The cutter. Feed it with [`push`](Sentences::push), and [`finish`](Sentences::finish) it.
#[derive(Clone, Debug, Default)]
pub struct Sentences {
    screen: Screen,
    /// Text for the ear that belongs to no piece yet.
    waiting: String,
    /// How much of `waiting` was looked at without finding a certain end.
    seen: usize,
    begun: bool,
}

impl Sentences {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts a whole text.
    pub fn cut(text: &str) -> Vec<String> {
        let mut sentences = Sentences::new();
        let mut pieces = sentences.push(text);
        pieces.extend(sentences.finish());
        pieces
    }

    /// Takes the next piece of the answer and gives back the sentences that are certain now.
    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.screen.pass(text, &mut self.waiting);
        let mut pieces = Vec::new();
        while let Some(end) = self.certain_end() {
            let rest = self.waiting.split_off(end);
            let piece = std::mem::replace(&mut self.waiting, rest);
            self.seen = 0;
            pieces.extend(self.speakable(&piece));
        }
        pieces
    }

    /// The answer is over: what is left is the last piece.
    pub fn finish(&mut self) -> Option<String> {
        self.screen.finish(&mut self.waiting);
        let piece = std::mem::take(&mut self.waiting);
        self.seen = 0;
        self.speakable(&piece)
    }

    /// A piece with anything to say in it.
    fn speakable(&mut self, piece: &str) -> Option<String> {
        let piece = piece.trim();
        let says_something = piece.chars().any(char::is_alphanumeric);
        self.begun |= says_something;
        says_something.then(|| piece.to_owned())
    }

    /// One past the first end of a piece that nothing to come can change.
    fn certain_end(&mut self) -> Option<usize> {
        let from = self.seen;
        for (at, mark) in self.waiting[from..].char_indices() {
            let at = from + at;
            if at >= LONGEST {
                return self.forced_end();
            }
            match self.judge(at, mark) {
                Judged::NoEnd => {}
                Judged::End(end) => return Some(end),
                Judged::Unknown => {
                    self.seen = at;
                    return self.forced_end();
                }
            }
        }
        self.seen = self.waiting.len();
        self.forced_end()
    }

    fn judge(&self, at: usize, mark: char) -> Judged {
        let after = at + mark.len_utf8();
        match mark {
            '\n' => Judged::End(after),
            // These end a sentence wherever they stand; closing quotes still belong to it.
            '。' | '！' | '？' | '．' | '｡' => self.with_closing(after),
            '.' | '!' | '?' | '…' => self.latin_end(at, mark, after),
            _ if CLAUSE_MARKS.contains(&mark) && !self.begun => self.clause_end(at, after),
            ' ' if !self.begun => self.joint(at, after),
            _ => Judged::NoEnd,
        }
    }

    /// An end mark counts when white space follows it (and closing quotes) and it is no abbreviation's.
    fn latin_end(&self, at: usize, mark: char, after: usize) -> Judged {
        let Judged::End(end) = self.with_closing(after) else { return Judged::Unknown };
        let Some(next) = self.waiting[end..].chars().next() else { return Judged::Unknown };
        if !next.is_whitespace() {
            return Judged::NoEnd;
        }
        if mark != '.' {
            return Judged::End(end);
        }
        let word = last_word(&self.waiting[..at]);
        if !ends_a_sentence(word, &self.waiting[..at]) {
            return Judged::NoEnd;
        }
        if !word.contains('.') {
            return Judged::End(end);
        }
        // "U.S. troops": after letters with full stops between them a small letter goes on.
        match self.waiting[end..].chars().find(|c| !c.is_whitespace()) {
            None => Judged::Unknown,
            Some(next) if next.is_lowercase() => Judged::NoEnd,
            Some(_) => Judged::End(end),
        }
    }

    /// In the first piece: a clause of enough words, followed by a space.
    fn clause_end(&self, at: usize, after: usize) -> Judged {
        match self.waiting[after..].chars().next() {
            None => Judged::Unknown,
            Some(next) if next.is_whitespace() => {
                let words = self.waiting[..at].unicode_words().count();
                if words >= FIRST_PIECE_WORDS { Judged::End(after) } else { Judged::NoEnd }
            }
            Some(_) => Judged::NoEnd,
        }
    }

    /// In the first piece: a space behind enough words and before a joint.
    fn joint(&self, at: usize, after: usize) -> Judged {
        if self.waiting[..at].unicode_words().count() < FIRST_PIECE_WORDS {
            return Judged::NoEnd;
        }
        let next = &self.waiting[after..];
        match next.find(|c: char| !c.is_alphabetic()) {
            None => Judged::Unknown,
            Some(end) if JOINTS.contains(&&next[..end]) => Judged::End(after),
            Some(_) => Judged::NoEnd,
        }
    }

    /// One past the quotes and brackets that close behind an end mark, and past more end marks. Unknown while the text
    /// ends there: another one may follow.
    fn with_closing(&self, after: usize) -> Judged {
        let closing = |c: char| {
            matches!(
                c,
                '"' | '\''
                    | '”'
                    | '’'
                    | ')'
                    | ']'
                    | '»'
                    | '」'
                    | '』'
                    | '.'
                    | '!'
                    | '?'
                    | '*'
                    | '_'
                    | '。'
                    | '！'
                    | '？'
            )
        };
        match self.waiting[after..].char_indices().find(|(_, c)| !closing(*c)) {
            Some((beyond, _)) => Judged::End(after + beyond),
            None => Judged::Unknown,
        }
    }

    /// Where a text that goes on and on without an end is cut: at the last space before [`LONGEST`].
    fn forced_end(&self) -> Option<usize> {
        let limit = self.waiting.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST)?;
        let space = self.waiting[..limit].rfind(char::is_whitespace).filter(|at| *at > LONGEST / 2);
        Some(space.unwrap_or(limit))
    }
}

/// What a mark in the text is.
enum Judged {
    NoEnd,
    /// One past the end of the piece.
    End(usize),
    /// What follows will tell.
    Unknown,
}

fn last_word(before: &str) -> &str {
    before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '“' | '\'')).next().unwrap_or("")
}

/// Whether a full stop behind `word` ends a sentence.
fn ends_a_sentence(word: &str, before: &str) -> bool {
    let plain = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '.').to_lowercase();
    let initial = plain.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    // "1." at the start of a line is a list's number.
    let numbers_a_list = !plain.is_empty()
        && plain.chars().all(|c| c.is_ascii_digit())
        && before[..before.len() - word.len()]
            .trim_end_matches([' ', '\t'])
            .chars()
            .next_back()
            .is_none_or(|c| c == '\n');
    !(initial || numbers_a_list || ABBREVIATIONS.contains(&plain.as_str()))
}

/// Lets through what is for the ear.
#[derive(Clone, Debug, Default)]
struct Screen {
    hiding: Option<&'static str>,
    /// The beginning of what may become a marker.
    held: String,
}

/// What begins a stretch that is not spoken, and what ends it.
const HIDDEN: [(&str, &str); 2] = [("<think>", "</think>"), ("```", "```")];

impl Screen {
    fn pass(&mut self, text: &str, out: &mut String) {
        self.held.push_str(text);
        while let Some(done) = self.step(out) {
            self.held.drain(..done);
        }
    }

    /// Handles what is certain at the start of `held` and says how much of it that was; `None` when it needs more.
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
            // A hidden stretch parts what stands around it.
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

    fn finish(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        if self.hiding.take().is_none() {
            out.push_str(&held);
        }
    }
}

/// How many bytes at the end of `text` may be the beginning of a marker.
fn longest_beginning(text: &str, markers: &[&str]) -> usize {
    let begins =
        |length: &usize| markers.iter().any(|marker| *length < marker.len() && text.ends_with(&marker[..*length]));
    let longest = markers.iter().map(|marker| marker.len()).max().unwrap_or(0);
    (1..longest).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_are_cut_where_they_end() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("Hello", &["Hello"]),
            ("Paris. It is big.", &["Paris.", "It is big."]),
            ("Dr. Smith met Mr. Jones. They left.", &["Dr. Smith met Mr. Jones.", "They left."]),
            ("Pi is 3.14 or so. Yes!", &["Pi is 3.14 or so.", "Yes!"]),
            ("See example.com for more. Bye.", &["See example.com for more.", "Bye."]),
            ("He said \"Stop!\" Then he left.", &["He said \"Stop!\"", "Then he left."]),
            ("Fruit, e.g. apples, is good. Eat it.", &["Fruit, e.g. apples, is good.", "Eat it."]),
            (
                "J. R. Tolkien wrote it. I did. So did I. Good.",
                &["J. R. Tolkien wrote it.", "I did.", "So did I.", "Good."],
            ),
            ("Wait... what? No!", &["Wait...", "what?", "No!"]),
            ("First:\n1. Wake up.\n2. Go.", &["First:", "1. Wake up.", "2. Go."]),
            ("The capital of France is Paris, and it is old.", &["The capital of France is Paris,", "and it is old."]),
            ("Yes, it is, as far as I know.", &["Yes, it is, as far as I know."]),
            ("It is a small town in the north of Italy.", &["It is a small town", "in the north of Italy."]),
            ("你好。今天好吗？好！", &["你好。", "今天好吗？", "好！"]),
            ("<think>Hmm. Let me see.</think>Four.", &["Four."]),
            ("Try this:\n```rust\nfn main() {}\n```\nIt works.", &["Try this:", "It works."]),
            ("😀 🎉", &[]),
            ("a < b and b <thin", &["a < b and b <thin"]),
        ];
        for (text, pieces) in table {
            assert_eq!(Sentences::cut(text), *pieces, "{text:?}");
        }
    }

    #[test]
    fn a_sentence_is_handed_on_as_soon_as_it_is_certain() {
        let mut sentences = Sentences::new();
        assert!(sentences.push("It is Paris.").is_empty(), "a quote may follow");
        assert_eq!(sentences.push(" "), ["It is Paris."]);
        assert!(sentences.push("In the U.S. ").is_empty(), "a small letter may follow");
        assert_eq!(sentences.push("It"), ["In the U.S."]);
        assert_eq!(sentences.finish().as_deref(), Some("It"));
        assert_eq!(sentences.finish(), None);
    }

    #[test]
    fn an_endless_text_is_cut_at_spaces() {
        let text = "word ".repeat(200);
        let pieces = Sentences::cut(&text);
        assert!(pieces.len() >= 4 && pieces.iter().all(|piece| piece.len() <= LONGEST), "{pieces:?}");
        assert_eq!(pieces.join(" "), text.trim());
        assert!(Sentences::cut(&"x".repeat(2000)).iter().all(|piece| piece.len() <= LONGEST));
    }

    fn squeezed(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_pieces(text in "[a-zA-Z0-9 .,!?\"')\n<`。ü]{0,300}", at in 0usize..300) {
            let mut sentences = Sentences::new();
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let mut pieces = sentences.push(&text[..at]);
            pieces.extend(sentences.push(&text[at..]));
            pieces.extend(sentences.finish());
            prop_assert_eq!(pieces, Sentences::cut(&text));
        }

        #[test]
        fn no_letter_is_lost(text in "[a-zA-Z0-9 .,!?\"')\n。ü]{0,600}") {
            let spoken = squeezed(&Sentences::cut(&text).concat());
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&spoken), letters(&text));
        }
    }
}
