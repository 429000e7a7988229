use std::path::Path;

use super::super::generator::Finish;
use super::super::prompt_cache::PromptCache;
use super::super::testing;
use super::*;
use crate::config::SpeculativeDecoding;

const FAMILIES: [&str; 3] = ["llama", "qwen2", "qwen35"];

/// A tiny random model: its answers are noise, but deterministic.
fn load(file: &testing::Builder, speculative_decoding: SpeculativeDecoding, context: usize) -> Llm {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file.build()).unwrap();
    load_file(path.path(), speculative_decoding, context)
}

fn load_file(path: &Path, speculative_decoding: SpeculativeDecoding, context: usize) -> Llm {
    let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
    let settings = crate::config::LlmPlan { speculative_decoding, ..testing::settings(context, 12) };
    Llm::load(path, &settings, permit).unwrap()
}

fn llm(family: &str) -> Llm {
    load(&testing::model(family), SpeculativeDecoding::Auto, 256)
}

fn greedy(max_tokens: usize) -> SamplingOptions {
    SamplingOptions {
        temperature: 0.0,
        max_tokens,
        disable_thinking: true,
        repetition_penalty: 1.3,
        ..SamplingOptions::default()
    }
}

fn request<'r>(messages: &'r [ChatMessage], options: &'r SamplingOptions) -> ChatRequest<'r> {
    ChatRequest { messages, tools: &[], options }
}

