//! Milestones of a turn.

/// Step on the way from a question to its answer. The order of the variants is the order of a
/// successful turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The last sample of speech was captured: zero of the waterfall.
    LastSpeechSample,
    Transcript,
    /// The language model wrote its first token.
    FirstToken,
    /// The first sentence of the answer is written.
    FirstSentence,
    /// The synthesizer returned its first sound, even if silent.
    FirstSound,
    /// The silence after the question was long enough: the turn is certain.
    TurnDecided,
    /// The first audible sample was played.
    FirstAudible,
    /// The text of the answer is complete.
    LastToken,
    /// The answer is over.
    Done,
}

impl Milestone {
    /// Name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Milestone::LastSpeechSample => "last_speech_sample",
            Milestone::Transcript => "transcript",
            Milestone::FirstToken => "first_token",
            Milestone::FirstSentence => "first_sentence",
            Milestone::FirstSound => "first_pcm",
            Milestone::TurnDecided => "turn_decided",
            Milestone::FirstAudible => "first_audible",
            Milestone::LastToken => "last_token",
            Milestone::Done => "done",
        }
    }
}
