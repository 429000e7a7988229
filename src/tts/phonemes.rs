//! Text to phonemes, by espeak-ng as a program of its own: its licence (GPL-3) keeps it out of this binary.
//!
//! espeak-ng drops punctuation, which shapes the melody of a sentence, so the text is cut into clauses first, all of them
//! go through one run of the program, a line each, and the marks are put back behind them. Most of a run is the start of
//! the program, so the next one is started ahead and waits for its text: 6 ms a sentence instead of 15.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::TtsError;

/// The program answers in about 10 ms; after so long it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of one text: the pieces that reach it are far shorter.
const MAX_TEXT: usize = 16 << 10;
/// The most bytes of phonemes that are read back.
const MAX_PHONEMES: u64 = 1 << 20;

/// espeak-ng, found on the system.
pub struct Phonemiser {
    program: PathBuf,
    /// espeak-ng's name of the voice's language, as in `en-us`.
    language: String,
    /// Started, and waiting for the next text.
    waiting: Option<Run>,
}

/// One run of the program. Dropping it ends it.
struct Run(Child);

/// A clause and the mark that ended it.
#[derive(Debug, PartialEq)]
struct Clause {
    words: String,
    mark: Option<char>,
}

impl Phonemiser {
    /// Finds the program on `PATH`; relative entries do not count, so that no working directory can bring its own.
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
        Ok(Phonemiser { program, language: language.to_owned(), waiting: None })
    }

    /// Starts the program for the next text, while there is time. Should that fail, the next text will say why.
    pub fn prepare(&mut self) {
        self.waiting = self.waiting.take().or_else(|| self.start().ok());
    }

    /// The phonemes of `text` in the alphabet of espeak-ng's IPA, punctuation kept, words parted by spaces.
    pub fn phonemes(&mut self, text: &str) -> Result<String, TtsError> {
        if text.len() > MAX_TEXT {
            return Err(TtsError::TooLong { bytes: text.len(), limit: MAX_TEXT });
        }
        let clauses = clauses(text);
        if clauses.is_empty() {
            return Ok(String::new());
        }
        let lines: Vec<&str> = clauses.iter().map(|clause| clause.words.as_str()).collect();
        let spoken = self.run(&lines.join("\n"))?;
        let mut spoken: Vec<String> = spoken.lines().map(|line| line.trim().to_owned()).collect();
        if spoken.len() != clauses.len() {
            // The program saw an end of a clause where there is none; clause by clause there is no doubt what is whose.
            spoken = lines.iter().map(|line| self.run(line)).collect::<Result<_, _>>()?;
        }
        Ok(join(&clauses, &spoken))
    }

    /// Lets the program that waits speak; one that has died while it waited is replaced.
    fn run(&mut self, text: &str) -> Result<String, TtsError> {
        let ahead = self.waiting.take().and_then(|mut run| run.is_alive().then_some(run));
        let run = ahead.map_or_else(|| self.start(), Ok)?;
        run.answer(text).map_err(|why| self.failed(why))
    }

    fn start(&self) -> Result<Run, TtsError> {
        let child = Command::new(&self.program)
            .args(["-q", "--ipa", "--stdin", "-b", "1", "-v", &self.language])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        child.map(Run).map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, why: String) -> TtsError {
        TtsError::Phonemiser { program: self.program.clone(), language: self.language.clone(), why }
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

/// Writes the text to the program and reads its answer, for as long as [`PATIENCE`] lasts.
fn converse(child: &mut Child, text: &str) -> Result<String, String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no standard streams".to_owned());
    };
    // Shorter than a pipe's buffer, so this does not wait for the program to read.
    input.write_all(text.as_bytes()).and_then(|()| input.write_all(b"\n")).map_err(|error| error.to_string())?;
    drop(input);
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = output.take(MAX_PHONEMES).read_to_string(&mut answer);
        let _given_up = send.send(read.map(|_| answer));
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Cuts at the marks that shape the melody. What espeak-ng would take for commands (`[[`) is left out.
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
    }
    take(&mut words, None);
    clauses
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
        let mut phonemiser = Phonemiser::find("en-us").unwrap();
        assert_eq!(phonemiser.phonemes("Hello, world!").unwrap(), "həlˈoʊ, wˈɜːld!");
        assert_eq!(phonemiser.phonemes("").unwrap(), "");
        // Options are read from the command line alone.
        let harmless = phonemiser.phonemes("--version").unwrap();
        assert!(harmless.contains("vˈɜːʒən"), "{harmless}");
        // espeak-ng cuts this one itself; the clauses still belong together.
        let cut = phonemiser.phonemes("He said (quietly) that it works, well.").unwrap();
        assert_eq!(cut.matches(',').count(), 1, "{cut}");
    }

    #[test]
    fn a_program_started_ahead_says_the_same_and_may_have_died() {
        let mut phonemiser = Phonemiser::find("en-us").unwrap();
        let plain = phonemiser.phonemes("Good morning.").unwrap();
        phonemiser.prepare();
        phonemiser.prepare();
        assert_eq!(phonemiser.phonemes("Good morning.").unwrap(), plain);
        phonemiser.prepare();
        let run = phonemiser.waiting.as_mut().unwrap();
        run.0.kill().unwrap();
        run.0.wait().unwrap();
        assert_eq!(phonemiser.phonemes("Good morning.").unwrap(), plain);
    }

    #[test]
    fn a_language_cannot_be_an_option() {
        for language in ["", "-x", "en us", "en;rm", "../en"] {
            assert!(Phonemiser::find(language).is_err(), "{language:?}");
        }
        assert!(Phonemiser::find("xx-none").unwrap().phonemes("hello").is_err());
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let error = Phonemiser::find("en-us").unwrap().phonemes(&"a ".repeat(MAX_TEXT)).unwrap_err();
        assert!(error.to_string().contains("16384"), "{error}");
    }
}
