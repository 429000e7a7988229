//! `sotto chat`: talks to the language model alone, with one prompt or line by line.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::bail;
use serde_json::json;

use super::context::AppContext;
use super::{Usage, args};
use crate::engine::Result;
use crate::llm::{Chat, ChatDelta, ChatMessage, ChatReply, LlmError, SamplingOptions};
use crate::store::progress::say;
use crate::types::Bytes;

/// Longest line that is read. Hardly any context holds as much text.
const LONGEST_LINE: Bytes = Bytes::mib(1);

pub fn run(args: &args::ChatArgs, context: &AppContext) -> Result<()> {
    let Some(prompt) = &args.prompt else { return converse(&mut Session::new(args, context)?) };
    if prompt.trim().is_empty() {
        return Err(Usage("the question is blank".to_owned()).into());
    }
    let mut session = Session::new(args, context)?;
    let reply = session.ask(prompt)?;
    if session.streams { Ok(()) } else { super::print_json(&as_json(prompt, &reply)) }
}

/// Answers standard input line by line. A line that cannot be answered is reported, and the next
/// one is read.
fn converse(session: &mut Session) -> Result<()> {
    let watched = io::stdin().is_terminal() && session.context.console().watched();
    if watched {
        say("Write a line to Sotto. /reset forgets the conversation, /stats tells what the last answer cost;");
        say("Ctrl-D ends it.");
    }
    let (mut lines, mut failed) = (0, 0);
    for line in Lines::new(watched) {
        let line = line?;
        lines += 1;
        if let Err(refused) = session.take(&line)? {
            session.refuse(lines, &line, &refused)?;
            failed += usize::from(!matches!(refused, Refused::Blank));
        }
    }
    // A person has seen the error and may have asked again.
    if failed > 0 && !watched {
        bail!("{failed} of {lines} lines could not be answered");
    }
    Ok(())
}

/// Reason why one line is not answered while the conversation goes on.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("a blank line asks nothing")]
    Blank,
    #[error("it is longer than the {LONGEST_LINE} that are read; ask in fewer words")]
    Endless,
    #[error("it is not UTF-8 from byte {at} on; write it in UTF-8")]
    NotUtf8 { at: usize },
    #[error("{name} is no command; there are /reset and /stats, and no question begins with a slash")]
    NoCommand { name: String },
    #[error(transparent)]
    Question(LlmError),
}

impl Refused {
    /// Accepts an error that concerns only the question; any other error ends the conversation.
    fn of(error: anyhow::Error) -> Result<Refused> {
        match error.downcast()? {
            about @ (LlmError::TooLong { .. } | LlmError::Tokenize(_)) => Ok(Refused::Question(about)),
            other => Err(other.into()),
        }
    }
}

/// Request that a line contains.
#[derive(Debug, PartialEq)]
enum Wish<'l> {
    Reset,
    Stats,
    Answer(&'l str),
}

/// Conversation at the terminal.
struct Session<'h> {
    context: &'h AppContext,
    chat: Chat,
    options: SamplingOptions,
    /// Whether answers are written to stdout token by token.
    streams: bool,
    messages: Vec<ChatMessage>,
    last: Option<ChatReply>,
}

impl<'h> Session<'h> {
    fn new(args: &args::ChatArgs, context: &'h AppContext) -> Result<Self> {
        let plan = &context.plan().llm;
        let chat = context.loader_with_language_model()?.chat()?;
        let options = SamplingOptions {
            max_tokens: plan.max_tokens,
            disable_thinking: !args.think,
            max_thinking_tokens: args.max_thinking_tokens,
            ..SamplingOptions::of(&plan.sampling)
        };
        let mut session =
            Session { context, chat, options, streams: !args.format.json, messages: Vec::new(), last: None };
        session.reset();
        session.tell_notes();
        Ok(session)
    }

