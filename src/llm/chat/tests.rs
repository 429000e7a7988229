use super::super::testing;
use super::*;

/// A tiny random model: its answers are noise, but always the same noise.
fn chat(family: &str, context: usize) -> (tempfile::NamedTempFile, Chat) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testing::model(family).build()).unwrap();
    let settings = ChatSettings { threads: 1, context: Some(context), ..ChatSettings::default() };
    let chat = Chat::from_pretrained(file.path(), settings).unwrap();
    (file, chat)
}

fn greedy(max_tokens: usize, thoughts: Option<usize>) -> SamplingOptions {
    SamplingOptions {
        temperature: 0.0,
        max_tokens,
        disable_thinking: thoughts.is_none(),
        max_thinking_tokens: thoughts.unwrap_or(0),
        repetition_penalty: 1.3,
        ..SamplingOptions::default()
    }
}

fn ask(chat: &mut Chat, messages: &[Message], options: &SamplingOptions) -> Reply {
    chat.generate(messages, &[], options).unwrap()
}

/// A conversation of three questions; `between` happens before each but the first.
fn three_turns(chat: &mut Chat, between: impl Fn(&mut Chat)) -> Vec<Reply> {
    let mut messages = vec![Message::system("Be brief.")];
    let mut replies: Vec<Reply> = Vec::new();
    for question in ["What is it?", "And why?", "Since when?"] {
        if let Some(last) = replies.last() {
            messages.push(last.message());
            between(chat);
        }
        messages.push(Message::user(question));
        replies.push(ask(chat, &messages, &greedy(12, None)));
    }
    replies
}

fn without_times(mut reply: Reply) -> Reply {
    reply.stats = Stats { steps: reply.stats.steps, ..Stats::default() };
    reply
}

#[test]
fn a_conversation_never_computes_a_turn_twice() {
    for family in ["llama", "qwen2", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        let replies = three_turns(&mut chat, |_| ());
        for pair in replies.windows(2) {
            let told = pair[0].prompt_tokens + pair[0].tokens;
            let new = pair[1].prompt_tokens - told;
            // What the model said last was chosen but not computed yet.
            assert_eq!(pair[1].prefilled_tokens, new + 1, "{family}");
        }
    }
}

#[test]
fn unloading_keeps_the_conversation() {
    for family in ["llama", "qwen35"] {
        let (_file, mut straight) = chat(family, 256);
        let (_file, mut interrupted) = chat(family, 256);
        let straight: Vec<_> = three_turns(&mut straight, |_| ()).into_iter().map(without_times).collect();
        let loaded = interrupted.memory_footprint();
        let again = three_turns(&mut interrupted, |chat| {
            chat.unload();
            assert!(!chat.is_loaded() && chat.memory_footprint() < loaded);
            let refused = chat.generate(&[Message::user("Hm?")], &[], &greedy(4, None)).unwrap_err();
            assert!(refused.to_string().contains("Chat::reload"), "{refused}");
            chat.reload().unwrap();
        });
        assert_eq!(again.into_iter().map(without_times).collect::<Vec<_>>(), straight, "{family}");
    }
}

#[test]
fn a_stream_that_is_dropped_stops_the_model_and_keeps_what_came_out() {
    for family in ["llama", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        let mut messages = vec![Message::user("Say something.")];
        let whole = ask(&mut chat, &messages, &greedy(30, None));
        chat.reset_state();
        let mut stream = chat.generate_stream(&messages, &[], &greedy(30, None)).unwrap();
        let heard: String = stream.by_ref().take(3).map(|delta| delta.unwrap().text().to_owned()).collect();
        let cut = stream.into_reply();
        assert_eq!((cut.finish, &cut.text), (Finish::Cancelled, &heard));
        assert!(whole.text.starts_with(&heard) && cut.tokens < whole.tokens, "{family}");
        messages.extend([cut.message(), Message::user("Go on.")]);
        let next = ask(&mut chat, &messages, &greedy(4, None));
        assert!(next.prefilled_tokens < next.prompt_tokens - cut.prompt_tokens + 2, "{family}");
    }
}

