//! The language model on real files: against llama.cpp's numbers (tests/golden/README.md), and as a
//! conversation.

mod common;

use std::ops::ControlFlow;

use serde::Deserialize;
use sotto::config;
use sotto::llm::{ChatMessage, ChatReply, ChatRequest, ChatSession, Finish, Llm, LlmError, SamplingOptions};
use sotto::memory::Budget;
use sotto::store::Catalogue;
use sotto::types::Bytes;
use sotto_kernels::Best;

const QWEN: &str = "qwen2.5-coder-0.5b";
const SMOLLM: &str = "smollm2-135m";

/// How far a logit may lie from llama.cpp's, on logits of 10 to 30. Ours differ by the f16 cache:
/// at the positions checked here by up to 0.05 (tests/golden/README.md).
const LOGIT_TOLERANCE: f32 = 0.1;

#[derive(Deserialize)]
struct Golden {
    prompts: std::collections::BTreeMap<String, Prompt>,
    texts: Vec<(String, Vec<u32>)>,
}

#[derive(Deserialize)]
struct Prompt {
    tokens: Vec<u32>,
    /// The most probable next token after each position; none where two are nearly equal.
    best: Vec<Option<u32>>,
    /// The ten greatest logits after some positions.
    top: std::collections::BTreeMap<usize, Vec<(u32, f32)>>,
}

fn golden(model: &str) -> Golden {
    let path = format!("{}/tests/golden/llm-{model}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn settings(model: &str) -> config::LlmPlan {
    config::LlmPlan {
        model: model.to_owned(),
        system_prompt: "You are a helpful voice assistant. Answer in one short sentence.".to_owned(),
        threads: 2,
        context: Some(512),
        priority: config::Priority::Normal,
        kv_cache: config::KvType::F16,
        speculative_decoding: config::SpeculativeDecoding::Auto,
        prompt_cache: Bytes(0),
        max_tokens: 24,
        sampling: config::Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            seed: Some(1),
        },
    }
}

fn load(model: &str, settings: &config::LlmPlan) -> Llm {
    let path = common::model_file(model, "model.gguf");
    let planned = Llm::planned_bytes(&path, settings).unwrap();
    let permit = Budget::new(planned).reserve(model, planned).unwrap();
    Llm::load(&path, settings, permit).unwrap()
}

/// A model with one session, and what was said.
struct Talk {
    llm: Llm,
    session: ChatSession,
    options: SamplingOptions,
    messages: Vec<ChatMessage>,
}

impl Talk {
    fn new(model: &str, settings: &config::LlmPlan) -> Talk {
        let options = SamplingOptions {
            max_tokens: settings.max_tokens,
            disable_thinking: true,
            ..SamplingOptions::of(&settings.sampling)
        };
        let messages = vec![ChatMessage::system(&settings.system_prompt)];
        Talk { llm: load(model, settings), session: ChatSession::new(), options, messages }
    }

    /// Calls `run` with a request that ends with `question`.
    fn with<T>(&mut self, question: &str, run: impl FnOnce(&mut ChatSession, &mut Llm, &ChatRequest) -> T) -> T {
        let messages = [&self.messages[..], &[ChatMessage::user(question)]].concat();
        run(&mut self.session, &mut self.llm, &ChatRequest { messages: &messages, tools: &[], options: &self.options })
    }