    /// Carries out the request of a line, or returns why that is not possible.
    fn take(&mut self, line: &Line) -> Result<std::result::Result<(), Refused>> {
        match line.wish() {
            Err(refused) => return Ok(Err(refused)),
            Ok(Wish::Reset) => self.reset(),
            Ok(Wish::Stats) => self.context.console().block(&self.stats()),
            Ok(Wish::Answer(prompt)) => match self.ask(prompt) {
                Err(error) => return Refused::of(error).map(Err),
                // One JSON object per line, so that a script can read each answer when it is ready.
                Ok(reply) if !self.streams => super::print_line(&as_json(prompt, &reply).to_string())?,
                Ok(_) => {}
            },
        }
        Ok(Ok(()))
    }

    /// Reports a line that is not answered: on standard error and, for a script, also in its place
    /// among the answers.
    fn refuse(&self, number: usize, line: &Line, refused: &Refused) -> Result<()> {
        self.context.console().error(&anyhow::anyhow!("line {number}: {refused}"));
        if self.streams {
            return Ok(());
        }
        super::print_line(&json!({ "prompt": line.lossy(), "error": refused.to_string() }).to_string())
    }

    fn tell_notes(&mut self) {
        self.chat.take_notes().iter().for_each(|note| self.context.console().note(&note.to_string()));
    }

    fn reset(&mut self) {
        let system = self.context.plan().llm.system_prompt.trim();
        self.messages = (!system.is_empty()).then(|| ChatMessage::system(system)).into_iter().collect();
        self.last = None;
    }

    /// Asks the model. A question that cannot be answered is removed from the history, so that the
    /// conversation can go on.
    fn ask(&mut self, prompt: &str) -> Result<ChatReply> {
        self.messages.push(ChatMessage::user(prompt));
        let answered = self.answer();
        match &answered {
            Ok(reply) => self.messages.push(reply.message()),
            Err(_) => drop(self.messages.pop()),
        }
        let reply = answered?;
        self.tell_notes();
        if reply.dropped_turns > self.last.as_ref().map_or(0, |last| last.dropped_turns) {
            let note = format!("the context is full: the {} oldest turns were left out", reply.dropped_turns);
            self.context.console().note(&note);
        }
        self.last = Some(reply.clone());
        Ok(reply)
    }

    fn answer(&mut self) -> Result<ChatReply> {
        let mut out = io::stdout().lock();
        let mut stream = self.chat.generate_stream(&self.messages, &[], &self.options)?;
        let mut thinks = false;
        for delta in stream.by_ref() {
            let delta = delta?;
            if !self.streams {
                continue;
            }
            if matches!(delta, ChatDelta::Thought(_)) && !std::mem::replace(&mut thinks, true) {
                self.context.console().note("(thinking)");
            }
            write!(out, "{}", delta.text())?;
            out.flush()?;
        }
        if self.streams {
            writeln!(out)?;
        }
        Ok(stream.into_reply())
    }

    fn stats(&self) -> String {
        let Some(ChatReply { tokens, prompt_tokens, stats, .. }) = &self.last else {
            return format!("no answer yet; memory {}\n", self.chat.memory_footprint());
        };
        format!(
            "prompt   {prompt_tokens} tokens, {} of them new, in {} ({:.0}/s)\n\
             answer   {tokens} tokens in {} ({:.1}/s), {} of {} guessed came true, {} of {} by the model's own head\n\
             context  {} of {} tokens\n\
             memory   {}\n",
            stats.prefilled_tokens,
            stats.prefill,
            stats.prefill_tokens_per_second().unwrap_or_default(),
            stats.decode,
            stats.decode_tokens_per_second().unwrap_or_default(),
            stats.guesses.right,
            stats.guesses.computed,
            stats.guesses.drafted_right,
            stats.guesses.drafted,
            prompt_tokens + tokens,
            self.chat.context(),
            self.chat.memory_footprint(),
        )
    }
}

