//! Asks a GGUF model one question and says what it cost.
//!
//! `cargo run --release --example llm -- MODEL.gguf [THREADS] [QUESTION]`

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sotto::config;
use sotto::llm::{ChatMessage, ChatRequest, ChatSession, Llm, SamplingOptions};
use sotto::memory::{Budget, resident};
use sotto::types::{Bytes, Ms};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().expect("usage: llm MODEL.gguf [THREADS] [QUESTION]");
    let threads = arguments.get(1).map_or(Ok(1), |threads| threads.parse())?;
    let question = arguments.get(2).map_or("What is the capital of France?", String::as_str);
    let settings = settings(path, threads);

    let before = resident().unwrap_or_default();
    let started = Instant::now();
    let planned = Llm::planned_bytes(Path::new(path), &settings)?;
    let permit = Budget::new(planned).reserve("llm", planned)?;
    let mut llm = Llm::load(Path::new(path), &settings, permit)?;
    let loaded = Ms::from(started.elapsed());
    let held = fill_the_context(&mut llm);
    let mut session = ChatSession::new();
    let started = Instant::now();
    let warm = session.warm_up(&mut llm, &settings.system_prompt, &[])?;
    println!("loaded in {loaded}, {warm} tokens of the system prompt in {}", Ms::from(started.elapsed()));

    let messages = [ChatMessage::system(&settings.system_prompt), ChatMessage::user(question)];
    let options = SamplingOptions {
        max_tokens: settings.max_tokens,
        disable_thinking: true,
        ..SamplingOptions::of(&settings.sampling)
    };
    let request = ChatRequest { messages: &messages, tools: &[], options: &options };
    let answer = session.generate(&mut llm, &request, &mut |delta| {
        print!("{}", delta.text());
        let _ = std::io::stdout().flush();
        ControlFlow::Continue(())
    })?;
    println!("\n{:?} after {} tokens", answer.finish, answer.tokens);
    let read = answer.stats.prefill_tokens_per_second().unwrap_or_default();
    println!("prompt: {} of {} tokens, {read:.0}/s", answer.stats.prefilled_tokens, answer.prompt_tokens);
    println!("decode: {:.1} tokens/s", answer.stats.decode_tokens_per_second().unwrap_or_default());
    println!("resident: {} gained with a full context, {planned} planned", Bytes(held.0 - before.0));
    Ok(())
}

/// Reads a prompt as long as the context, so that all that was planned is touched. Returns what is
/// resident then.
fn fill_the_context(llm: &mut Llm) -> Bytes {
    let (context, mut state) = (llm.context(), llm.state());
    let words = llm.tokenizer().encode("The quick brown fox jumps over the lazy dog. ").unwrap();
    let long: Vec<u32> = words.into_iter().cycle().take(context).collect();
    for tokens in [&long[..128], &long[128..512], &long[512..]] {
        let started = Instant::now();
        llm.forward(&mut state, tokens);
        let per_second = tokens.len() as f64 / started.elapsed().as_secs_f64();
        println!("prompt of {} behind {}: {per_second:.0}/s", tokens.len(), state.len() - tokens.len());
    }
    resident().unwrap_or_default()
}

fn settings(path: &str, threads: usize) -> config::LlmPlan {
    config::LlmPlan {
        model: path.to_owned(),
        system_prompt: "You are a helpful voice assistant. Answer in one or two short sentences.".to_owned(),
        threads,
        context: Some(2048),
        priority: config::Priority::Normal,
        kv_cache: config::KvType::F16,
        speculative_decoding: config::SpeculativeDecoding::Auto,
        prompt_cache: Bytes(0),
        max_tokens: 100,
        sampling: config::Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            seed: None,
        },
    }
}
