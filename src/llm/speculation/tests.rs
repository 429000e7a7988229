use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::llm::Llm;
use crate::llm::generator::{GenerationLimits, Generator, Step};
use crate::llm::sampler::Sampler;
use crate::llm::template::Thinking;
use crate::llm::testing;
use crate::memory::Budget;
use crate::types::Bytes;

/// Number of tokens of the prompt, not a whole number of chunks.
const PROMPT: usize = 75;
/// Largest number of tokens of an answer.
const ANSWER: usize = 120;

/// A drafter that follows the script of a test.
struct Scripted {
    /// Number of tokens so far.
    len: usize,
    guess: Box<dyn Fn(usize) -> u32 + Send>,
}

impl Drafter for Scripted {
    fn follow(&mut self, tokens: &[u32]) {
        self.len = tokens.len();
    }

    fn push(&mut self, _token: u32) {
        self.len += 1;
    }

    fn propose(&self, most: usize, draft: &mut Vec<u32>) -> usize {
        draft.clear();
        draft.extend((self.len..self.len + most).map(&self.guess));
        3
    }
}

/// A clock on which every call takes the same time, however many tokens it computes.
fn even_clock() -> Box<dyn Fn() -> Duration + Send> {
    let calls = AtomicU64::new(0);
    Box::new(move || Duration::from_millis(calls.fetch_add(1, Ordering::Relaxed)))
}

fn load(file: &testing::Builder, temperature: f32) -> Llm {
    load_for(file, temperature, SpeculativeDecoding::Off)
}

fn load_for(file: &testing::Builder, temperature: f32, speculative_decoding: SpeculativeDecoding) -> Llm {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file.build()).unwrap();
    let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
    let mut settings = testing::settings(250, ANSWER);
    settings.sampling.temperature = temperature;
    settings.speculative_decoding = speculative_decoding;
    Llm::load(path.path(), &settings, permit).unwrap()
}

/// An answer of the model, which `each` may stop after any token; with the final state and random
/// numbers.
struct Told {
    tokens: Vec<u32>,
    state: SequenceState,
    sampler: Sampler,
    guesses: Guesses,
}

fn begun(llm: &mut Llm) -> SequenceState {
    let mut state = llm.state();
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| i * 7 % 250).collect();
    llm.compute(&mut state, &prompt);
    state
}

