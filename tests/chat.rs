//! Chat on a real model, in a process of its own: what it says it holds is what the process gained.

mod common;

use sotto::llm::{Chat, ChatMessage, ChatSettings, SamplingOptions};
use sotto::memory::resident;

fn options() -> SamplingOptions {
    SamplingOptions { temperature: 0.0, max_tokens: 32, disable_thinking: true, ..SamplingOptions::default() }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

// On macOS the footprint leaves out clean pages of mapped files, so there is nothing to compare.
#[cfg(target_os = "linux")]
#[test]
fn a_model_comes_goes_and_comes_back_in_the_memory_it_names() {
    let model = common::model_file("qwen2.5-coder-0.5b", "model.gguf");
    let before = mib(resident().expect("this system tells").0);
    let gained = || mib(resident().unwrap().0) - before;

    let mut chat = Chat::from_pretrained(&model, ChatSettings { threads: 2, ..ChatSettings::default() }).unwrap();
    let mut messages =
        vec![ChatMessage::system("Answer in one short sentence."), ChatMessage::user("What is the capital of France?")];
    let first = chat.generate(&messages, &[], &options()).unwrap();
    assert!(first.text.contains("Paris"), "{}", first.text);
    let held = mib(chat.memory_footprint().0);
    assert!((gained() - held).abs() < 0.05 * held, "{:.0} MiB gained, {held:.0} MiB held", gained());

    chat.unload();
    let parked = mib(chat.memory_footprint().0);
    assert!(parked < 0.02 * held && gained() < 0.1 * held, "{:.0} MiB left, {parked:.1} MiB held", gained());

    chat.reload().unwrap();
    messages.extend([first.message(), ChatMessage::user("Which country is that city in?")]);
    let second = chat.generate(&messages, &[], &options()).unwrap();
    assert!(second.text.contains("France"), "{}", second.text);
    let new = second.prompt_tokens - first.prompt_tokens - first.tokens;
    assert_eq!(second.stats.prefilled_tokens, new, "only what is new is computed");
}
