//! Conversion of text to phonemes by espeak-ng, run as a separate program: its licence (GPL-3)
//! keeps it out of this binary.
//!
//! espeak-ng drops punctuation, which shapes the melody of a sentence. So the text is cut into
//! clauses, and the marks are put back after their phonemes. All clauses go through one run of the
//! program, which reads its standard input line by line (with `--stdin` it would join the lines).
//! Each clause is followed by an empty line, which comes back as one: it separates the clauses even
//! where the program breaks one into several lines.
//!
//! Most of a run is the start of the program, so the next run is started ahead and waits for its
//! text.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::TtsError;

/// Time after which the program has hung; it answers in about 10 ms.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest text in bytes: real pieces are far shorter.
const MAX_TEXT: usize = 16 << 10;
/// Longest line in bytes: the program reads lines of up to 1000, and cuts longer ones anywhere.
const MAX_LINE: usize = 600;
/// Most bytes of phonemes that are read back.
const MAX_PHONEMES: u64 = 1 << 20;
/// Letter A in espeak-ng's own phonemes: the plain word is read as the article.
const LETTER_A: &str = "[['eI]]";

/// Phonemizer that runs the system's espeak-ng.
pub struct Phonemizer {
    program: PathBuf,
    /// Name of the voice's language in espeak-ng, such as `en-us`.
    language: String,
    /// Run that was started and waits for the next text.
    waiting: Option<Run>,
}

/// One run of the program. Dropping it ends the program.
struct Run(Child);

/// Clause, and the mark that ended it.
#[derive(Debug, PartialEq)]
struct Clause {
    words: String,
    mark: Option<char>,
}

impl Phonemizer {
    /// Finds the program on `PATH`. Relative entries are ignored, so that a working directory
    /// cannot bring its own.
    pub fn find(language: &str) -> Result<Self, TtsError> {
        let known = language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !known || language.starts_with('-') || language.is_empty() {
            return Err(TtsError::Language { language: language.to_owned() });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("espeak-ng"))
            .find(|program| program.is_file())
            .ok_or(TtsError::NoPhonemiser)?;
        Ok(Phonemizer { program, language: language.to_owned(), waiting: None })
    }

    /// Starts the program for the next text, while there is time. If that fails, the next text
    /// returns the error.
    pub fn prepare(&mut self) {
        self.waiting = self.waiting.take().or_else(|| self.start().ok());
    }

    /// Phonemes of `text` in espeak-ng's IPA alphabet, with punctuation, words separated by spaces.
    pub fn phonemes(&mut self, text: &str) -> Result<String, TtsError> {
        if text.len() > MAX_TEXT {
            return Err(TtsError::TooLong { bytes: text.len(), limit: MAX_TEXT });
        }
        let clauses = clauses(text);
        if clauses.is_empty() {
            return Ok(String::new());
        }
        let english = self.language.starts_with("en");
        let line = |clause: &Clause| if english { with_letter_a(&clause.words) } else { clause.words.clone() };
        let lines: String = clauses.iter().map(|clause| line(clause) + "\n\n").collect();
        let answer = without_language_names(&self.run(&lines)?);
        Ok(match grouped(&answer, clauses.len()) {
            Some(spoken) => join(&clauses, &spoken),
            // A program with another kind of output still returned every word; only the marks
            // inside are lost.
            None => join(&clauses[clauses.len() - 1..], &[answer]),
        })
    }

    /// Gives `text` to the waiting program; one that has died meanwhile is replaced.
    fn run(&mut self, text: &str) -> Result<String, TtsError> {
        let ahead = self.waiting.take().and_then(|mut run| run.is_alive().then_some(run));
        let run = ahead.map_or_else(|| self.start(), Ok)?;
        run.answer(text).map_err(|why| self.failed(why))
    }

    fn start(&self) -> Result<Run, TtsError> {
        let child = Command::new(&self.program)
            .args(["-q", "--ipa", "-b", "1", "-v", &self.language])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        child.map(Run).map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, why: String) -> TtsError {
        TtsError::Phonemizer { program: self.program.clone(), language: self.language.clone(), why }
    }
}

