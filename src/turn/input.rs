//! Inputs of the machine.

use serde::{Deserialize, Serialize};

use crate::types::{Ms, TurnId, exact};

/// Event for the machine. An input with a turn number that is no longer current changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TurnInput {
    Voice(VoiceEvent),
    /// Probability, 0..=1, that the turn is complete at the pause for which the recognition of
    /// `turn` was requested.
    EndOfTurnScore {
        turn: TurnId,
        #[serde(with = "exact")]
        probability: f32,
    },
    /// Similarity of the sound of `turn` to what the loudspeaker played at that time: 1 is its
    /// echo, 0 has nothing to do with it. Sent when the recognition begins, and for the whole sound
    /// to be transcribed before its transcript.
    LikePlayed {
        turn: TurnId,
        #[serde(with = "exact")]
        likeness: f32,
    },
    /// Probability, 0..=1, that a sentence ends after the words of the question of `turn`, as the
    /// language model estimates it; an answer to them is being prepared. `None` if the model cannot
    /// tell.
    SentenceEndScore {
        turn: TurnId,
        #[serde(with = "exact::option")]
        probability: Option<f32>,
    },
    /// Partial transcript, while the user may still be speaking.
    Partial {
        turn: TurnId,
        transcript: TurnTranscript,
    },
    /// Transcript of the sound that was requested for `turn`.
    Recognised {
        turn: TurnId,
        transcript: TurnTranscript,
    },
    /// The wake word was detected; its sound ended at `until` on the session's clock.
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
    /// A stage failed: in its work for `turn`, or entirely.
    StageFailed {
        stage: TurnStage,
        turn: Option<TurnId>,
    },
    /// Time passed: sent at [`super::Machine::next_deadline`] at the latest.
    Tick,
    /// The session ends. No command follows.
    Shutdown,
}

/// Event of the voice activity detector. Times are on the session's clock and may be slightly
/// earlier than the input itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VoiceEvent {
    /// First voiced frame: possibly a voice.
    Seen { since: Ms },
    /// The possible voice was none.
    Lost,
    /// Enough frames were voiced: somebody speaks.
    Confirmed { since: Ms },
    /// No voice for a moment. All sound of the utterance so far is available.
    Paused { since: Ms },
    /// The voice is back.
    Resumed { since: Ms },
    /// The detector's own silence limit has passed; it treats the next voice as a new one.
    Ended { since: Ms },
}

/// Result of the transcriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnTranscript {
    pub text: String,
    /// Two-letter code, as in "en"; empty if it is not known.
    pub language: String,
    pub verdict: TurnVerdict,
    /// Probability, 0..=1, that a sentence ends after the last word, as the transcriber estimates
    /// it; `None` if it gives no estimate.
    #[serde(with = "exact::option")]
    pub ending: Option<f32>,
}

/// Reliability of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnVerdict {
    Certain,
    /// Something was said, but perhaps not this.
    Doubtful,
    /// Nobody spoke.
    Nothing,
}

/// Progress of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerEvent {
    /// The first sentence was sent to the synthesizer.
    FirstSentence,
    /// Next piece of sound. It lasts `length` and speaks `text`, which begins at byte `at` of the
    /// answer's text.
    Sound { length: Ms, at: usize, text: String },
    /// All of its sound has arrived.
    Complete,
}

/// Playback position of the answer, by the device's clock. It should be sent right before anything
/// that may end the answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlaybackEvent {
    /// The sound has left the loudspeaker up to `position`.
    Played { position: Ms },
    /// All sound so far has left the loudspeaker.
    Drained,
}

/// Request of the user other than by speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    Mute,
    Unmute,
    /// Stop speaking, and drop all work in progress.
    Stop,
    /// Stop speaking and listen, as after the wake word.
    ListenNow,
    /// Stop speaking and listen while the key is down.
    TalkKeyDown,
    /// End the turn.
    TalkKeyUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Microphone,
    Speaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnStage {
    /// Voice activity, wake word and turn detectors.
    Detector,
    Transcriber,
    LanguageModel,
    #[serde(rename = "synthesizer")]
    Voice,
    Playback,
}

impl TurnStage {
    /// Name for programs.
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
