//! A conversation: its turns, and the part of them that the model has computed already.
//!
//! The history is kept as tokens, message after message, so that nothing is computed twice: each
//! prompt is compared with the tokens of the state, the common beginning stays, and the rest is
//! rolled back. Prefill ([`Conversation::prefill`]) is the same operation without an answer.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use super::LlmError;
use super::ends::Ends;
use super::generator::{Finish, GenerationLimits, Generator, Step};
use super::loaded::Llm;
use super::prompt_cache::{CacheNote, PromptCache, SystemPrompt};
use super::sampler::Sampler;
use super::speculation::Guesses;
use super::state::SequenceState;
use super::template::Thinking;
use super::thinking::Piece;
use super::window::Window;
use crate::types::Ms;

pub struct Conversation {
    llm: Llm,
    ends: Ends,
    state: SequenceState,
    sampler: Sampler,
    /// The system prompt, rendered.
    system: SystemPrompt,
    /// Question and answer of each turn, rendered, the oldest first.
    turns: Vec<Vec<u32>>,
    /// Range of the answer in the last turn.
    answered: Option<Range<usize>>,
}

/// Outcome of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedAnswer {
    pub text: String,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Tokens of the whole prompt: system prompt, history and question.
    pub prompt_tokens: usize,
    pub finish: Finish,
    pub stats: GenerationStats,
}

/// Cost of prefill and decode for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationStats {
    /// Tokens of the prompt computed for this answer.
    pub prefilled_tokens: usize,
    /// Time to compute the prompt.
    pub prefill: Ms,
    /// Time to compute the answer, including the time spent in `on_piece`.
    pub decode: Ms,
    /// Tokens of the answer computed during `decode`, one by one or speculatively.
    pub steps: usize,
    /// Draft tokens that were computed, accepted or rejected.
    pub guesses: Guesses,
}

impl GenerationStats {
    /// Prefill speed; `None` if every token of the prompt was already computed.
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        per_second(self.prefilled_tokens, self.prefill)
    }

    /// Decode speed; `None` if no step was needed.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        per_second(self.steps, self.decode)
    }
}

fn per_second(tokens: usize, span: Ms) -> Option<f64> {
    (tokens > 0 && span.0 > 0.0).then(|| tokens as f64 * 1000.0 / span.0)
}

/// How a question fits the context, decided before anything is computed.
struct Fit {
    /// Number of oldest turns to drop.
    dropped: usize,
    /// Tokens left for the answer.
    room: usize,
}

/// Answer of the model.
struct Reply {
    text: String,
    tokens: Vec<u32>,
    finish: Finish,
    steps: usize,
    guesses: Guesses,
}

impl Conversation {
    pub fn new(llm: Llm) -> Result<Self, LlmError> {
        let system = SystemPrompt::of_text(&llm.format, &llm.tokenizer, &llm.settings.system_prompt)?;
        let (state, sampler) = (llm.state(), llm.sampler(&llm.settings.sampling));
        let ends = Ends::of(&llm.tokenizer);
        let conversation = Conversation { llm, ends, state, sampler, system, turns: Vec::new(), answered: None };
        conversation.fit(&[])?;
        Ok(conversation)
    }

    pub fn llm(&self) -> &Llm {
        &self.llm
    }

    /// Number of turns in the history.
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Computes the system prompt, so that the first question does not wait for it. Returns the
    /// number of tokens computed.
    pub fn warm_up(&mut self) -> Result<usize, LlmError> {
        let computed = self.llm.compute(&mut self.state, self.system.tokens());
        self.state.mark_turn();
        Ok(computed)
    }

    /// Does [`Conversation::warm_up`] with the state stored in `cache`, or stores the computed
    /// state there.
    pub fn warm_up_from(&mut self, cache: &PromptCache) -> Vec<CacheNote> {
        let (state, _, notes) = self.llm.begin(&self.system, cache);
        self.state = state;
        notes
    }

