//! Sentence splitter: cuts an answer into speakable pieces while it is still being written.
//!
//! A piece is returned as soon as its end is certain: an end mark counts once the text after it
//! shows that it was one. The first piece may end at a clause, or after a "Sure,", so that sound
//! starts early. Text that is not to be spoken is left out: a model's reasoning between `<think>`
//! and `</think>`, and fenced code.
//!
//! The end of a sentence depends on the script first: Chinese and Japanese have marks of their own,
//! Thai has spaces instead of marks. In Latin script it depends on the language ([`language`]),
//! because of its abbreviations and ordinals; the language is determined by the words of the text
//! and by the caller's expectation.
//!
//! Invariant: each decision depends only on the text before it and some text after it, so the
//! pieces do not depend on how the text is divided into pushes.

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

/// Words, or letters of a script without spaces, from which a first piece may end at a clause mark:
/// about a second of sound, time enough to make the next piece.
const FIRST_PIECE_WORDS: usize = 4;
const FIRST_PIECE_LETTERS: usize = 6;
/// Length in bytes near which a piece without any end mark is cut at a space, so that the voice
/// does not wait for ever. In scripts of three bytes a letter it lasts about as long as in Latin
/// script.
const LONGEST: usize = 240;
/// Number of bytes examined after a mark.
const LOOKAHEAD: usize = 32;

/// End marks that end a sentence wherever they stand, in Chinese and Japanese, and in Hindi, Arabic
/// and Urdu.
const END_MARKS: [char; 9] = ['。', '！', '？', '．', '｡', '；', '।', '؟', '۔'];

/// Marks after which a clause ends, in the first piece: those that a space follows, and those that
/// need none.
const CLAUSE_MARKS: [char; 4] = [',', ';', ':', '—'];
const WIDE_CLAUSE_MARKS: [char; 3] = ['，', '、', '：'];

/// Sentence splitter. Call [`push`](Sentences::push) with text, and [`finish`](Sentences::finish)
/// at the end.
#[derive(Clone, Debug, Default)]
pub struct Sentences {
    screen: StreamFilter,
    /// Text to be spoken that belongs to no piece yet.
    waiting: String,
    /// Number of bytes of `waiting` examined without finding a certain end.
    seen: usize,
    /// Whether a piece was returned whose sound lasts until the next is made.
    begun: bool,
    /// Language of the words before `waiting`.
    tally: MarkCount,
}

impl Sentences {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a splitter for an answer that is expected in the language of this two-letter code; if
    /// its words are of another language, they decide.
    pub fn expecting(language: &str) -> Self {
        Sentences { tally: MarkCount::expecting(language), ..Self::default() }
    }

    /// Cuts a whole text.
    pub fn cut(text: &str) -> Vec<String> {
        Self::new().cut_all(text)
    }

    /// Cuts a whole text, after which nothing follows.
    pub fn cut_all(mut self, text: &str) -> Vec<String> {
        let mut pieces = self.push(text);
        pieces.extend(self.finish());
        pieces
    }

    /// Takes the next part of the answer and returns the sentences that are certain now.
    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.screen.pass(text, &mut self.waiting);
        let mut pieces = Vec::new();
        while let Some(end) = self.certain_end() {
            let rest = self.waiting.split_off(end);
            let piece = std::mem::replace(&mut self.waiting, rest);
            self.seen = 0;
            self.tally.count(&piece);
            // An abbreviation before a cut at a space does not end its sentence: "for 5 lbs. |
            // and".
            let inside = piece.ends_with(' ') && self.tally.language().is_english();
            let piece = if inside { piece.trim_end().trim_end_matches('.') } else { &piece };
            pieces.extend(self.speakable(piece));
        }
        pieces
    }

    /// Ends the answer, and returns the rest as the last piece.
    pub fn finish(&mut self) -> Option<String> {
        self.screen.finish(&mut self.waiting);
        let piece = std::mem::take(&mut self.waiting);
        self.seen = 0;
        self.speakable(&piece)
    }

    /// Whether this is an opener such as "Sure," in front of the answer proper.
    fn opens(&self, piece: &str) -> bool {
        !self.begun && piece.strip_suffix(',').is_some_and(|words| self.tally.language().opens(words))
    }

    /// Returns a piece if it has anything to say.
    fn speakable(&mut self, piece: &str) -> Option<String> {
        let piece = piece.trim();
        let says_something = piece.chars().any(char::is_alphanumeric);
        self.begun |= says_something && !self.opens(piece);
        says_something.then(|| piece.to_owned())
    }

    /// Position after the first end of a piece that no further text can change.
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
                // Later text would decide, but no more of it is examined.
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