fn as_json(prompt: &str, reply: &ChatReply) -> serde_json::Value {
    json!({
        "prompt": prompt,
        "reply": reply.text.trim(),
        "thought": reply.thought.trim(),
        "tokens": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "prefilled_tokens": reply.stats.prefilled_tokens,
        "dropped_turns": reply.dropped_turns,
        "finish": reply.finish.name(),
        "prefill_ms": reply.stats.prefill.0.round(),
        "decode_ms": reply.stats.decode.0.round(),
        "guessed_tokens": reply.stats.guesses.computed,
        "guessed_right": reply.stats.guesses.right,
        "drafted_tokens": reply.stats.guesses.drafted,
        "drafted_right": reply.stats.guesses.drafted_right,
    })
}

/// Reader of standard input that prints a prompt before each line when a person types.
struct Lines {
    watched: bool,
    input: io::StdinLock<'static>,
}

impl Lines {
    fn new(watched: bool) -> Self {
        Lines { watched, input: io::stdin().lock() }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.watched {
            let _unseen = write!(io::stderr(), "> ");
        }
        Line::read(&mut self.input).transpose()
    }
}

/// Line of input without its line ending.
#[derive(Debug, PartialEq)]
enum Line {
    Whole(Vec<u8>),
    /// Line longer than the limit; its text is not kept.
    Endless,
}

impl Line {
    /// Reads one line; `None` at the end of the input.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        input.by_ref().take(LONGEST_LINE.0 + 1).read_until(b'\n', &mut bytes)?;
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 > LONGEST_LINE.0 {
            input.skip_until(b'\n')?;
            return Ok(Some(Line::Endless));
        }
        Ok((!bytes.is_empty()).then_some(Line::Whole(bytes)))
    }

    fn wish(&self) -> std::result::Result<Wish<'_>, Refused> {
        let Line::Whole(bytes) = self else { return Err(Refused::Endless) };
        let text = str::from_utf8(bytes).map_err(|error| Refused::NotUtf8 { at: error.valid_up_to() + 1 })?;
        match text.trim() {
            "" => Err(Refused::Blank),
            "/reset" => Ok(Wish::Reset),
            "/stats" => Ok(Wish::Stats),
            command if command.starts_with('/') => {
                let name = command.split_whitespace().next().unwrap_or(command);
                Err(Refused::NoCommand { name: name.to_owned() })
            }
            question => Ok(Wish::Answer(question)),
        }
    }

    /// Text of the line for JSON; `None` where it is too long to be repeated.
    fn lossy(&self) -> Option<String> {
        match self {
            Line::Whole(bytes) => Some(String::from_utf8_lossy(bytes).trim().to_owned()),
            Line::Endless => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_leaves_the_next_one_whole() {
        let long = vec![b'a'; LONGEST_LINE.0 as usize];
        let longer = [&long[..], b"a"].concat();
        let input =
            [&b" Who?\r\n\n \t\nCaf\xe9?\n/exit now\n/stats\n"[..], &long, b"\n", &longer, b"\n/reset"].concat();
        let mut input = &input[..];
        let mut parsed = Vec::new();
        while let Some(line) = Line::read(&mut input).unwrap() {
            parsed.push(match line.wish() {
                Ok(Wish::Answer(question)) => format!("ask {}", &question[..question.len().min(4)]),
                Ok(wish) => format!("{wish:?}"),
                Err(refused) => refused.to_string(),
            });
        }
        let wanted = [
            "ask Who?",
            "a blank line asks nothing",
            "a blank line asks nothing",
            "it is not UTF-8 from byte 4 on; write it in UTF-8",
            "/exit is no command; there are /reset and /stats, and no question begins with a slash",
            "Stats",
            "ask aaaa",
            "it is longer than the 1.0 MiB that are read; ask in fewer words",
            "Reset",
        ];
        assert_eq!(parsed, wanted);
    }

    #[test]
    fn only_the_error_of_a_question_lets_others_follow() {
        for (error, goes_on) in [
            (LlmError::TooLong { prompt: 9, answer: 1, context: 8 }, true),
            (LlmError::Tokenize("too long".into()), true),
            (LlmError::NotFinite { position: 3 }, false),
        ] {
            assert_eq!(Refused::of(error.into()).is_ok(), goes_on);
        }
        assert!(Refused::of(io::Error::from(io::ErrorKind::BrokenPipe).into()).is_err());
    }
}