    /// Cuts the last answer to `heard`: the beginning of its text that was played to the user.
    pub fn keep_heard(&mut self, heard: &str) {
        let (Some(turn), Some(answer)) = (self.turns.last_mut(), self.answered.take()) else { return };
        let Some(kept) = self.llm.tokens_heard(&turn[answer.clone()], heard) else { return };
        turn.splice(answer, kept);
    }

    /// Computes the history and `question` as [`Conversation::ask`] would, before the question is
    /// final. May be called again with another text; the common beginning is kept. Returns the
    /// number of tokens computed.
    pub fn prefill(&mut self, question: &str) -> Result<usize, LlmError> {
        let question = self.llm.format.question(&self.llm.tokenizer, question)?;
        let fit = self.fit(&question)?;
        let prompt = self.prompt(fit.dropped, &question);
        Ok(self.llm.compute(&mut self.state, &prompt))
    }

    /// Computes a question as [`Conversation::prefill`] does, and returns the probability, 0..=1,
    /// that a sentence ends after its last word: that of an end mark as the next token. `None` if
    /// the question has no word.
    pub fn sentence_end_probability(&mut self, question: &str) -> Result<Option<f32>, LlmError> {
        let question = self.llm.format.question(&self.llm.tokenizer, question)?;
        let fit = self.fit(&question)?;
        let prompt = self.prompt(fit.dropped, &question);
        let Some(word) = self.ends.last_word(&self.llm.tokenizer, &question) else { return Ok(None) };
        let at = prompt.len() - question.len() + word;
        let known = self.state.tokens().iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        let keep = known.min(at);
        self.llm.rollback(&mut self.state, keep);
        let mut probability = 0.0;
        let watch = |logits: &[f32]| probability = self.ends.probability(logits);
        self.llm.model.forward_watching(&mut self.state, &prompt[keep..], at - keep, watch);
        Ok(Some(probability))
    }