/// Text examined for an end.
struct View<'a> {
    text: &'a str,
    /// Whether a first piece was returned before.
    begun: bool,
    tally: &'a MarkCount,
}

/// Judgement of a mark in the text.
#[derive(Debug, PartialEq)]
enum Judged {
    NoEnd,
    /// End of the piece, with the position after it.
    End(usize),
    /// The following text will decide.
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

    /// Judges an end mark of Latin script, which counts when white space follows it (and closing
    /// quotes) and it is not that of an abbreviation.
    fn latin_end(&self, at: usize, mark: char, after: usize) -> Judged {
        let Judged::End(end) = self.with_closing(after) else { return Judged::Unknown };
        let Some(next) = self.text[end..].chars().next() else { return Judged::Unknown };
        if !next.is_whitespace() {
            return if self.is_wide_end(at, mark, next) { Judged::End(end) } else { Judged::NoEnd };
        }
        if mark != '.' {
            return Judged::End(end);
        }
        // Thai ends no sentence with a full stop; it marks abbreviations: พ.ศ., ดร.
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

    /// Whether a Latin mark stands among Chinese or Japanese letters, where no space follows it:
    /// 好的!我来。
    fn is_wide_end(&self, at: usize, mark: char, next: char) -> bool {
        let between = is_ideographic(next) && self.text[..at].ends_with(is_ideographic);
        between && matches!(mark, '.' | '!' | '?')
    }

    /// Judges an end mark that ends a sentence wherever it stands, except in a quotation after
    /// which the sentence continues: 「はい。」と
    fn wide_end(&self, after: usize) -> Judged {
        let Judged::End(end) = self.with_closing(after) else { return Judged::Unknown };
        let quoted = self.text[..end].ends_with(['」', '』']);
        let goes_on = self.text[end..].starts_with(['と', 'っ', '、', '，']);
        if quoted && goes_on { Judged::NoEnd } else { Judged::End(end) }
    }

    /// Judges a clause mark in the first piece: after enough words, and followed by a space, or by
    /// the next letter in scripts without spaces. Between a day and its year a comma ends none:
    /// "May 5, 2024".
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

    /// Judges a space in the first piece: after enough words and before a word at which a person
    /// may take a breath.
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

    /// Whether the text before `at` opens an answer. It holds no number, so the comma there is
    /// certain.
    fn is_opener(&self, at: usize) -> bool {
        self.tally.with(&self.text[..at]).language().opens(&self.text[..at])
    }

    /// Whether the text before `at` is long enough for a first piece.
    fn is_enough(&self, at: usize) -> bool {
        let of = |word: &str| if word.starts_with(is_spaceless) { word.chars().count() } else { 0 };
        let (words, letters) = self.text[..at].unicode_words().fold((0, 0), |(words, letters), word| match of(word) {
            0 => (words + 1, letters),
            more => (words, letters + more),
        });
        words * FIRST_PIECE_LETTERS + letters * FIRST_PIECE_WORDS >= FIRST_PIECE_WORDS * FIRST_PIECE_LETTERS
    }

    /// Position after the closing quotes and brackets, and the further end marks, that follow an
    /// end mark. Unknown while the text ends there: another one may follow.
    fn with_closing(&self, after: usize) -> Judged {
        let closing =
            |c: char| END_MARKS.contains(&c) || matches!(c, '.' | '!' | '?' | '*' | '_') || script::CLOSING.contains(c);
        let beyond = |from: usize| self.text[from..].find(|c| !closing(c)).map(|at| from + at);
        let Some(end) = beyond(after) else { return Judged::Unknown };
        // French leaves a space before a closing quote.
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