    fn ask_until(&mut self, question: &str, stop: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ChatReply {
        let reply = self
            .with(question, |session, llm, request| session.generate(llm, request, &mut |delta| stop(delta.text())));
        let reply = reply.unwrap();
        self.messages.extend([ChatMessage::user(question), reply.message()]);
        reply
    }

    fn ask(&mut self, question: &str) -> ChatReply {
        self.ask_until(question, &mut |_| ControlFlow::Continue(()))
    }

    fn prefill(&mut self, question: &str) -> Result<usize, LlmError> {
        self.with(question, |session, llm, request| session.prefill(llm, request))
    }
}

fn greatest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

/// Token by token as when answering, then the whole prompt at once as when reading.
#[test]
fn logits_are_those_of_llama_cpp() {
    for model in [QWEN, SMOLLM] {
        let mut llm = load(model, &settings(model));
        for (name, Prompt { tokens, best, top }) in golden(model).prompts {
            let mut state = llm.state();
            for (position, &token) in tokens.iter().enumerate() {
                llm.forward(&mut state, &[token]);
                let logits = llm.logits(&state).unwrap();
                let case = format!("{model} {name} position {position}");
                assert!(best[position].is_none_or(|best| best == greatest(logits)), "{case}");
                top.get(&position).into_iter().for_each(|top| assert_near(logits, top, &case));
            }
            let mut state = llm.state();
            llm.forward(&mut state, &tokens);
            assert_near(llm.logits(&state).unwrap(), &top[&(tokens.len() - 1)], &format!("{model} {name} at once"));
        }
    }
}

/// Greedy and from the best 40: what the screened head leaves out is below what is looked for, the
/// rest is to the bit.
#[test]
fn a_screened_head_has_the_best_logits_of_the_full_one() {
    for model in [QWEN, SMOLLM] {
        let mut llm = load(model, &settings(model));
        let prompts = golden(model).prompts;
        let mut left_out = 0;
        for (count, Prompt { tokens, .. }) in [1, 40].into_iter().flat_map(|k| prompts.values().map(move |p| (k, p))) {
            let mut states = [0; 2].map(|_| llm.state());
            for (position, &token) in tokens.iter().take(24).enumerate() {
                let counts = |row| row % 7 != 0;
                llm.forward(&mut states[0], &[token]);
                let mut full = llm.logits(&states[0]).unwrap().to_vec();
                llm.forward_best(&mut states[1], &[token], Best { count, counts: &counts });
                let best = llm.best_logits(&states[1]).unwrap();
                let mut sorted: Vec<f32> = (0..full.len()).filter(|&row| counts(row)).map(|row| full[row]).collect();
                let (_, &mut floor, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
                let out = |(full, best): &(&mut f32, &mut f32)| **best == f32::NEG_INFINITY && **full < floor;
                let (missing, there): (Vec<_>, Vec<_>) = full.iter_mut().zip(best).partition(out);
                assert!(there.iter().all(|(full, best)| full == best), "{model}: best {count}, position {position}");
                left_out += missing.len();
            }
        }
        assert!(left_out > 0, "{model}: nothing was screened");
    }
}

fn assert_near(logits: &[f32], wanted: &[(u32, f32)], case: &str) {
    for &(token, logit) in wanted {
        let got = logits[token as usize];
        assert!((got - logit).abs() < LOGIT_TOLERANCE, "{case}: token {token} has {got}, llama.cpp {logit}");
    }
}

#[test]
fn tokens_are_those_of_llama_cpp() {
    for model in [QWEN, SMOLLM] {
        let llm = load(model, &settings(model));
        for (text, mut wanted) in golden(model).texts {
            if model == QWEN && text.starts_with("e\u{301}") {
                // Qwen's own tokenizer composes accents before it cuts; llama.cpp leaves that out.
                wanted = llm.tokenizer().encode("é decomposed").unwrap();
            }
            let tokens = llm.tokenizer().encode(&text).unwrap();
            assert_eq!(tokens, wanted, "{model}: {text:?}");
            assert!(!tokens.iter().any(|&token| llm.tokenizer().is_control(token)), "{model}: {text:?}");
        }
    }
}

#[test]
fn any_split_of_a_prompt_gives_the_same_logits() {
    let mut llm = load(SMOLLM, &settings(SMOLLM));
    let text = "Once upon a time there was a little robot that wanted to learn how to speak. ".repeat(8);
    let tokens = llm.tokenizer().encode(&text).unwrap();
    assert!(tokens.len() > 130, "{}", tokens.len());
    let mut logits_of = |size: usize| {
        let mut state = llm.state();
        tokens.chunks(size).for_each(|part| llm.forward(&mut state, part));
        llm.logits(&state).unwrap().to_vec()
    };
    let whole = logits_of(tokens.len());
    for size in [1, 3, 16, 63, 64, 65] {
        let off = logits_of(size).iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        // Sums in another order, and keys rounded to f16 from values that differ in the last place.
        assert!(off < 0.02, "parts of {size}: {off}");
    }
}

#[test]
fn a_question_gets_its_answer_piece_by_piece() {
    let mut talk = Talk::new(QWEN, &settings(QWEN));
    let mut heard = String::new();
    let answer = talk.ask_until("What is the capital of France?", &mut |piece| {
        heard.push_str(piece);
        ControlFlow::Continue(())
    });
    assert!(answer.text.contains("Paris"), "{answer:?}");
    assert_eq!((answer.text, answer.finish), (heard, Finish::Stop));
}

/// Questions and orders as a transcriber writes them, with the words behind which each is cut.
const ASKED: [(&str, usize); 24] = [
    ("What is the capital of France?", 3),
    ("How is the weather today?", 3),
    ("Can you tell me how far away the moon is?", 5),
    ("Please turn off the light in the kitchen.", 4),
    ("What time is it in Tokyo right now?", 4),
    ("Set a timer for ten minutes.", 4),
    ("Who wrote Romeo and Juliet?", 2),
    ("How many people live in Germany?", 3),
    ("I would like to book a table for two.", 5),
    ("Why is the sky blue during the day?", 4),
    ("What should I cook for dinner tonight?", 3),
    ("Could you play some quiet music?", 3),
    ("How do I make a good cup of coffee?", 5),
    ("Tell me a joke about a penguin.", 5),
    ("When does the next train to Berlin leave?", 4),
    ("What is the difference between a frog and a toad?", 5),
    ("Remind me to call my mother tomorrow.", 4),
    ("How long does it take to boil an egg?", 5),
    ("Is there a pharmacy near the station?", 3),
    ("What is the largest ocean in the world?", 4),
    ("How do you say good morning in Spanish?", 4),
    ("Add milk and bread to my shopping list.", 4),
    ("Which planet is closest to the sun?", 4),
    ("Do I need an umbrella this afternoon?", 3),
];

/// What `llm::ends` claims, of the starter's model with the system prompt as it is.
#[test]
fn an_end_mark_is_likelier_behind_a_whole_question_than_in_its_middle() {
    let plan = config::load(&config::Sources { cores: 2, ..Default::default() }).unwrap().plan;
    let settings = config::LlmPlan { system_prompt: plan.llm.system_prompt, ..settings(QWEN) };
    let mut talk = Talk::new(QWEN, &settings);
    let mut sentence_end_probability = |text: &str| {
        let probability = talk.with(text, |session, llm, request| session.sentence_end_probability(llm, request));
        probability.unwrap().expect("it has words")
    };
    let (mut clear, mut cut_clear) = (0, 0);
    for (question, words) in ASKED {
        let beginning: Vec<&str> = question.split(' ').take(words).collect();
        // Behind a pause a transcriber writes an end mark as well.
        let beginning = format!("{}.", beginning.join(" "));
        let (whole, cut) = (sentence_end_probability(question), sentence_end_probability(&beginning));
        assert!(whole > 4.0 * cut, "{question} {whole}, {beginning} {cut}");
        clear += usize::from(whole > 0.1);
        cut_clear += usize::from(cut < 0.01);
    }
    assert!(clear >= 22 && cut_clear >= 22, "{clear} whole and {cut_clear} cut ones of {} are clear", ASKED.len());
}

/// What the catalogue says a language model takes is what the plan will say once it is installed.
#[test]
fn the_catalogue_counts_as_the_plan_does() {
    for model in [QWEN, SMOLLM] {
        let plan = config::load(&config::Sources { cores: 2, ..Default::default() }).unwrap().plan;
        let planned = Llm::planned_bytes(&common::model_file(model, "model.gguf"), &plan.llm).unwrap();
        let catalogued = Catalogue::builtin().find(model).unwrap().loaded_bytes();
        let off = planned.0.abs_diff(catalogued.0);
        assert!(off <= planned.0 / 100, "{model}: the catalogue says {catalogued}, the plan {planned}");
    }
}

#[test]
fn what_was_computed_is_not_computed_again_and_changes_nothing() {
    let questions = ["Name a colour.", "Name another one."];
    let settings = settings(SMOLLM);
    let mut fresh = Talk::new(SMOLLM, &settings);
    let plain = questions.map(|question| fresh.ask(question));
    assert!(plain[1].stats.prefilled_tokens < plain[1].prompt_tokens / 2, "{:?}", plain[1]);

    let mut ahead = Talk::new(SMOLLM, &settings);
    let system = ahead.session.warm_up(&mut ahead.llm, &settings.system_prompt, &[]).unwrap();
    for (question, plain) in questions.into_iter().zip(&plain) {
        for guess in ["Name", "Name a", "Shame on you", question] {
            ahead.prefill(guess).unwrap();
        }
        assert_eq!(ahead.prefill(question).unwrap(), 0, "nothing is left to compute");
        let answer = ahead.ask(question);
        assert_eq!((&answer.text, answer.prompt_tokens), (&plain.text, plain.prompt_tokens));
        assert_eq!(answer.stats.prefilled_tokens, 0);
    }
    ahead.messages.truncate(1);
    let again = ahead.ask(questions[0]);
    assert_eq!((again.text, again.prompt_tokens), (plain[0].text.clone(), plain[0].prompt_tokens));
    assert_eq!(again.stats.prefilled_tokens, 1, "even the question is still there; only its last logits are not");
    assert!(system > 10, "{system}");
}

#[test]
fn a_cancelled_answer_keeps_what_was_heard() {
    let mut talk = Talk::new(SMOLLM, &settings(SMOLLM));
    let mut pieces = 0;
    let answer = talk.ask_until("Tell me a long story.", &mut |_| {
        pieces += 1;
        if pieces == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((answer.finish, answer.tokens, pieces), (Finish::Cancelled, 5, 5));
    let next = talk.ask("Go on.");
    // The heard answer's last token, the end of its message, and the new question; nothing else is
    // new.
    let new = next.prompt_tokens - (answer.prompt_tokens + answer.tokens);
    assert_eq!(next.stats.prefilled_tokens, new + 1);
}

#[test]
fn a_full_context_drops_whole_turns_and_a_question_too_long_is_refused() {
    let tight = config::LlmPlan { context: Some(128), max_tokens: 16, ..settings(SMOLLM) };
    let mut talk = Talk::new(SMOLLM, &tight);
    let mut dropped = Vec::new();
    for n in 0..6 {
        let answer = talk.ask(&format!("What comes after the number {n}?"));
        assert!(answer.prompt_tokens + answer.tokens <= 128, "{answer:?}");
        dropped.push(answer.dropped_turns);
    }
    assert!(dropped.is_sorted() && dropped[5] > 0 && dropped[5] < 5, "{dropped:?}");
    let refused = talk.prefill(&"word ".repeat(200)).unwrap_err();
    assert!(matches!(refused, LlmError::TooLong { context: 128, .. }), "{refused}");
    assert!(refused.to_string().contains("128"), "{refused}");
    assert!(talk.ask("Hello!").tokens > 0, "the conversation goes on");
}

#[test]
fn a_seed_repeats_an_answer() {
    let warm = config::Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, ..settings(SMOLLM).sampling };
    let answer = |seed| {
        let settings =
            config::LlmPlan { sampling: config::Sampling { seed: Some(seed), ..warm.clone() }, ..settings(SMOLLM) };
        Talk::new(SMOLLM, &settings).ask("Tell me a story.").text
    };
    assert_eq!(answer(3), answer(3));
    assert_ne!(answer(3), answer(4));
}

#[test]
fn a_permit_too_small_and_a_context_too_large_are_refused_with_numbers() {
    let path = common::model_file(SMOLLM, "model.gguf");
    let permit = Budget::new(Bytes::mib(1)).reserve("llm", Bytes::mib(1)).unwrap();
    let refused = Llm::load(&path, &settings(SMOLLM), permit).err().unwrap();
    assert!(matches!(refused, LlmError::Permit { .. }), "{refused}");
    let refused =
        Llm::planned_bytes(&path, &config::LlmPlan { context: Some(1 << 20), ..settings(SMOLLM) }).unwrap_err();
    assert!(matches!(refused, LlmError::Context { asked: 1_048_576, limit: 8192, .. }), "{refused}");
}
