//! Cuts an answer into speakable pieces while it is still being written.
//!
//! A piece is handed on as soon as its end is certain: an end mark counts once what follows it
//! shows that it was one. The first piece may end at a clause, or behind a "Sure,", so that sound
//! starts early. What is not for the ear is left out on the way: what a model thinks between
//! `<think>` and `</think>`, and fenced code.
//!
//! Where a sentence ends is a matter of the script first: Chinese and Japanese have marks of their
//! own, Thai has spaces instead of marks. In Latin script it is a matter of the language
//! ([`language`]), for its abbreviations and ordinals; which one it is the words of the text itself
//! tell, and what the caller expects.
//!
//! Invariant: nothing is judged by anything but the text before it and some that follows it, so the
//! pieces are the same however the text comes in.

mod language;
mod screen;
mod script;
#[cfg(test)]
mod tests;

use unicode_segmentation::UnicodeSegmentation;

use language::MarkCount;
use screen::StreamFilter;
pub(super) use script::is_spaceless;
use script::{is_ideographic, is_thai};

use super::abbreviations::{Stop, ends_in_day};

/// A first piece may end at a clause mark once it holds so many words, or letters of a script
/// without spaces: about a second of sound, time enough to make the next piece.
const FIRST_PIECE_WORDS: usize = 4;
const FIRST_PIECE_LETTERS: usize = 6;
/// A piece without any end mark is cut at a space near so many bytes, so that the voice need not
/// wait for ever. In scripts of three bytes a letter it lasts about as long as in Latin script.
const LONGEST: usize = 240;
/// How far behind that what follows a mark is looked at, in bytes.
const LOOKAHEAD: usize = 32;

/// Marks that end a sentence wherever they stand, of Chinese and Japanese, and of Hindi, Arabic and
/// Urdu.
const END_MARKS: [char; 9] = ['。', '！', '？', '．', '｡', '；', '।', '؟', '۔'];

/// Marks after which a clause ends, in the first piece: those that a space follows, and those that
/// need none.
const CLAUSE_MARKS: [char; 4] = [',', ';', ':', '—'];
const WIDE_CLAUSE_MARKS: [char; 3] = ['，', '、', '：'];

/// The cutter. Feed it with [`push`](Sentences::push), and [`finish`](Sentences::finish) it.
#[derive(Clone, Debug, Default)]
pub struct Sentences {
    screen: StreamFilter,
    /// Text for the ear that belongs to no piece yet.
    waiting: String,
    /// How much of `waiting` was looked at without finding a certain end.
    seen: usize,
    /// Whether a piece was handed on that lasts until the next is made.
    begun: bool,
    /// What the words before `waiting` say of the language.
    tally: MarkCount,
}

impl Sentences {
    pub fn new() -> Self {
        Self::default()
    }

    /// For an answer that is expected in the language of this two-letter code; should its words say
    /// otherwise, they are believed.
    pub fn expecting(language: &str) -> Self {
        Sentences { tally: MarkCount::expecting(language), ..Self::default() }
    }

    /// Cuts a whole text.
    pub fn cut(text: &str) -> Vec<String> {
        Self::new().cut_all(text)
    }