    /// Answers `question` and passes each piece of text to `on_piece` as soon as it is complete.
    /// `Break` ends the answer at once; the history then keeps the pieces passed so far, the last
    /// one included. If the context is full, the oldest turns are dropped, each as a whole, never
    /// the system prompt.
    pub fn ask(
        &mut self,
        question: &str,
        on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<GeneratedAnswer, LlmError> {
        let started = Instant::now();
        // If this call fails there is no new answer, and the one before must not be cut in its
        // place.
        self.answered = None;
        let question = self.llm.format.question(&self.llm.tokenizer, question)?;
        let fit = self.fit(&question)?;
        let prompt = self.prompt(fit.dropped, &question);
        let prefilled_tokens = self.llm.compute(&mut self.state, &prompt);
        self.state.mark_turn();
        let prefill = Ms::from(started.elapsed());

        let started = Instant::now();
        let reply = self.generate(fit.room, on_piece)?;
        let decode = Ms::from(started.elapsed());
        let stats = GenerationStats { prefilled_tokens, prefill, decode, steps: reply.steps, guesses: reply.guesses };

        self.turns.drain(..fit.dropped);
        self.answered = Some(question.len()..question.len() + reply.tokens.len());
        self.turns
            .push(question.into_iter().chain(reply.tokens.iter().copied()).chain(self.llm.format.closing()).collect());
        Ok(GeneratedAnswer {
            text: reply.text,
            tokens: reply.tokens.len(),
            prompt_tokens: prompt.len(),
            finish: reply.finish,
            stats,
        })
    }

    /// Removes the last turn, as if it had not been asked.
    pub fn forget_last(&mut self) {
        self.turns.pop();
        self.answered = None;
    }

    /// Removes all turns. The computed system prompt stays.
    pub fn reset(&mut self) {
        self.turns.clear();
        self.answered = None;
    }

    /// Returns how the next question fits the context.
    fn fit(&self, question: &[u32]) -> Result<Fit, LlmError> {
        let window = Window { context: self.state.context(), max_tokens: self.llm.settings.max_tokens };
        let turns = self.turns.iter().map(Vec::len).sum::<usize>();
        let mut total = self.system.tokens().len() + question.len() + turns;
        let mut dropped = 0;
        if window.is_full(total) {
            while dropped < self.turns.len() && window.is_crowded(total) {
                total -= self.turns[dropped].len();
                dropped += 1;
            }
        }
        Ok(Fit { dropped, room: window.room(total)? })
    }

    fn prompt(&self, dropped: usize, question: &[u32]) -> Vec<u32> {
        let turns = self.turns[dropped..].iter().flatten();
        self.system.tokens().iter().chain(turns).chain(question).copied().collect()
    }

    /// Decodes from the state's logits until the model stops, `room` is used up or `on_piece`
    /// breaks off.
    fn generate(&mut self, room: usize, on_piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Reply, LlmError> {
        let limits = GenerationLimits { tokens: room, thought: 0 };
        let mut generator = Generator::new(&mut self.llm, &self.state, &mut self.sampler, Thinking::Off, limits);
        let mut text = String::new();
        let finish = loop {
            match generator.step(&mut self.llm, &mut self.state, &mut self.sampler)? {
                Step::Piece(Piece::GeneratedAnswer(piece)) => {
                    text.push_str(&piece);
                    if on_piece(&piece).is_break() {
                        break Finish::Cancelled;
                    }
                }
                Step::Piece(Piece::Thought(_)) | Step::Nothing => {}
                Step::End(finish) => break finish,
            }
        };
        generator.settle(&mut self.llm, &mut self.state);
        let (tokens, guesses) = (generator.tokens().to_vec(), generator.guesses());
        Ok(Reply { text, tokens, finish, steps: generator.steps(), guesses })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::memory::Budget;
    use crate::types::Bytes;

    /// A tiny random model: its answers are noise, but deterministic.
    fn conversation(family: &str, context: usize, max_tokens: usize) -> Conversation {
        let settings = testing::settings(context, max_tokens);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testing::model(family).build()).unwrap();
        let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
        Conversation::new(Llm::load(file.path(), &settings, permit).unwrap()).unwrap()
    }

    fn ask(conversation: &mut Conversation, question: &str) -> GeneratedAnswer {
        conversation.ask(question, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn a_conversation_can_move_to_the_thread_that_leads_it() {
        fn moves<T: Send>() {}
        moves::<Conversation>();
    }

    #[test]
    fn reading_ahead_changes_no_answer() {
        for family in ["llama", "qwen2", "qwen35"] {
            let mut plain = conversation(family, 256, 12);
            let mut ahead = conversation(family, 256, 12);
            ahead.warm_up().unwrap();
            for question in ["What is it?", "What was it?", "And now?"] {
                for guess in ["Wha", "What is", "Something else entirely", question] {
                    ahead.prefill(guess).unwrap();
                }
                let (plain, ahead) = (ask(&mut plain, question), ask(&mut ahead, question));
                assert_eq!((plain.text, plain.tokens), (ahead.text, ahead.tokens), "{family} {question}");
                assert_eq!(ahead.stats.prefilled_tokens, 0);
            }
        }
    }

    #[test]
    fn weighing_a_question_reads_it_and_changes_no_answer() {
        for family in ["llama", "qwen2", "qwen35"] {
            let (mut plain, mut weighed) = (conversation(family, 256, 12), conversation(family, 256, 12));
            for question in ["What is it?", "And now. "] {
                let probability = weighed.sentence_end_probability(question).unwrap().unwrap();
                assert!((0.0..=1.0).contains(&probability), "{family} {question} {probability}");
                let again = weighed.sentence_end_probability(question).unwrap().unwrap();
                assert!((again - probability).abs() < 1e-3, "{family} {again} after {probability}");
                let (plain, weighed) = (ask(&mut plain, question), ask(&mut weighed, question));
                assert_eq!((plain.text, plain.tokens), (weighed.text, weighed.tokens), "{family} {question}");
                assert_eq!(weighed.stats.prefilled_tokens, 0);
            }
            assert_eq!(
                weighed.sentence_end_probability("?!").unwrap().map(f32::is_finite),
                Some(true),
                "the role is a word"
            );
        }
    }

    #[test]
    fn pieces_are_the_answer() {
        let mut conversation = conversation("qwen2", 256, 30);
        let mut heard = String::new();
        let answer = conversation.ask("Say something.", &mut |piece| {
            assert!(!piece.is_empty());
            heard.push_str(piece);
            ControlFlow::Continue(())
        });
        assert_eq!(answer.unwrap().text, heard);
    }

    #[test]
    fn breaking_off_ends_the_answer_and_keeps_what_was_heard() {
        ["llama", "qwen35"].into_iter().for_each(break_off);
    }

    fn break_off(family: &str) {
        let mut conversation = conversation(family, 256, 30);
        let full = ask(&mut conversation, "Say something.");
        assert_eq!((full.finish, full.tokens), (Finish::Length, 30));
        conversation.reset();
        let mut heard = String::new();
        let cut = conversation.ask("Say something.", &mut |piece| {
            heard.push_str(piece);
            if heard.len() >= 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let cut = cut.unwrap();
        assert_eq!((cut.finish, &cut.text), (Finish::Cancelled, &heard));
        assert!(full.text.starts_with(&cut.text) && cut.tokens < full.tokens);
        let next = ask(&mut conversation, "Go on.");
        let told = cut.prompt_tokens + cut.tokens;
        assert_eq!(
            next.stats.prefilled_tokens,
            next.prompt_tokens - told + 1,
            "only the last token heard and what is new"
        );
    }

    #[test]
    fn an_answer_is_cut_back_to_what_was_heard() {
        for family in ["llama", "qwen35"] {
            let mut cut = conversation(family, 256, 30);
            let whole = ask(&mut cut, "Say something.");
            let half = whole.text.char_indices().nth(whole.text.chars().count() / 2).unwrap().0;
            cut.keep_heard(&whole.text[..half]);
            // The same as a conversation whose caller stopped the answer at that point.
            let mut left = conversation(family, 256, 30);
            let mut heard = String::new();
            left.ask("Say something.", &mut |piece| {
                heard.push_str(piece);
                if heard.len() >= half { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
            left.keep_heard(&whole.text[..half]);
            let (cut, left) = (ask(&mut cut, "Go on."), ask(&mut left, "Go on."));
            assert_eq!((cut.text, cut.prompt_tokens), (left.text, left.prompt_tokens), "{family}");
            assert!(cut.prompt_tokens < whole.prompt_tokens * 2 + whole.tokens, "{family}");
        }
    }

    #[test]
    fn a_stored_system_prompt_changes_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PromptCache::open(folder.path(), Bytes::mib(16));
        for family in ["llama", "qwen35"] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), testing::model(family).build()).unwrap();
            let open = || {
                let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
                Conversation::new(Llm::load(file.path(), &testing::settings(256, 12), permit).unwrap()).unwrap()
            };
            let plain = ask(&mut open(), "What is it?");
            for _first_and_again in 0..2 {
                let mut stored = open();
                assert!(stored.warm_up_from(&cache).is_empty());
                let answer = ask(&mut stored, "What is it?");
                assert_eq!((answer.text, answer.tokens), (plain.text.clone(), plain.tokens), "{family}");
                assert!(answer.stats.prefilled_tokens < plain.stats.prefilled_tokens);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// Defect 8: a system claims a cache, but each turn computes everything again. (Its other
    /// defects: `turn::tests::defects`.)
    #[test]
    fn defect_8_a_turn_computes_only_what_is_new() {
        for family in ["llama", "qwen2", "qwen35"] {
            let (folder, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
            std::fs::write(file.path(), testing::model(family).build()).unwrap();
            let cache = PromptCache::open(folder.path(), Bytes::mib(16));
            for session in 0..2 {
                let permit = Budget::new(Bytes::mib(64)).reserve("tiny", Bytes::mib(64)).unwrap();
                let llm = Llm::load(file.path(), &testing::settings(256, 8), permit).unwrap();
                let mut conversation = Conversation::new(llm).unwrap();
                assert!(conversation.warm_up_from(&cache).is_empty());
                let mut known = conversation.system.tokens().len();
                assert!(conversation.warm_up().unwrap() <= 1, "{family}: all is there, but for the last logits");
                for question in ["What is it?", "And why?", "Since when?"] {
                    let answer = ask(&mut conversation, question);
                    let computed = answer.stats.prefilled_tokens;
                    let new = answer.prompt_tokens - known;
                    assert!(computed <= new, "{family}, session {session}: {computed} of {new} for {question}");
                    // The answer's last token may have been chosen, but never read.
                    known = answer.prompt_tokens + answer.tokens - 1;
                }
            }
        }
    }

    #[test]
    fn a_full_context_drops_whole_turns_and_keeps_the_system_prompt() {
        ["llama", "qwen35"].into_iter().for_each(fill_up);
    }

    fn fill_up(family: &str) {
        let mut conversation = conversation(family, 200, 10);
        let mut before = 0;
        let mut drops = 0;
        for n in 0..12 {
            let answer = ask(&mut conversation, &format!("And number {n}?"));
            assert!(answer.prompt_tokens + answer.tokens <= 200);
            let system = conversation.system.tokens();
            assert!(conversation.state.tokens().starts_with(system));
            drops += usize::from(conversation.turns() <= before);
            before = conversation.turns();
            let whole = conversation.turns.iter().all(|turn| turn.starts_with(&system[..1]));
            assert!(whole, "each turn in the history begins with its marker");
        }
        assert!((1..6).contains(&drops), "turns go several at a time, now and then: {drops}");
    }

    #[test]
    fn a_turn_is_remembered_however_long_answers_may_be() {
        for family in ["llama", "qwen35"] {
            let mut conversation = conversation(family, 256, 256);
            let cut = |_: &str| ControlFlow::Break(());
            let first = conversation.ask("What is it?", &mut { cut }).unwrap();
            let second = conversation.ask("And why?", &mut { cut }).unwrap();
            assert_eq!(conversation.turns(), 2, "{family}");
            let told = first.prompt_tokens + first.tokens;
            assert!(second.prompt_tokens > told, "{family}");
            assert_eq!(second.stats.prefilled_tokens, second.prompt_tokens - told + 1, "{family}");
        }
    }

    #[test]
    fn a_question_that_fails_takes_nothing_from_the_answer_before() {
        let mut conversation = conversation("llama", 128, 10);
        ask(&mut conversation, "Hello?");
        let turns = conversation.turns.clone();
        conversation.ask(&"x".repeat(500), &mut |_| ControlFlow::Continue(())).unwrap_err();
        conversation.keep_heard("");
        assert_eq!(conversation.turns, turns);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_numbers_and_leaves_the_conversation_whole() {
        let mut conversation = conversation("llama", 128, 10);
        let first = ask(&mut conversation, "Hello?");
        for refused in [
            conversation.prefill(&"x".repeat(500)).map(drop),
            conversation.ask(&"x".repeat(500), &mut |_| ControlFlow::Continue(())).map(drop),
        ] {
            let Err(LlmError::TooLong { prompt, answer: 10, context: 128 }) = refused else { panic!("{refused:?}") };
            assert!(prompt > 500);
        }
        assert_eq!(conversation.turns(), 1);
        conversation.reset();
        assert_eq!(ask(&mut conversation, "Hello?").text, first.text);
    }
}
