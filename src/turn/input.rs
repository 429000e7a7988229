//! What the machine is told.

use crate::types::{Ms, TurnId};

/// Something that happened. What carries a number that is not current any more changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnInput {
    Voice(VoiceEvent),
    /// How likely it is that the turn is complete, 0..=1, as of the pause for which `turn` was to
    /// be recognised.
    EndOfTurnScore {
        turn: TurnId,
        probability: f32,
    },
    /// How far the sound of `turn` is like what the speaker played at the time: 1 is its echo, 0
    /// has nothing to do with it. Told when its recognition begins, and of all that is to be
    /// recognised before its words are.
    LikePlayed {
        turn: TurnId,
        likeness: f32,
    },
    /// How likely, 0..=1, the language has a sentence end behind the words of the question of
    /// `turn`, for which an answer is prepared; `None` where that cannot be told.
    SentenceEndScore {
        turn: TurnId,
        probability: Option<f32>,
    },
    /// Words so far, while the person may still be speaking.
    Partial {
        turn: TurnId,
        transcript: TurnTranscript,
    },
    /// The words of the sound that was to be recognised for `turn`.
    Recognised {
        turn: TurnId,
        transcript: TurnTranscript,
    },
    /// The wake word was said; its sound ended at `until` on the session's clock.
    WakeWord {
        until: Ms,
    },
    Answer {
        turn: TurnId,
        event: AnswerEvent,
    },
    Playback {
        turn: TurnId,
        event: PlaybackEvent,
    },
    Control(Control),
    DeviceLost(DeviceKind),
    DeviceBack(DeviceKind),
    /// A stage failed: at the work for `turn`, or altogether.
    StageFailed {
        stage: TurnStage,
        turn: Option<TurnId>,
    },
    /// Time passed: sent at [`super::Machine::next_deadline`] at the latest.
    Tick,
    /// The session ends. Nothing is said after it.
    Shutdown,
}

/// What voice activity tells. Moments are on the session's clock and may lie a little before the
/// input's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VoiceEvent {
    /// The first voiced frame: a voice, perhaps.
    Seen { since: Ms },
    /// It was none.
    Lost,
    /// Enough of it was voiced: somebody speaks.
    Confirmed { since: Ms },
    /// No voice for a moment. All of the utterance's sound is there.
    Paused { since: Ms },
    /// The voice is back.
    Resumed { since: Ms },
    /// Voice activity's own silence is over; the next voice is a new one to it.
    Ended { since: Ms },
}

/// What the transcriber read.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnTranscript {
    pub text: String,
    /// Two letters, as in "en"; empty when it is not known.
    pub language: String,
    pub verdict: TurnVerdict,
    /// How likely, 0..=1, the transcriber finds it that a sentence ends behind the last word;
    /// `None` where it does not say.
    pub ending: Option<f32>,
}

/// How far a transcript can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnVerdict {
    Certain,
    /// Something was said, but perhaps not this.
    Doubtful,
    /// Nobody spoke.
    Nothing,
}

/// How an answer comes along.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// The first sentence went to the voice.
    FirstSentence,
    /// The next piece of its sound lasts `length` and says `text`, which stands at byte `at` of the
    /// answer's text.
    Sound { length: Ms, at: usize, text: String },
    /// All of its sound is there.
    Complete,
}

/// What the device's clock says of the answer's sound. Best told right before anything that may end
/// the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlaybackEvent {
    /// It has left the speaker up to `position`.
    Played { position: Ms },
    /// All that there was has left the speaker.
    Drained,
}

/// What a person asks for other than by speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Mute,
    Unmute,
    /// Be quiet, and forget what is under way.
    Stop,
    /// Be quiet and listen, as after the wake word.
    ListenNow,
    /// Be quiet and listen for as long as the key is down.
    TalkKeyDown,
    /// The turn is over.
    TalkKeyUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Microphone,
    Speaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnStage {
    /// Voice activity, wake word, end of turn.
    Detector,
    Transcriber,
    LanguageModel,
    Voice,
    Playback,
}

impl TurnStage {
    /// The name that programs read.
    pub fn name(self) -> &'static str {
        match self {
            TurnStage::Detector => "detector",
            TurnStage::Transcriber => "transcriber",
            TurnStage::LanguageModel => "language_model",
            TurnStage::Voice => "synthesizer",
            TurnStage::Playback => "playback",
        }
    }
}