impl Run {
    fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    fn answer(mut self, text: &str) -> Result<String, String> {
        let answer = converse(&mut self.0, text)?;
        match self.0.wait() {
            Ok(status) if status.success() => Ok(answer),
            Ok(status) => Err(format!("it ended with {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

/// Writes the text to the program and reads its output, for at most [`PATIENCE`].
fn converse(child: &mut Child, text: &str) -> Result<String, String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no standard streams".to_owned());
    };
    let text = text.to_owned();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let written = input.write_all(text.as_bytes());
        drop(input);
        let read = written.and_then(|()| output.take(MAX_PHONEMES).read_to_string(&mut answer));
        let _given_up = send.send(read.map(|_| answer));
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Cuts at the marks that shape the melody, and at spaces where a line would grow too long.
/// Commands of espeak-ng (`[[`) are removed.
fn clauses(text: &str) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let mut words = String::new();
    let mut take = |words: &mut String, mark| {
        let said = std::mem::take(words).split_whitespace().collect::<Vec<_>>().join(" ");
        if said.chars().any(char::is_alphanumeric) {
            clauses.push(Clause { words: said, mark });
        }
    };
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let parts = characters.peek().is_none_or(|next| next.is_whitespace());
        match c {
            ',' | ';' | ':' | '.' | '!' | '?' if parts => take(&mut words, Some(c)),
            '—' | '–' => take(&mut words, Some(',')),
            '。' | '．' | '।' => take(&mut words, Some('.')),
            '！' => take(&mut words, Some('!')),
            '？' => take(&mut words, Some('?')),
            '，' | '、' | '；' | '：' => take(&mut words, Some(',')),
            '[' | ']' | '\n' | '\r' | '\0' => words.push(' '),
            _ => words.push(c),
        }
        if words.len() > MAX_LINE / 2 && words.ends_with(' ') || words.len() > MAX_LINE - c.len_utf8() {
            take(&mut words, None);
        }
    }
    take(&mut words, None);
    clauses
}

/// Lines of each of `count` clauses, joined; `None` if the program returned another number of
/// groups.
fn grouped(answer: &str, count: usize) -> Option<Vec<String>> {
    let mut lines = answer.lines().map(str::trim);
    let mut clause = || {
        // The first line may be empty itself: for a clause without phonemes.
        let lines = lines.by_ref().enumerate().take_while(|(n, line)| *n == 0 || !line.is_empty());
        lines.map(|(_, line)| line).collect::<Vec<_>>().join(" ")
    };
    let groups = (0..count).map(|_| clause()).collect();
    lines.next().is_none().then_some(groups)
}

/// Removes the names of languages with which espeak-ng marks foreign words, as in `(en)həlˈəʊ(de)`.
fn without_language_names(phonemes: &str) -> String {
    let mut kept = String::with_capacity(phonemes.len());
    let mut rest = phonemes;
    while let Some((before, after)) = rest.split_once('(') {
        kept.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

/// Marks each A that is a letter's name and not the article: it stands among other single letters
/// ("nine a m"), or has a capital inside a clause ("vitamin A").
fn with_letter_a(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let single = |at: Option<usize>| at.and_then(|at| words.get(at)).is_some_and(|word| is_letter(word));
    let said = words.iter().enumerate().map(|(at, word)| {
        let next = words.get(at + 1).copied().unwrap_or_default();
        let among = single(Some(at + 1)) && (next.starts_with(char::is_lowercase) || single(Some(at + 2)));
        let letter = match *word {
            "a" => among || (single(at.checked_sub(1)) && single(at.checked_sub(2))),
            "A" => among || (at > 0 && (single(Some(at + 1)) || !next.starts_with(char::is_uppercase))),
            _ => false,
        };
        if letter { LETTER_A } else { word }
    });
    said.collect::<Vec<_>>().join(" ")
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && word != "I" && word.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn join(clauses: &[Clause], spoken: &[String]) -> String {
    let mut phonemes = String::new();
    for (clause, spoken) in clauses.iter().zip(spoken) {
        if !phonemes.is_empty() {
            phonemes.push(' ');
        }
        phonemes.push_str(&spoken.split_whitespace().collect::<Vec<_>>().join(" "));
        phonemes.extend(clause.mark);
    }
    phonemes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_keep_their_marks() {
        let clause = |words: &str, mark| Clause { words: words.to_owned(), mark };
        assert_eq!(
            clauses("Well, it is  3.5 metres: big!"),
            [clause("Well", Some(',')), clause("it is 3.5 metres", Some(':')), clause("big", Some('!'))]
        );
        assert_eq!(clauses("[[h@l'oU]] there"), [clause("h@l'oU there", None)]);
        assert_eq!(clauses("... !"), []);
        assert_eq!(
            clauses("你好，世界！好吗？好。"),
            [clause("你好", Some(',')), clause("世界", Some('!')), clause("好吗", Some('?')), clause("好", Some('.'))]
        );
    }

    #[test]
    fn a_text_becomes_phonemes_and_can_command_nothing() {
        let mut phonemizer = Phonemizer::find("en-us").unwrap();
        assert_eq!(phonemizer.phonemes("Hello, world!").unwrap(), "həlˈoʊ, wˈɜːld!");
        assert_eq!(phonemizer.phonemes("").unwrap(), "");
        // Options are read only from the command line.
        let harmless = phonemizer.phonemes("--version").unwrap();
        assert!(harmless.contains("vˈɜːʒən"), "{harmless}");
        // espeak-ng cuts this one itself; the clauses still belong together.
        let cut = phonemizer.phonemes("He said (quietly) that – it … works, well.").unwrap();
        assert_eq!(cut.matches(',').count(), 2, "{cut}");
        // The middle clause has no phonemes.
        assert_eq!(phonemizer.phonemes("Yes, \u{16a0}, no.").unwrap().matches(',').count(), 2);
        let long = phonemizer.phonemes(&"very ".repeat(1000)).unwrap();
        assert_eq!(long.matches("vˈɛɹi").count(), 1000);
        assert!(phonemizer.phonemes(&"é".repeat(3000)).is_ok());
    }

    #[test]
    fn a_sentence_of_many_clauses_takes_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut phonemizer = counting(folder.path());
        let runs = || std::fs::read_to_string(folder.path().join("runs")).unwrap_or_default().lines().count();
        let many = "Well, it is late, so go home, eat (slowly), and sleep. Good night!";
        for text in [many, "It is late. Go home. Sleep well.", "One word"] {
            let before = runs();
            phonemizer.phonemes(text).unwrap();
            assert_eq!(runs() - before, 1, "{text}");
        }
    }

    /// Phonemizer whose program writes a line into the file "runs" of `folder` at each start.
    fn counting(folder: &std::path::Path) -> Phonemizer {
        use std::os::unix::fs::PermissionsExt;
        let mut phonemizer = Phonemizer::find("en-us").unwrap();
        let script = folder.join("espeak-ng");
        let (runs, program) = (folder.join("runs"), phonemizer.program.display());
        let text = format!("#!/bin/sh\necho >> '{}'\nexec '{program}' \"$@\"\n", runs.display());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        phonemizer.program = script;
        phonemizer
    }

    #[test]
    fn answers_are_parted_at_empty_lines() {
        let parted = |answer, count| grouped(answer, count).map(|groups| groups.join("|"));
        for (answer, count, groups) in [
            ("a\n\nb\nc\n\n", 2, Some("a|b c")),
            ("a\n\n\n\nc\n\n", 3, Some("a||c")),
            ("a\n\nb\n\n", 1, None),
            ("", 1, Some("")),
        ] {
            assert_eq!(parted(answer, count).as_deref(), groups, "{answer:?}");
        }
        assert_eq!(without_language_names("(en)həlˈəʊ(ru) mʲˈir (x"), "həlˈəʊ mʲˈir ");
    }

    #[test]
    fn letter_a_is_told_from_the_article() {
        for (words, marked) in [
            ("at ten a m sharp", "at ten * m sharp"),
            ("a k a Bob", "* k * Bob"),
            ("the U S A is", "the U S * is"),
            ("vitamin A and a dog", "vitamin * and a dog"),
            ("A B C", "* B C"),
            ("A dog", "A dog"),
            ("a T shirt", "a T shirt"),
            ("How To Bake A Cake", "How To Bake A Cake"),
        ] {
            assert_eq!(with_letter_a(words).replace(LETTER_A, "*"), marked);
        }
    }

    #[test]
    fn a_program_started_ahead_says_the_same_and_may_have_died() {
        let mut phonemizer = Phonemizer::find("en-us").unwrap();
        let plain = phonemizer.phonemes("Good morning.").unwrap();
        phonemizer.prepare();
        phonemizer.prepare();
        assert_eq!(phonemizer.phonemes("Good morning.").unwrap(), plain);
        phonemizer.prepare();
        let run = phonemizer.waiting.as_mut().unwrap();
        run.0.kill().unwrap();
        run.0.wait().unwrap();
        assert_eq!(phonemizer.phonemes("Good morning.").unwrap(), plain);
    }

    #[test]
    fn a_language_cannot_be_an_option() {
        for language in ["", "-x", "en us", "en;rm", "../en"] {
            assert!(Phonemizer::find(language).is_err(), "{language:?}");
        }
        assert!(Phonemizer::find("xx-none").unwrap().phonemes("hello").is_err());
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let error = Phonemizer::find("en-us").unwrap().phonemes(&"a ".repeat(MAX_TEXT)).unwrap_err();
        assert!(error.to_string().contains("16384"), "{error}");
    }
}