    /// Cuts a whole text, and nothing follows it.
    pub fn cut_all(mut self, text: &str) -> Vec<String> {
        let mut pieces = self.push(text);
        pieces.extend(self.finish());
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
            self.tally.count(&piece);
            // Cut behind a space, an abbreviation does not end its sentence: "for 5 lbs. | and".
            let inside = piece.ends_with(' ') && self.tally.language().is_english();
            let piece = if inside { piece.trim_end().trim_end_matches('.') } else { &piece };
            pieces.extend(self.speakable(piece));
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

    /// Whether this is a "Sure," in front of the answer proper.
    fn opens(&self, piece: &str) -> bool {
        !self.begun && piece.strip_suffix(',').is_some_and(|words| self.tally.language().opens(words))
    }

    /// A piece with anything to say in it.
    fn speakable(&mut self, piece: &str) -> Option<String> {
        let piece = piece.trim();
        let says_something = piece.chars().any(char::is_alphanumeric);
        self.begun |= says_something && !self.opens(piece);
        says_something.then(|| piece.to_owned())
    }

    /// One past the first end of a piece that nothing to come can change.
    fn certain_end(&mut self) -> Option<usize> {
        let boundary = |least: usize| self.waiting.char_indices().map(|(at, _)| at).find(|at| *at >= least);
        let horizon = boundary(LONGEST + LOOKAHEAD);
        let text = &self.waiting[..horizon.unwrap_or(self.waiting.len())];
        let view = View { text, begun: self.begun, tally: &self.tally };
        for (at, mark) in text[self.seen..].char_indices() {
            let at = self.seen + at;
            if at >= LONGEST {
                break;
            }
            match view.judge(at, mark) {
                Judged::NoEnd => {}
                Judged::End(end) => return Some(end),
                // What follows would tell, but no more is looked at.
                Judged::Unknown if horizon.is_some() => {}
                Judged::Unknown => {
                    self.seen = at;
                    return None;
                }
            }
        }
        if let Some(limit) = boundary(LONGEST) {
            return Some(script::forced_end(&text[..limit], LONGEST / 2));
        }
        self.seen = text.len();
        None
    }
}

/// What is looked at to find an end.
struct View<'a> {
    text: &'a str,
    /// Whether a first piece was handed on before.
    begun: bool,
    tally: &'a MarkCount,
}

/// What a mark in the text is.
#[derive(Debug, PartialEq)]
enum Judged {
    NoEnd,
    /// One past the end of the piece.
    End(usize),
    /// What follows will tell.
    Unknown,
}

