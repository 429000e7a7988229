//! `sotto chat`: the language model alone, for one prompt or line by line.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;

use serde_json::json;

use super::args::Chat;
use super::house::House;
use crate::llm::{Answer, Conversation};
use crate::pipeline::Result;

pub fn run(args: &Chat, house: &House) -> Result<()> {
    let mut conversation = house.loader()?.thinker()?;
    if let Some(prompt) = &args.prompt {
        let answer = answer(&mut conversation, prompt, !args.format.json)?;
        return if args.format.json { super::print_json(&as_json(prompt, &answer)) } else { Ok(()) };
    }
    let watched = std::io::stdin().is_terminal() && house.talk().watched();
    if watched {
        eprintln!("Write a line to Sotto; an empty line or Ctrl-D ends the conversation, /reset starts a new one.");
    }
    for line in Lines::new(watched) {
        let line = line?;
        match line.trim() {
            "" => break,
            "/reset" => conversation.reset(),
            prompt => {
                let answer = answer(&mut conversation, prompt, !args.format.json)?;
                if args.format.json {
                    // One object a line, so that a script can read answers as they come.
                    super::print_line(&as_json(prompt, &answer).to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// Asks, and streams the answer to stdout when a person reads it.
fn answer(conversation: &mut Conversation, prompt: &str, stream: bool) -> Result<Answer> {
    let mut out = std::io::stdout().lock();
    let answer = conversation.ask(prompt, &mut |piece| {
        if stream && write!(out, "{piece}").and_then(|()| out.flush()).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if stream {
        writeln!(out)?;
    }
    Ok(answer)
}

fn as_json(prompt: &str, answer: &Answer) -> serde_json::Value {
    json!({
        "prompt": prompt,
        "reply": answer.text.trim(),
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "prefilled_tokens": answer.prefilled_tokens,
        "finish": answer.finish.name(),
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
            eprint!("> ");
        }
        self.input.next()
    }
}
