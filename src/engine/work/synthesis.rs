//! Work of the synthesizer: one sentence at a time. A session sends the next sentence when it has
//! room for the sound, so one long answer holds up no other.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::message::{ReplyTo, StageResult};
use crate::engine::host::{FailureReport, Job, Stage, StageContext};
use crate::engine::latest::Latest;
use crate::engine::stage::{StageKind, Synthesizer};
use crate::tts::{Sound, Word, words};
use crate::types::{Frame, SampleRate, SessionId, TurnId, WordMark};

/// Sentence to speak.
pub(in crate::engine) struct SynthesisJob {
    pub sentence: String,
    /// Two-letter code; empty for the language of the main voice.
    pub language: String,
    /// Number of words of the answer before it.
    pub words_before: usize,
    /// Place to note that the turn's first sound was made.
    pub begun: Arc<Latest<TurnId>>,
    pub reply: ReplyTo,
}

impl Job for SynthesisJob {
    fn session(&self) -> SessionId {
        self.reply.session
    }

    /// First sentences go first: somebody has heard nothing yet.
    fn priority(&self) -> u8 {
        u8::from(self.words_before == 0)
    }

    fn replaces_waiting(&self) -> bool {
        false
    }

    fn is_current(&self) -> bool {
        self.reply.is_wanted()
    }

    fn failure_report(&self) -> FailureReport {
        self.reply.failure_report(StageKind::Synthesizer)
    }
}

pub(in crate::engine) struct SynthesisStage(pub Box<dyn Synthesizer>);

impl Stage for SynthesisStage {
    type Job = SynthesisJob;

    fn start(&mut self, job: SynthesisJob, context: &StageContext) {
        let SynthesisJob { sentence, language, words_before, begun, reply } = job;
        let (rate, turn, words) = (self.0.rate(), reply.turn, words(&sentence));
        let mut silent = words_before == 0;
        let spoken = self.0.speak(&sentence, &language, &mut |sound| {
            context.beat();
            if std::mem::take(&mut silent) {
                reply.send(context, StageResult::FirstSound);
                begun.put(turn);
            }
            if !(reply.is_wanted() && context.is_current()) {
                return ControlFlow::Break(());
            }
            reply.send(context, StageResult::Sound(frame(turn, rate, &sound, &words, words_before)));
            ControlFlow::Continue(())
        });
        match spoken {
            Ok(()) => reply.send(context, StageResult::SentenceSpoken),
            Err(error) => reply.fail(context, StageKind::Synthesizer, error),
        }
    }
}

/// Makes a frame from part of the sound of a sentence with these `words`. `before` is the number of
/// words of the answer before it.
fn frame(turn: TurnId, rate: SampleRate, sound: &Sound, words: &[Word], before: usize) -> Frame {
    let (from, length) = (sound.says.start, sound.says.end - sound.says.start);
    let at = |begins: f64| ((begins - from) / length * sound.samples.len() as f64) as usize;
    let here = words.iter().enumerate().filter(|(_, word)| sound.says.contains(&word.begins));
    let words = here.map(|(n, word)| WordMark { at: at(word.begins), word: before + n }).collect();
    Frame { turn, rate, samples: sound.samples.to_vec(), words }
}