impl View<'_> {
    fn judge(&self, at: usize, mark: char) -> Judged {
        let after = at + mark.len_utf8();
        match mark {
            '\n' => Judged::End(after),
            '.' | '!' | '?' | '…' => self.latin_end(at, mark, after),
            ' ' if self.text[..at].ends_with(is_thai) => script::thai_space(self.text, at),
            ' ' if !self.begun => self.joint(at, after),
            _ if END_MARKS.contains(&mark) => self.wide_end(after),
            ',' if !self.begun && self.is_opener(at) => Judged::End(after),
            _ if WIDE_CLAUSE_MARKS.contains(&mark) && !self.begun && self.is_enough(at) => Judged::End(after),
            _ if CLAUSE_MARKS.contains(&mark) && !self.begun => self.clause_end(at, after),
            _ => Judged::NoEnd,
        }
    }

    /// An end mark of Latin script counts when white space follows it (and closing quotes) and it
    /// is no abbreviation's.
    fn latin_end(&self, at: usize, mark: char, after: usize) -> Judged {
        let Judged::End(end) = self.with_closing(after) else { return Judged::Unknown };
        let Some(next) = self.text[end..].chars().next() else { return Judged::Unknown };
        if !next.is_whitespace() {
            return if self.is_wide_end(at, mark, next) { Judged::End(end) } else { Judged::NoEnd };
        }
        if mark != '.' {
            return Judged::End(end);
        }
        // Thai ends no sentence so; it shortens words: พ.ศ., ดร.
        if self.text[..at].ends_with(is_thai) {
            return Judged::NoEnd;
        }
        let language = self.tally.with(&self.text[..at]).language();
        match language.full_stop(&self.text[..at], &self.text[end..]) {
            Stop::Shortens => Judged::NoEnd,
            Stop::Ends => Judged::End(end),
            Stop::Unknown => Judged::Unknown,
        }
    }

    /// A Latin mark among Chinese or Japanese letters, behind which nobody writes a space: 好的!我来。
    fn is_wide_end(&self, at: usize, mark: char, next: char) -> bool {
        let between = is_ideographic(next) && self.text[..at].ends_with(is_ideographic);
        between && matches!(mark, '.' | '!' | '?')
    }

    /// An end mark that ends a sentence wherever it stands, but in a quotation that the sentence
    /// goes on from: 「はい。」と
    fn wide_end(&self, after: usize) -> Judged {
        let Judged::End(end) = self.with_closing(after) else { return Judged::Unknown };
        let quoted = self.text[..end].ends_with(['」', '』']);
        let goes_on = self.text[end..].starts_with(['と', 'っ', '、', '，']);
        if quoted && goes_on { Judged::NoEnd } else { Judged::End(end) }
    }

    /// In the first piece: a clause of enough words, followed by a space, or by the next letter
    /// where none are written. Between a day and its year a comma ends none: "May 5, 2024".
    fn clause_end(&self, at: usize, after: usize) -> Judged {
        if self.text[at..].starts_with(',') && ends_in_day(&self.text[..at]) {
            match self.text[after..].chars().find(|c| !c.is_whitespace()) {
                None => return Judged::Unknown,
                Some(next) if next.is_ascii_digit() => return Judged::NoEnd,
                Some(_) => {}
            }
        }
        match self.text[after..].chars().next() {
            None => Judged::Unknown,
            Some(next) if next.is_whitespace() || is_ideographic(next) => {
                if self.is_enough(at) {
                    Judged::End(after)
                } else {
                    Judged::NoEnd
                }
            }
            Some(_) => Judged::NoEnd,
        }
    }

    /// In the first piece: a space behind enough words and before a word at which a speaker may
    /// draw breath.
    fn joint(&self, at: usize, after: usize) -> Judged {
        if !self.is_enough(at) {
            return Judged::NoEnd;
        }
        let next = &self.text[after..];
        match next.find(|c: char| !c.is_alphabetic()) {
            None => Judged::Unknown,
            // "5 ft. 4 in." is a measure.
            Some(end) if next[end..].starts_with('.') => Judged::NoEnd,
            Some(end) if self.tally.with(&self.text[..at]).language().joints.contains(&&next[..end]) => {
                Judged::End(after)
            }
            Some(_) => Judged::NoEnd,
        }
    }

    /// Whether what stands before `at` opens an answer: no number, so the comma there is certain.
    fn is_opener(&self, at: usize) -> bool {
        self.tally.with(&self.text[..at]).language().opens(&self.text[..at])
    }

    /// Whether there is enough before `at` for a first piece.
    fn is_enough(&self, at: usize) -> bool {
        let of = |word: &str| if word.starts_with(is_spaceless) { word.chars().count() } else { 0 };
        let (words, letters) = self.text[..at].unicode_words().fold((0, 0), |(words, letters), word| match of(word) {
            0 => (words + 1, letters),
            more => (words, letters + more),
        });
        words * FIRST_PIECE_LETTERS + letters * FIRST_PIECE_WORDS >= FIRST_PIECE_WORDS * FIRST_PIECE_LETTERS
    }

    /// One past the quotes and brackets that close behind an end mark, and past more end marks.
    /// Unknown while the text ends there: another one may follow.
    fn with_closing(&self, after: usize) -> Judged {
        let closing =
            |c: char| END_MARKS.contains(&c) || matches!(c, '.' | '!' | '?' | '*' | '_') || script::CLOSING.contains(c);
        let beyond = |from: usize| self.text[from..].find(|c| !closing(c)).map(|at| from + at);
        let Some(end) = beyond(after) else { return Judged::Unknown };
        // French leaves a space before the quote that closes.
        if self.text[..end].matches('«').count() <= self.text[..end].matches('»').count() {
            return Judged::End(end);
        }
        match self.text[end..].find(|c: char| !c.is_whitespace() || c == '\n').map(|at| end + at) {
            None => Judged::Unknown,
            Some(quote) if self.text[quote..].starts_with('»') => beyond(quote).map_or(Judged::Unknown, Judged::End),
            Some(_) => Judged::End(end),
        }
    }
}
