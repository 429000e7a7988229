//! Measures the memory of one more session of a language model.
//!
//! `cargo run --release --example sessions -- MODEL [TOKENS] [CONTEXT]`

use anyhow::{Context, Result};
use sotto::config::{LlmPlan, Sources, load};
use sotto::llm::{ChatMessage, ChatRequest, ChatSession, Llm, SamplingOptions};
use sotto::memory::{Budget, resident};
use sotto::types::Bytes;

/// Sessions after the first, which touches what all of them share.
const FURTHER: u64 = 3;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("name a model: sessions MODEL [TOKENS] [CONTEXT]")?;
    let tokens = arguments.next().map_or(Ok(1000), |tokens| tokens.parse())?;
    let context = arguments.next().map(|context| context.parse()).transpose()?;
    let plan = LlmPlan { context, ..load(&Sources::default())?.plan.llm };

    let planned = Llm::planned_bytes(model.as_ref(), &plan)?;
    let mut llm = Llm::load(model.as_ref(), &plan, Budget::new(planned).reserve("the language model", planned)?)?;
    let text = question(&llm, tokens)?;
    let messages = [ChatMessage::user(text)];
    let options = SamplingOptions { max_tokens: 16, ..SamplingOptions::default() };
    let request = ChatRequest { messages: &messages, tools: &[], options: &options };

    let mut first = ChatSession::new();
    let empty = first.bytes();
    let computed = first.prefill(&mut llm, &request)?;
    let before = resident().unwrap_or_default();
    let mut sessions: Vec<ChatSession> = (0..FURTHER).map(|_| ChatSession::new()).collect();
    for session in &mut sessions {
        session.prefill(&mut llm, &request)?;
    }
    let gained = Bytes((resident().unwrap_or_default().0.saturating_sub(before.0)) / FURTHER);
    println!("a session: {empty} empty, {} after {computed} tokens ({gained} gained by the process)", first.bytes());
    first.suspend(&mut llm, &Budget::new(Bytes(u64::MAX)));
    println!("suspended: {}", first.bytes());
    println!("shared by all: {}; at most, with {} tokens: {}", llm.shared_bytes(), llm.context(), llm.session_bytes());
    Ok(())
}

/// Returns a text of about `tokens` tokens.
fn question(llm: &Llm, tokens: usize) -> Result<String> {
    let mut text = String::new();
    while llm.tokenizer().encode(&text)?.len() < tokens {
        text.push_str("The quick brown fox jumps over the lazy dog. ");
    }
    Ok(text)
}
