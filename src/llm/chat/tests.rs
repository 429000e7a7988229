use super::super::generator::Finish;
use super::super::session::GenerationStats;
use super::super::speculation::Guesses;
use super::super::testing;
use super::*;
use crate::types::Ms;

/// A tiny random model: its answers are noise, but deterministic.
fn chat(family: &str, context: usize) -> (tempfile::NamedTempFile, Chat) {
    chat_with(family, ChatSettings { context: Some(context), ..ChatSettings::default() })
}

fn chat_with(family: &str, settings: ChatSettings) -> (tempfile::NamedTempFile, Chat) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testing::model(family).build()).unwrap();
    let chat = Chat::from_pretrained(file.path(), ChatSettings { threads: 1, ..settings }).unwrap();
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

fn ask(chat: &mut Chat, messages: &[ChatMessage], options: &SamplingOptions) -> ChatReply {
    chat.generate(messages, &[], options).unwrap()
}

/// A conversation of three questions; `between` runs before each except the first.
fn three_turns(chat: &mut Chat, between: impl Fn(&mut Chat)) -> Vec<ChatReply> {
    let mut messages = vec![ChatMessage::system("Be brief.")];
    let mut replies: Vec<ChatReply> = Vec::new();
    for question in ["What is it?", "And why?", "Since when?"] {
        if let Some(last) = replies.last() {
            messages.push(last.message());
            between(chat);
        }
        messages.push(ChatMessage::user(question));
        replies.push(ask(chat, &messages, &greedy(12, None)));
    }
    replies
}

fn without_times(mut reply: ChatReply) -> ChatReply {
    reply.stats = GenerationStats { prefill: Ms(0.0), decode: Ms(0.0), guesses: Guesses::default(), ..reply.stats };
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
            // The last token of the answer was sampled but not computed yet.
            assert_eq!(pair[1].stats.prefilled_tokens, new + 1, "{family}");
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
            let refused = chat.generate(&[ChatMessage::user("Hm?")], &[], &greedy(4, None)).unwrap_err();
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
        let mut messages = vec![ChatMessage::user("Say something.")];
        let whole = ask(&mut chat, &messages, &greedy(30, None));
        chat.reset_state();
        let mut stream = chat.generate_stream(&messages, &[], &greedy(30, None)).unwrap();
        let heard: String = stream.by_ref().take(3).map(|delta| delta.unwrap().text().to_owned()).collect();
        let cut = stream.into_reply();
        assert_eq!((cut.finish, &cut.text), (Finish::Cancelled, &heard));
        assert!(whole.text.starts_with(&heard) && cut.tokens < whole.tokens, "{family}");
        messages.extend([cut.message(), ChatMessage::user("Go on.")]);
        let next = ask(&mut chat, &messages, &greedy(4, None));
        assert!(next.stats.prefilled_tokens < next.prompt_tokens - cut.prompt_tokens + 2, "{family}");
    }
}

#[test]
fn a_thought_that_grows_too_long_is_closed_and_the_model_answers() {
    let (_file, mut chat) = chat("qwen35", 256);
    let messages = [ChatMessage::user("What is it?")];
    let reply = ask(&mut chat, &messages, &greedy(40, Some(6)));
    assert!(!reply.thought.is_empty() && !reply.text.is_empty(), "{reply:?}");
    assert!(!reply.text.contains("think>") && !reply.thought.contains("think>"), "{reply:?}");
    // The next prompt leaves the thought out, as the format does.
    let history = [messages[0].clone(), reply.message(), ChatMessage::user("And?")];
    let next = ask(&mut chat, &history, &greedy(8, Some(6)));
    let (_file, mut fresh) = self::chat("qwen35", 256);
    let apart = ask(&mut fresh, &history, &greedy(8, Some(6)));
    assert_eq!((next.text, next.prompt_tokens), (apart.text, apart.prompt_tokens));
    // Without thinking there is no thought.
    let plain = ask(&mut chat, &messages, &greedy(20, None));
    assert!(plain.thought.is_empty());
}