#[test]
fn a_thought_that_grows_too_long_is_closed_and_the_model_answers() {
    let (_file, mut chat) = chat("qwen35", 256);
    let messages = [Message::user("What is it?")];
    let reply = ask(&mut chat, &messages, &greedy(40, Some(6)));
    assert!(!reply.thought.is_empty() && !reply.text.is_empty(), "{reply:?}");
    assert!(!reply.text.contains("think>") && !reply.thought.contains("think>"), "{reply:?}");
    // The next prompt leaves the thought out, as the format does.
    let history = [messages[0].clone(), reply.message(), Message::user("And?")];
    let next = ask(&mut chat, &history, &greedy(8, Some(6)));
    let (_file, mut fresh) = self::chat("qwen35", 256);
    let apart = ask(&mut fresh, &history, &greedy(8, Some(6)));
    assert_eq!((next.text, next.prompt_tokens), (apart.text, apart.prompt_tokens));
    // And without thinking there is none.
    let plain = ask(&mut chat, &messages, &greedy(20, None));
    assert!(plain.thought.is_empty());
}

#[test]
fn a_full_context_leaves_out_whole_turns_and_says_so() {
    let (_file, mut chat) = chat("qwen35", 256);
    let mut messages = vec![Message::system("Be brief.")];
    let mut dropped = 0;
    for n in 0..10 {
        messages.push(Message::user(format!("Question number {n}, please.")));
        let reply = ask(&mut chat, &messages, &greedy(10, None));
        assert!(reply.prompt_tokens + reply.tokens <= 256);
        dropped += usize::from(reply.dropped_turns > 0);
        messages.push(reply.message());
    }
    assert!(dropped > 0);
    let refused = chat.generate(&[Message::user("x".repeat(900))], &[], &greedy(10, None)).unwrap_err();
    assert!(matches!(refused, LlmError::TooLong { context: 256, .. }), "{refused}");
}

#[test]
fn a_turn_is_remembered_however_long_answers_may_be() {
    for family in ["llama", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        let mut messages = vec![Message::user("What is it?")];
        let mut stream = chat.generate_stream(&messages, &[], &greedy(256, None)).unwrap();
        stream.next().unwrap().unwrap();
        let first = stream.into_reply();
        messages.extend([first.message(), Message::user("And why?")]);
        let second = ask(&mut chat, &messages, &greedy(256, None));
        assert_eq!(second.dropped_turns, 0, "{family}");
        assert!(second.prefilled_tokens < second.prompt_tokens - first.prompt_tokens + 2, "{family}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    let (_file, mut chat) = chat("llama", 256);
    let hot = SamplingOptions { temperature: 9.0, ..greedy(4, None) };
    let tool = Tool(serde_json::json!({"name": "clock"}));
    for (messages, tools, options, words) in [
        (vec![], vec![], greedy(4, None), "no messages"),
        (vec![Message::user("Hi")], vec![], hot, "temperature"),
        (vec![Message::user("Hi")], vec![tool], greedy(4, None), "no tools"),
    ] {
        let refused = chat.generate(&messages, &tools, &options).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let settings = ChatSettings { budget: Budget::new(Bytes(1000)), ..ChatSettings::default() };
    let refused = Chat::from_pretrained(&chat.path, settings).err().unwrap();
    assert!(refused.to_string().contains("budget"), "{refused}");
}

#[test]
fn what_was_heard_is_cut_where_it_was_heard() {
    let (_file, chat) = chat("qwen35", 256);
    let llm = chat.llm.as_ref().unwrap();
    let text = "Größe ist 12 €, wirklich.";
    let tokens = llm.tokenizer.encode(text).unwrap();
    for (at, _) in text.char_indices() {
        let kept = llm.tokens_heard(&tokens, &text[..at]).unwrap();
        let bytes: Vec<u8> = kept.iter().flat_map(|&token| llm.tokenizer.bytes(token).to_vec()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text[..at]);
    }
    assert_eq!(llm.tokens_heard(&tokens, text).unwrap(), tokens);
}
