//! A language model as a library: loads a model of any format, streams an answer, and says what it
//! cost.
//!
//! `cargo run --release --example chat -- MODEL [QUESTION]`, MODEL a GGUF file or a folder of
//! safetensors.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use sotto::llm::{Chat, ChatMessage, ChatSettings, Preset};
use sotto::memory::resident;
use sotto::types::{Bytes, Ms};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("name a model: chat MODEL [QUESTION]")?;
    let question = arguments.next().unwrap_or_else(|| "What is the capital of France?".to_owned());

    let before = resident().unwrap_or_default();
    let started = Instant::now();
    let mut chat = Chat::from_pretrained(&model, ChatSettings::default())?;
    let loaded = Ms::from(started.elapsed());
    let gained = || Bytes(resident().unwrap_or_default().0.saturating_sub(before.0));
    eprintln!("loaded in {loaded}: {} held, {} gained by the process", chat.memory_footprint(), gained());

    let messages = [ChatMessage::system("Answer briefly."), ChatMessage::user(question)];
    let mut stream = chat.generate_stream(&messages, &[], &Preset::Text.options())?;
    for delta in stream.by_ref() {
        print!("{}", delta?.text());
        std::io::stdout().flush()?;
    }
    println!();
    let reply = stream.into_reply();
    eprintln!(
        "prompt {} tokens, {:.0}/s; answer {} tokens, {:.1}/s ({}); {} held, {} gained",
        reply.stats.prefilled_tokens,
        reply.stats.prefill_tokens_per_second().unwrap_or_default(),
        reply.tokens,
        reply.stats.decode_tokens_per_second().unwrap_or_default(),
        reply.finish.name(),
        chat.memory_footprint(),
        gained()
    );

    chat.unload();
    eprintln!("unloaded: {} held, {} gained", chat.memory_footprint(), gained());
    Ok(())
}