fn tell(llm: &mut Llm, speculator: Speculator, each: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Told {
    llm.speculator = speculator;
    let (mut state, mut sampler) = (begun(llm), llm.sampler(&llm.settings.sampling));
    let limits = GenerationLimits { tokens: ANSWER, thought: 12 };
    let mut writer = Generator::new(llm, &state, &mut sampler, Thinking::On, limits);
    loop {
        match writer.step(llm, &mut state, &mut sampler).unwrap() {
            Step::End(_) => break,
            _ if each(writer.tokens().len()).is_break() => break,
            _ => {}
        }
    }
    writer.settle(llm, &mut state);
    Told { tokens: writer.tokens().to_vec(), state, sampler, guesses: writer.guesses() }
}

fn guessing(guess: impl Fn(usize) -> u32 + Send + 'static) -> Speculator {
    let drafter = Scripted { len: 0, guess: Box::new(guess) };
    Speculator { drafting: Some(Drafting::new(Box::new(drafter), None, even_clock())), answers: 0, bytes: 0 }
}

/// A drafter that never finds a draft.
struct Silent;

impl Drafter for Silent {
    fn follow(&mut self, _tokens: &[u32]) {}

    fn push(&mut self, _token: u32) {}

    fn propose(&self, _most: usize, draft: &mut Vec<u32>) -> usize {
        draft.clear();
        0
    }
}

fn mtp(llm: &Llm) -> Mtp {
    Mtp::new(llm.model_config(), llm.tokenizer.used(), KvCacheType::F16)
}

/// A speculator that uses the model's draft block if `drafter` has no draft. No time passes, so
/// that only acceptance counts.
fn drafting(llm: &Llm, drafter: Box<dyn Drafter>) -> Speculator {
    let drafting = Drafting::new(drafter, Some(mtp(llm)), Box::new(|| Duration::ZERO));
    Speculator { drafting: Some(drafting), answers: 0, bytes: 0 }
}

fn nothing() -> Speculator {
    Speculator { drafting: None, answers: 0, bytes: 0 }
}

fn go_on(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Asserts the same tokens, the same state to the bit, and the same remaining random numbers.
fn assert_same(case: &str, llm: &mut Llm, plain: Told, mut ahead: Told) {
    assert_eq!(plain.tokens, ahead.tokens, "{case}");
    assert_eq!(plain.state.tokens(), ahead.state.tokens(), "{case}");
    let mut state = plain.state;
    let mut sampler = plain.sampler;
    for token in [1, 2, 3] {
        llm.forward(&mut state, &[token]);
        let wanted = llm.logits(&state).unwrap().to_vec();
        llm.forward(&mut ahead.state, &[token]);
        assert_eq!(wanted, llm.logits(&ahead.state).unwrap(), "{case}");
        let drawn = [&mut sampler, &mut ahead.sampler].map(|sampler| sampler.choose(&mut vec![0.0; 100]));
        assert_eq!(drawn[0], drawn[1], "{case}");
    }
}

#[test]
fn no_guess_changes_an_answer() {
    for (family, temperature) in [("llama", 0.0), ("llama", 1.0), ("qwen2", 0.8), ("qwen35", 0.0), ("qwen35", 1.2)] {
        let mut llm = load(&testing::model(family), temperature);
        let told = tell(&mut llm, nothing(), &mut go_on);
        let truth = told.tokens.clone();
        let right = move |at: usize| truth.get(at - PROMPT).copied().unwrap_or(0);
        let wrong = {
            let right = right.clone();
            move |at: usize| (right(at) + 1) % 250
        };
        let random = {
            let right = right.clone();
            move |at: usize| if at % 7 < 5 { right(at) } else { 9 }
        };
        let whole = told.tokens.len();
        let drafters: [(&str, Speculator); 3] = [
            ("always right", guessing(right)),
            ("always wrong", guessing(wrong)),
            ("now and then wrong", guessing(random)),
        ];
        for (name, ahead) in drafters {
            let case = format!("{family} {temperature} {name}");
            let ahead = tell(&mut llm, ahead, &mut go_on);
            let Guesses { computed, right, .. } = ahead.guesses;
            match name {
                // After the end of the answer no draft is right.
                "always right" => {
                    assert!(right + MOST >= computed && right > whole / 2, "{case}: {right} of {computed} for {whole}");
                }
                "always wrong" => assert!(right == 0 && computed > 20, "{case}: {computed}"),
                _ => assert!(right > whole / 4 && right < computed, "{case}: {right} of {computed}"),
            }
            let plain = tell(&mut llm, nothing(), &mut go_on);
            assert_same(&case, &mut llm, plain, ahead);
        }
    }
}

#[test]
fn breaking_off_in_the_middle_of_a_guess_leaves_what_a_plain_answer_would() {
    for family in ["llama", "qwen35"] {
        let mut llm = load(&testing::model(family), 1.0);
        let told = tell(&mut llm, nothing(), &mut go_on);
        for at in 30..48 {
            let truth = told.tokens.clone();
            let ahead = guessing(move |at| truth.get(at - PROMPT).copied().unwrap_or(0));
            let mut stop = |len: usize| if len == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let plain = tell(&mut llm, nothing(), &mut stop);
            let ahead = tell(&mut llm, ahead, &mut stop);
            assert_same(&format!("{family} {at}"), &mut llm, plain, ahead);
        }
    }
}

#[test]
fn no_draft_of_the_models_own_block_changes_an_answer() {
    for (foreseen, temperature) in [(false, 0.0), (false, 1.0), (true, 0.0), (true, 0.7)] {
        let mut llm = load_for(&testing::drafting(foreseen), temperature, SpeculativeDecoding::Auto);
        let found: [(&str, Box<dyn Drafter>); 2] =
            [("nothing found", Box::new(Silent)), ("looked up", Box::new(Lookup::new(250)))];
        for (name, drafter) in found {
            let case = format!("foreseen {foreseen}, {temperature}, {name}");
            let speculator = drafting(&llm, drafter);
            let ahead = tell(&mut llm, speculator, &mut go_on);
            let Guesses { computed, right, drafted, drafted_right } = ahead.guesses;
            assert!(drafted <= computed && drafted_right <= right && drafted_right <= drafted, "{case}");
            match (name, foreseen) {
                ("looked up", _) => {}
                (_, true) if temperature == 0.0 => assert!(drafted_right > ANSWER / 4, "{case}: {:?}", ahead.guesses),
                _ => assert!(drafted > 4 && drafted_right < drafted, "{case}: {:?}", ahead.guesses),
            }
            let plain = tell(&mut llm, nothing(), &mut go_on);
            assert_same(&case, &mut llm, plain, ahead);
        }
    }
}

#[test]
fn breaking_off_in_the_middle_of_a_draft_leaves_what_a_plain_answer_would() {
    let mut llm = load_for(&testing::drafting(true), 0.0, SpeculativeDecoding::Auto);
    for at in 20..40 {
        let mut stop = |len: usize| if len == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let speculator = drafting(&llm, Box::new(Silent));
        let ahead = tell(&mut llm, speculator, &mut stop);
        let plain = tell(&mut llm, nothing(), &mut stop);
        assert_same(&format!("at {at}"), &mut llm, plain, ahead);
    }
}

/// After any sequence of drafts, acceptances and rollbacks the cache of the block equals one that
/// followed the text token by token.
#[test]
fn the_models_own_block_stays_in_step_with_the_text() {
    for (foreseen, temperature) in [(false, 1.0), (true, 0.0), (true, 0.7)] {
        let mut llm = load_for(&testing::drafting(foreseen), temperature, SpeculativeDecoding::Auto);
        let speculator = drafting(&llm, Box::new(Silent));
        let told = tell(&mut llm, speculator, &mut go_on);
        let (mut plain, mut lived) = (mtp(&llm), llm.speculator.drafting.take().unwrap().mtp.unwrap());
        // The rows of its last positions are in the workspace until another state computes.
        lived.watch(&mut llm.model, &told.state);
        let mut state = begun(&mut llm);
        for &token in &told.state.tokens()[PROMPT..].to_vec() {
            plain.watch(&mut llm.model, &state);
            llm.forward(&mut state, &[token]);
        }
        let mut drafts = [Vec::new(), Vec::new()];
        plain.watch(&mut llm.model, &state);
        for ((mtp, state), draft) in [(&mut plain, &state), (&mut lived, &told.state)].into_iter().zip(&mut drafts) {
            mtp.propose(&mut llm.model, state, (17, 3), |_| false, draft);
        }
        assert!(drafts[0].len() == 3 && drafts[0] == drafts[1], "{drafts:?}");
        let off = plain.furthest_apart(&lived, llm.model_config());
        assert!(off < 1e-2, "foreseen {foreseen}: an entry is off by {off}");
    }
}

#[test]
fn the_block_is_loaded_and_planned_for_only_where_it_is_wanted() {
    let file = testing::drafting(false);
    let (with, without) =
        (load_for(&file, 0.0, SpeculativeDecoding::Auto), load_for(&file, 0.0, SpeculativeDecoding::Off));
    assert!(with.model.drafts() && !without.model.drafts());
    // Four matrices of attention, three of the feed-forward network, and the joining one.
    let block = 4 * (32 * 64 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64 + 32 * 64);
    assert_eq!(with.model.bytes() - without.model.bytes(), block);
    assert!(with.planned().0 > without.planned().0 + block as u64);
    assert!(!load_for(&testing::model("qwen35"), 0.0, SpeculativeDecoding::Auto).model.drafts());
}