fn ask(llm: &mut Llm, session: &mut ChatSession, messages: &[ChatMessage]) -> ChatReply {
    session.generate(llm, &request(messages, &greedy(12)), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Messages of a conversation: the system prompt, then the user and the assistant in turn.
fn messages(texts: &[&str]) -> Vec<ChatMessage> {
    let turns = texts.iter().enumerate().map(|(n, text)| match n % 2 {
        0 => ChatMessage::user(*text),
        _ => ChatMessage::assistant(*text),
    });
    std::iter::once(ChatMessage::system("Be brief.")).chain(turns).collect()
}

/// Parts of a reply that must be equal: not the work, which depends on what was computed before.
fn outcome(reply: &ChatReply) -> (String, Finish, usize, usize) {
    (reply.text.clone(), reply.finish, reply.tokens, reply.prompt_tokens)
}

/// A talker who asks several questions, an answer at a time.
struct Talker {
    session: ChatSession,
    questions: Vec<&'static str>,
    messages: Vec<ChatMessage>,
    options: SamplingOptions,
    replies: Vec<ChatReply>,
}

impl Talker {
    fn new(questions: &[&'static str], options: SamplingOptions) -> Talker {
        let questions = questions.iter().rev().copied().collect();
        Talker { session: ChatSession::new(), questions, messages: messages(&[]), options, replies: Vec::new() }
    }

    /// Takes the next piece, or asks the next question. Returns whether there is more to come.
    fn go_on(&mut self, llm: &mut Llm) -> bool {
        if let Some(delta) = self.session.next_delta(llm) {
            delta.unwrap();
            return true;
        }
        if let Some(reply) = self.session.finish(llm) {
            self.messages.push(reply.message());
            self.replies.push(reply);
        }
        let Some(question) = self.questions.pop() else { return false };
        self.messages.push(ChatMessage::user(question));
        self.session.begin(llm, &request(&self.messages, &self.options)).unwrap();
        true
    }

    fn outcomes(&self) -> Vec<(String, Finish, usize, usize)> {
        self.replies.iter().map(outcome).collect()
    }
}

#[test]
fn interleaved_sessions_answer_as_if_each_were_alone() {
    let files = FAMILIES.map(testing::model).into_iter().chain([false, true].map(testing::drafting));
    let mut guessed = 0;
    for (n, file) in files.enumerate() {
        for (speculation, temperature) in [
            (SpeculativeDecoding::Off, 0.0),
            (SpeculativeDecoding::Auto, 0.0),
            (SpeculativeDecoding::Off, 0.8),
            (SpeculativeDecoding::Auto, 0.8),
        ] {
            let options =
                SamplingOptions { temperature, repetition_penalty: 1.0, top_k: 20, seed: Some(3), ..greedy(20) };
            let talkers = || {
                [&["What is it?", "And why?", "Since when?"][..], &["Say something.", "Go on.", "Go on."]]
                    .map(|questions| Talker::new(questions, options.clone()))
            };
            let [mut one, mut other] = talkers();
            for talker in [&mut one, &mut other] {
                let mut llm = load(&file, speculation, 256);
                while talker.go_on(&mut llm) {}
            }
            let mut llm = load(&file, speculation, 256);
            let [mut one_between, mut other_between] = talkers();
            while one_between.go_on(&mut llm) | other_between.go_on(&mut llm) {}
            let case = format!("model {n}, {speculation:?}, temperature {temperature}");
            assert_eq!(one_between.outcomes(), one.outcomes(), "{case}");
            assert_eq!(other_between.outcomes(), other.outcomes(), "{case}");
            assert_eq!(one.replies.len(), 3, "{case}");
            let replies = [&one, &other, &one_between, &other_between].map(|talker| &talker.replies);
            guessed += replies.into_iter().flatten().map(|reply| reply.stats.guesses.computed).sum::<usize>();
        }
    }
    assert!(guessed > 0, "no draft was ever computed");
}

#[test]
fn prefill_changes_no_answer() {
    for family in FAMILIES {
        let mut llm = llm(family);
        let (mut plain, mut ahead) = (ChatSession::new(), ChatSession::new());
        ahead.warm_up(&mut llm, "Be brief.", &[]).unwrap();
        let (mut history, options) = (messages(&[]), greedy(12));
        for question in ["What is it?", "What was it?", "And now?"] {
            for guess in ["Wha", "What is", "Something else entirely", question] {
                let guess = [&history[..], &[ChatMessage::user(guess)]].concat();
                ahead.prefill(&mut llm, &request(&guess, &options)).unwrap();
            }
            history.push(ChatMessage::user(question));
            let read_ahead = ask(&mut llm, &mut ahead, &history);
            assert_eq!(read_ahead.stats.prefilled_tokens, 0, "{family} {question}");
            let reply = ask(&mut llm, &mut plain, &history);
            assert_eq!(outcome(&reply), outcome(&read_ahead), "{family} {question}");
            history.push(reply.message());
        }
    }
}

#[test]
fn a_sentence_end_probability_reads_the_question_and_changes_no_answer() {
    for family in FAMILIES {
        let mut llm = llm(family);
        let (mut plain, mut weighed) = (ChatSession::new(), ChatSession::new());
        let (mut history, options) = (messages(&[]), greedy(12));
        for question in ["What is it?", "And now. "] {
            history.push(ChatMessage::user(question));
            let mut probability = || {
                weighed.sentence_end_probability(&mut llm, &request(&history, &options)).unwrap().expect("it has words")
            };
            let (first, again) = (probability(), probability());
            assert!((0.0..=1.0).contains(&first), "{family} {question} {first}");
            assert!((again - first).abs() < 1e-3, "{family} {again} after {first}");
            let after = ask(&mut llm, &mut weighed, &history);
            assert_eq!(after.stats.prefilled_tokens, 0);
            let reply = ask(&mut llm, &mut plain, &history);
            assert_eq!(outcome(&reply), outcome(&after), "{family} {question}");
            history.push(reply.message());
        }
        let unanswered = weighed.sentence_end_probability(&mut llm, &request(&history, &options)).unwrap();
        assert_eq!(unanswered, None, "{family}: the last message is not the user's");
    }
}

#[test]
fn of_an_answer_cut_to_what_was_heard_the_beginning_stays_computed() {
    let mut kept = 0;
    for family in FAMILIES {
        let mut llm = llm(family);
        let mut session = ChatSession::new();
        let mut history = messages(&["Say something."]);
        let whole = ask(&mut llm, &mut session, &history);
        let half = whole.text.char_indices().nth(whole.text.chars().count() / 2).unwrap().0;
        history.extend([ChatMessage::assistant(&whole.text[..half]), ChatMessage::user("Go on.")]);
        let state = session.computed.live(&llm).tokens().to_vec();
        let next = ask(&mut llm, &mut session, &history);
        let now = &session.computed.live(&llm).tokens()[..next.prompt_tokens];
        let common = state.iter().zip(now).take_while(|(a, b)| a == b).count();
        // Noise may begin with half a character, which is never heard.
        kept += common - whole.prompt_tokens;
        assert_eq!(next.stats.prefilled_tokens, next.prompt_tokens - common, "{family}");

        // Also if the answer is not the last one any more.
        history.extend([next.message(), ChatMessage::user("And?")]);
        ask(&mut llm, &mut session, &history);
        let less = messages(&["Say something.", &whole.text[..half / 2], "What?"]);
        let cut = ask(&mut llm, &mut session, &less);
        assert!(cut.stats.prefilled_tokens <= cut.prompt_tokens - whole.prompt_tokens, "{family}");
        let mut fresh = ChatSession::new();
        let first = messages(&["Say something."]);
        ask(&mut llm, &mut fresh, &first);
        assert_eq!(outcome(&ask(&mut llm, &mut fresh, &less)), outcome(&cut), "{family}");
    }
    assert!(kept > 0, "no part of an answer stayed");
}

#[test]
fn fewer_messages_go_back_as_if_the_rest_had_not_been_said() {
    for family in FAMILIES {
        let mut llm = llm(family);
        let (mut session, mut straight) = (ChatSession::new(), ChatSession::new());
        let mut history = messages(&["What is it?"]);
        let first = ask(&mut llm, &mut session, &history);
        assert_eq!(outcome(&ask(&mut llm, &mut straight, &history)), outcome(&first));
        history.push(first.message());
        let other = [&history[..], &[ChatMessage::user("Never mind.")]].concat();
        ask(&mut llm, &mut session, &other);
        history.push(ChatMessage::user("And why?"));
        let [back, never] = [&mut session, &mut straight].map(|session| ask(&mut llm, session, &history));
        assert_eq!(outcome(&back), outcome(&never), "{family}");
        let told = first.prompt_tokens + first.tokens;
        assert!(back.stats.prefilled_tokens <= back.prompt_tokens - told, "{family}: {:?}", back.stats);
    }
}

#[test]
fn an_answer_that_was_stopped_keeps_what_was_returned() {
    // Noise may begin with half a character, which is never returned.
    let mut kept = 0;
    for family in FAMILIES {
        let mut llm = llm(family);
        let mut session = ChatSession::new();
        let (mut history, options) = (messages(&["Say something."]), greedy(30));
        let mut heard = String::new();
        let cut = session.generate(&mut llm, &request(&history, &options), &mut |delta| {
            heard.push_str(delta.text());
            if heard.len() >= 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let cut = cut.unwrap();
        assert_eq!((cut.finish, &cut.text), (Finish::Cancelled, &heard));
        history.extend([cut.message(), ChatMessage::user("Go on.")]);
        let state = session.computed.live(&llm).tokens().to_vec();
        let next = ask(&mut llm, &mut session, &history);
        let now = &session.computed.live(&llm).tokens()[..next.prompt_tokens];
        let common = state.iter().zip(now).take_while(|(a, b)| a == b).count();
        assert_eq!(next.stats.prefilled_tokens, next.prompt_tokens - common, "{family}");
        kept += common - cut.prompt_tokens;
    }
    assert!(kept > 0, "no part of an answer stayed");
}

/// Defect 8: a system claims a cache, but each turn computes everything again. (Its other defects:
/// `turn::tests::defects`.)
#[test]
fn defect_8_a_turn_computes_only_what_is_new() {
    for family in FAMILIES {
        let (folder, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(file.path(), testing::model(family).build()).unwrap();
        for process in 0..2 {
            let mut llm = load_file(file.path(), SpeculativeDecoding::Auto, 256);
            llm.set_prompt_cache(PromptCache::open(folder.path(), Bytes::mib(16)));
            let mut session = ChatSession::new();
            let computed = session.warm_up(&mut llm, "Be brief.", &[]).unwrap();
            assert_eq!(computed > 1, process == 0, "{family}: the second process finds it stored");
            let mut known = session.computed.live(&llm).len();
            let mut history = messages(&[]);
            for question in ["What is it?", "And why?", "Since when?"] {
                history.push(ChatMessage::user(question));
                let reply = ask(&mut llm, &mut session, &history);
                let (computed, new) = (reply.stats.prefilled_tokens, reply.prompt_tokens - known);
                assert!(computed <= new, "{family}, process {process}: {computed} of {new} for {question}");
                // The answer's last token may have been chosen, but never read.
                known = reply.prompt_tokens + reply.tokens - 1;
                history.push(reply.message());
            }
            assert!(llm.take_cache_notes().is_empty());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_stored_system_prompt_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    for family in ["llama", "qwen35"] {
        let mut llm = llm(family);
        let history = messages(&["What is it?"]);
        let plain = ask(&mut llm, &mut ChatSession::new(), &history);
        llm.set_prompt_cache(PromptCache::open(folder.path(), Bytes::mib(16)));
        ask(&mut llm, &mut ChatSession::new(), &history);
        let again = ask(&mut llm, &mut ChatSession::new(), &history);
        assert_eq!(outcome(&again), outcome(&plain), "{family}");
        assert!(again.stats.prefilled_tokens < plain.stats.prefilled_tokens, "{family}");
    }
}

#[test]
fn a_suspended_session_goes_on_and_one_without_memory_computes_again() {
    for family in FAMILIES {
        let mut llm = llm(family);
        let mut straight = ChatSession::new();
        let history = messages(&["What is it?"]);
        let first = ask(&mut llm, &mut straight, &history);
        for (limit, kept) in [(Bytes::mib(16), true), (Bytes(0), false)] {
            let (mut session, budget) = (ChatSession::new(), Budget::new(limit));
            assert_eq!(session.bytes(), Bytes(0));
            ask(&mut llm, &mut session, &history);
            let live = session.bytes();
            assert!(live > Bytes(0) && live <= llm.session_bytes(), "{family}: {live}");
            session.suspend(&mut llm, &budget);
            assert!(session.bytes() < live && (session.bytes() > Bytes(0)) == kept, "{family}");
            let next = [&history[..], &[first.message(), ChatMessage::user("And?")]].concat();
            let reply = ask(&mut llm, &mut session, &next);
            assert_eq!(outcome(&reply), outcome(&ask(&mut llm, &mut straight, &next)), "{family}");
            let new = reply.prompt_tokens - first.prompt_tokens - first.tokens + 1;
            let computed = if kept { new } else { reply.prompt_tokens };
            assert_eq!(reply.stats.prefilled_tokens, computed, "{family}");
        }
    }
}

#[test]
fn what_was_not_delivered_was_not_said() {
    for family in ["llama", "qwen35"] {
        let mut llm = llm(family);
        let (mut session, options) = (ChatSession::new(), greedy(8));
        let mut history = messages(&["What is it?"]);
        session.begin(&mut llm, &request(&history, &options)).unwrap();
        session.next_delta(&mut llm).unwrap().unwrap();
        // The model reaches the end of its answer, and nobody takes the pieces.
        let ChatSession { answer, computed, .. } = &mut session;
        let answer = answer.as_mut().unwrap();
        for _ in 0..20 {
            let state = computed.live(&llm);
            answer.step(&mut llm, state).unwrap();
        }
        assert!(answer.waiting() > 0);
        let cut = session.finish(&mut llm).unwrap();
        assert_eq!((cut.finish, cut.tokens), (Finish::Cancelled, 8), "{family}");
        history.extend([cut.message(), ChatMessage::user("And?")]);
        let next = ask(&mut llm, &mut session, &history);
        let prompt = session.computed.live(&llm).tokens()[cut.prompt_tokens..next.prompt_tokens].to_vec();
        let bytes = |tokens: &[u32]| tokens.iter().flat_map(|&t| llm.tokenizer.bytes(t)).copied().collect::<Vec<_>>();
        let said = [cut.text.as_bytes(), b"\nuser\nAnd?"].concat();
        assert!(bytes(&prompt).starts_with(&said), "{family}: {:?}", String::from_utf8_lossy(&bytes(&prompt)));
    }
}

#[test]
fn an_error_ends_an_answer_as_far_as_it_was_heard() {
    let mut llm = llm("llama");
    let (mut session, options) = (ChatSession::new(), greedy(8));
    let mut history = messages(&["What is it?"]);
    session.begin(&mut llm, &request(&history, &options)).unwrap();
    let state = session.computed.live(&llm);
    llm.logits(state).unwrap().fill(f32::NAN);
    let error = session.next_delta(&mut llm).unwrap().unwrap_err();
    assert!(matches!(error, LlmError::NotFinite { .. }) && session.next_delta(&mut llm).is_none());
    let cut = session.finish(&mut llm).unwrap();
    assert_eq!((cut.finish, &cut.text[..]), (Finish::Cancelled, ""));
    assert!(session.finish(&mut llm).is_none());
    history.extend([cut.message(), ChatMessage::user("And?")]);
    let mut fresh = ChatSession::new();
    let [next, fresh] = [&mut session, &mut fresh].map(|session| ask(&mut llm, session, &history));
    assert_eq!(outcome(&next), outcome(&fresh));
}

#[test]
fn a_request_that_fails_takes_nothing_from_the_session() {
    let mut llm = load(&testing::model("llama"), SpeculativeDecoding::Auto, 128);
    let (mut session, options) = (ChatSession::new(), greedy(10));
    let mut history = messages(&["Hello?"]);
    let first = ask(&mut llm, &mut session, &history);
    let long = [&history[..], &[first.message(), ChatMessage::user("x".repeat(500))]].concat();
    for refused in [
        session.prefill(&mut llm, &request(&long, &options)).map(drop),
        session.begin(&mut llm, &request(&long, &options)),
    ] {
        let Err(LlmError::TooLong { prompt, answer: 10, context: 128 }) = refused else { panic!("{refused:?}") };
        assert!(prompt > 500);
    }
    let refused = session.warm_up(&mut llm, &"x".repeat(500), &[]).unwrap_err();
    assert!(matches!(refused, LlmError::TooLong { context: 128, .. }), "{refused}");
    history.extend([first.message(), ChatMessage::user("Well?")]);
    let next = ask(&mut llm, &mut session, &history);
    assert_eq!(next.stats.prefilled_tokens, next.prompt_tokens - first.prompt_tokens - first.tokens + 1);
}

#[test]
fn heard_text_is_cut_where_it_was_heard() {
    let llm = llm("qwen35");
    let text = "Größe ist 12 €, wirklich.";
    let tokens = llm.tokenizer.encode(text).unwrap();
    for (at, _) in text.char_indices() {
        let kept = llm.tokens_heard(&tokens, &text[..at]).unwrap();
        let bytes: Vec<u8> = kept.iter().flat_map(|&token| llm.tokenizer.bytes(token).to_vec()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text[..at]);
    }
    assert_eq!(llm.tokens_heard(&tokens, text).unwrap(), tokens);
}
