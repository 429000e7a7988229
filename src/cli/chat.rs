//! `sotto chat`: the language model alone, for one prompt or line by line.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::json;

use super::args;
use super::house::House;
use crate::llm::{Chat, Delta, Message, Reply, SamplingOptions};
use crate::pipeline::Result;
use crate::store::progress::say;

pub fn run(args: &args::Chat, house: &House) -> Result<()> {
    let mut session = Session::new(args, house)?;
    if let Some(prompt) = &args.prompt {
        let reply = session.ask(prompt)?;
        return if args.format.json { super::print_json(&as_json(prompt, &reply)) } else { Ok(()) };
    }
    let watched = std::io::stdin().is_terminal() && house.talk().watched();
    if watched {
        say("Write a line to Sotto. /reset forgets the conversation, /stats tells what the last answer cost;");
        say("an empty line or Ctrl-D ends it.");
    }
    for line in Lines::new(watched) {
        let line = line?;
        match line.trim() {
            "" => break,
            "/reset" => session.reset(),
            "/stats" => house.talk().block(&session.stats()),
            command if command.starts_with('/') => {
                house.talk().note(&format!("{command}: no such command; there are /reset and /stats"));
            }
            prompt => {
                let reply = session.ask(prompt)?;
                if args.format.json {
                    // One object a line, so that a script can read answers as they come.
                    super::print_line(&as_json(prompt, &reply).to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// A conversation at the terminal.
struct Session<'h> {
    house: &'h House,
    chat: Chat,
    options: SamplingOptions,
    /// Answers are written to stdout as they come.
    streams: bool,
    messages: Vec<Message>,
    last: Option<Reply>,
}

impl<'h> Session<'h> {
    fn new(args: &args::Chat, house: &'h House) -> Result<Self> {
        let plan = &house.plan().llm;
        let chat = house.loader_with_thinker()?.chat()?;
        let options = SamplingOptions {
            max_tokens: plan.max_tokens,
            disable_thinking: !args.think,
            max_thinking_tokens: args.max_thinking_tokens,
            ..SamplingOptions::of(&plan.sampling)
        };
        let mut session =
            Session { house, chat, options, streams: !args.format.json, messages: Vec::new(), last: None };
        session.reset();
        Ok(session)
    }

    fn reset(&mut self) {
        let system = self.house.plan().llm.system_prompt.trim();
        self.messages = (!system.is_empty()).then(|| Message::system(system)).into_iter().collect();
        self.last = None;
    }

    /// A question that cannot be answered is taken back, so that the conversation goes on without it.
    fn ask(&mut self, prompt: &str) -> Result<Reply> {
        self.messages.push(Message::user(prompt));
        let answered = self.answer();
        match &answered {
            Ok(reply) => self.messages.push(reply.message()),
            Err(_) => drop(self.messages.pop()),
        }
        let reply = answered?;
        self.chat.take_notes().iter().for_each(|note| self.house.talk().note(&note.to_string()));
        if reply.dropped_turns > self.last.as_ref().map_or(0, |last| last.dropped_turns) {
            let note = format!("the context is full: the {} oldest turns were left out", reply.dropped_turns);
            self.house.talk().note(&note);
        }
        self.last = Some(reply.clone());
        Ok(reply)
    }

    fn answer(&mut self) -> Result<Reply> {
        let mut out = std::io::stdout().lock();
        let mut stream = self.chat.generate_stream(&self.messages, &[], &self.options)?;
        let mut thinks = false;
        for delta in stream.by_ref() {
            let delta = delta?;
            if !self.streams {
                continue;
            }
            if matches!(delta, Delta::Thought(_)) && !std::mem::replace(&mut thinks, true) {
                self.house.talk().note("(thinking)");
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
        let Some(Reply { tokens, prompt_tokens, stats, .. }) = &self.last else {
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
            self.house.plan().llm.context,
            self.chat.memory_footprint(),
        )
    }
}

fn as_json(prompt: &str, reply: &Reply) -> serde_json::Value {
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

/// Lines of standard input, with a prompt before each when a person writes them.
struct Lines {
    watched: bool,
    input: std::io::Lines<std::io::StdinLock<'static>>,
}

impl Lines {
    fn new(watched: bool) -> Self {
        Lines { watched, input: std::io::stdin().lock().lines() }
    }
}

impl Iterator for Lines {
    type Item = std::io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.watched {
            let _unseen = write!(std::io::stderr(), "> ");
        }
        self.input.next()
    }
}