#[test]
fn a_full_context_leaves_out_whole_turns_now_and_then_and_says_so() {
    for thoughts in [None, Some(4)] {
        let (_file, mut chat) = chat("qwen35", 256);
        let mut messages = vec![ChatMessage::system("Be brief.")];
        let mut dropped = Vec::new();
        for n in 0..12 {
            messages.push(ChatMessage::user(format!("Question {n}?")));
            let reply = ask(&mut chat, &messages, &greedy(10, thoughts));
            assert!(reply.prompt_tokens + reply.tokens <= 256);
            dropped.push(reply.dropped_turns);
            messages.push(reply.message());
        }
        assert!(dropped.is_sorted() && dropped[11] > 0, "what was left out stays out: {dropped:?}");
        let times = dropped.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((1..5).contains(&times), "several turns at a time: {dropped:?}");
    }
    let (_file, mut chat) = chat("qwen35", 256);
    let refused = chat.generate(&[ChatMessage::user("x".repeat(900))], &[], &greedy(10, None)).unwrap_err();
    assert!(matches!(refused, LlmError::TooLong { context: 256, .. }), "{refused}");
    for name in ["[llm] context", "ChatSettings::context", "--set llm.context"] {
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

#[test]
fn the_same_messages_again_cost_one_token() {
    for (family, thoughts) in [("llama", None), ("llama", Some(4)), ("qwen35", None), ("qwen35", Some(4))] {
        let ((_file, mut chat), (_other, mut straight)) = (chat(family, 256), self::chat(family, 256));
        let mut messages = vec![ChatMessage::user("What is it?")];
        for question in ["And why?", "Since when?"] {
            let reply = ask(&mut chat, &messages, &greedy(10, thoughts));
            ask(&mut straight, &messages, &greedy(10, thoughts));
            messages.extend([reply.message(), ChatMessage::user(question)]);
        }
        let options = greedy(10, thoughts);
        let (first, again) = (ask(&mut chat, &messages, &options), ask(&mut chat, &messages, &options));
        assert_eq!((&first.text, &first.thought), (&again.text, &again.thought), "{family}");
        assert_eq!((again.stats.prefilled_tokens, again.prompt_tokens), (1, first.prompt_tokens), "{family}");
        if family == "qwen35" {
            // A request with the other thinking mode has another prompt.
            let other = if thoughts.is_none() { Some(4) } else { None };
            let [again, once] = [&mut chat, &mut straight].map(|chat| ask(chat, &messages, &greedy(10, other)));
            assert_eq!((again.text, again.prompt_tokens), (once.text, once.prompt_tokens));
        }
    }
}

#[test]
fn what_was_said_before_can_be_changed() {
    for family in ["llama", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        three_turns(&mut chat, |_| ());
        let messages = [ChatMessage::user("What?"), ChatMessage::assistant("This."), ChatMessage::user("Why?")];
        let changed = ask(&mut chat, &messages, &greedy(8, None));
        let (_file, mut fresh) = self::chat(family, 256);
        let fresh = ask(&mut fresh, &messages, &greedy(8, None));
        assert_eq!((changed.text, changed.prompt_tokens), (fresh.text, fresh.prompt_tokens), "{family}");
    }
}

#[test]
fn an_answer_that_was_to_be_thought_about_is_rendered_as_the_format_has_it() {
    let (_file, mut chat) = chat("qwen35", 256);
    let mut messages = vec![ChatMessage::user("What is it?")];
    // The thought is closed before it begins: there is none, but its markers are among the tokens.
    let reply = ask(&mut chat, &messages, &greedy(12, Some(0)));
    assert!(reply.thought.is_empty() && !reply.text.is_empty(), "{reply:?}");
    messages.extend([reply.message(), ChatMessage::user("And?")]);
    let next = ask(&mut chat, &messages, &greedy(8, Some(0)));
    let (_file, mut fresh) = self::chat("qwen35", 256);
    let fresh = ask(&mut fresh, &messages, &greedy(8, Some(0)));
    assert_eq!(next.prompt_tokens, fresh.prompt_tokens);
    // ChatML has no thoughts, so requesting them changes nothing.
    let (_file, mut plain) = self::chat("llama", 256);
    let first = ask(&mut plain, &messages[..1], &greedy(12, Some(0)));
    messages[1] = first.message();
    let next = ask(&mut plain, &messages, &greedy(12, Some(0)));
    assert_eq!(next.stats.prefilled_tokens, next.prompt_tokens - first.prompt_tokens - first.tokens + 1);
}

#[test]
fn what_the_prompt_cache_computes_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some((folder.path().to_owned(), Bytes::mib(8)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testing::model("qwen35").build()).unwrap();
    let messages = [ChatMessage::system("Be brief."), ChatMessage::user("What is it?")];
    let [first, again] = [(); 2].map(|()| {
        let settings = ChatSettings { context: Some(256), prompt_cache: cache.clone(), ..ChatSettings::default() };
        let mut chat = Chat::from_pretrained(file.path(), settings).unwrap();
        ask(&mut chat, &messages, &greedy(8, None))
    });
    assert_eq!(first.stats.prefilled_tokens, first.prompt_tokens, "all of it was computed");
    assert!(again.stats.prefilled_tokens < again.prompt_tokens && again.text == first.text);
}

/// Bytes reserved from a budget, as its refusal reports them.
fn held(budget: &Budget) -> Bytes {
    let refused = budget.reserve("all there is", Bytes(u64::MAX)).unwrap_err();
    Bytes(refused.limit.0 - refused.free.0)
}

#[test]
fn a_kept_conversation_gives_way_to_its_model() {
    for family in ["llama", "qwen35"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testing::model(family).build()).unwrap();
        let planned = Llm::planned_bytes(file.path(), &testing::settings(256, 8)).unwrap();
        for (more, kept) in [(Bytes(0), false), (Bytes::mib(8), true)] {
            let budget = Budget::new(Bytes(planned.0 + more.0));
            let settings = ChatSettings { context: Some(256), budget: budget.clone(), ..ChatSettings::default() };
            let mut chat = Chat::from_pretrained(file.path(), settings).unwrap();
            let mut messages = vec![ChatMessage::user("What is it?")];
            let first = ask(&mut chat, &messages, &greedy(8, None));
            chat.unload();
            let parked = chat.memory_footprint();
            assert!(parked > Bytes(0) && held(&budget) == parked);
            // If even that does not help, the conversation stays.
            let other = budget.reserve("another", Bytes(more.0 + 1)).unwrap();
            let refused = chat.reload().unwrap_err();
            assert!(matches!(refused, LlmError::Budget(_)) && chat.memory_footprint() == parked, "{refused}");
            drop(other);

            chat.reload().unwrap();
            messages.extend([first.message(), ChatMessage::user("And?")]);
            let next = ask(&mut chat, &messages, &greedy(8, None));
            let computed = next.stats.prefilled_tokens;
            let new = next.prompt_tokens - first.prompt_tokens - first.tokens + 1;
            assert_eq!(computed, if kept { new } else { next.prompt_tokens }, "{family} {more}");
            assert_eq!(held(&budget), planned);
        }
    }
}

#[test]
fn another_model_in_its_place_knows_nothing_of_what_was_said() {
    let (file, mut chat) = chat("llama", 256);
    let mut messages = vec![ChatMessage::user("What is it?")];
    messages.extend([ask(&mut chat, &messages, &greedy(8, None)).message(), ChatMessage::user("And?")]);
    chat.unload();
    std::fs::write(file.path(), testing::model("qwen35").build()).unwrap();
    chat.reload().unwrap();
    let next = ask(&mut chat, &messages, &greedy(8, None));
    let (_file, mut fresh) = self::chat("qwen35", 256);
    assert_eq!(without_times(next), without_times(ask(&mut fresh, &messages, &greedy(8, None))));
}

#[test]
fn a_reset_forgets_and_gives_back_what_was_computed() {
    for family in ["llama", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        let empty = chat.memory_footprint();
        let first = three_turns(&mut chat, |_| ()).into_iter().map(without_times).collect::<Vec<_>>();
        assert!(chat.memory_footprint() > empty);
        chat.reset_state();
        assert_eq!(chat.memory_footprint(), empty);
        let again = three_turns(&mut chat, |_| ()).into_iter().map(without_times).collect::<Vec<_>>();
        assert_eq!(again, first, "{family}");
        chat.unload();
        chat.reset_state();
        assert!(!chat.is_loaded() && chat.memory_footprint() == Bytes(0));
    }
}

#[test]
fn a_turn_is_remembered_however_long_answers_may_be() {
    for family in ["llama", "qwen35"] {
        let (_file, mut chat) = chat(family, 256);
        let mut messages = vec![ChatMessage::user("What is it?")];
        let mut stream = chat.generate_stream(&messages, &[], &greedy(256, None)).unwrap();
        stream.next().unwrap().unwrap();
        let first = stream.into_reply();
        messages.extend([first.message(), ChatMessage::user("And why?")]);
        let second = ask(&mut chat, &messages, &greedy(256, None));
        assert_eq!(second.dropped_turns, 0, "{family}");
        assert!(second.stats.prefilled_tokens < second.prompt_tokens - first.prompt_tokens + 2, "{family}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    let (_file, mut chat) = chat("llama", 256);
    let hot = SamplingOptions { temperature: 9.0, ..greedy(4, None) };
    let tool = Tool(serde_json::json!({"name": "clock"}));
    for (messages, tools, options, words) in [
        (vec![], vec![], greedy(4, None), "no messages"),
        (vec![ChatMessage::user("Hi")], vec![], hot, "temperature"),
        (vec![ChatMessage::user("Hi")], vec![tool], greedy(4, None), "no tools"),
    ] {
        let refused = chat.generate(&messages, &tools, &options).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let settings = ChatSettings { budget: Budget::new(Bytes(1000)), ..ChatSettings::default() };
    let refused = Chat::from_pretrained(&chat.path, settings).err().unwrap();
    assert!(refused.to_string().contains("budget"), "{refused}");
}
