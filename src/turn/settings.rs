//! The figures of turn taking, each with its reason.

use serde::Deserialize;

use crate::types::Ms;

/// How the conversation behaves. Spans are finite and not negative.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnSettings {
    pub end: EndOfTurn,
    /// How the evidence of an end is added up.
    pub weights: TurnWeights,
    /// Whether the language model says of every question how likely a sentence ends there. It is
    /// waited for then: no sound of the answer can be there before.
    pub use_sentence_end: bool,
    /// A turn is taken as it is after so long, be it finished or not: Whisper hears 30 s at once.
    pub longest_turn: Ms,
    /// A first voiced frame that has become neither speech nor silence by now was nothing. Twice
    /// the 200 ms that voice activity takes to confirm speech, with room for a late frame.
    pub candidate_limit: Ms,
    pub barge_in: BargeIn,
    /// Speech over the answer is looked through for words each time it has gone on for so long:
    /// three syllables or so, the shortest piece that Whisper reads dependably.
    pub word_check: Ms,
    /// An interruption without words after so long was none, and the answer goes on. LiveKit's
    /// figure.
    pub word_limit: Ms,
    /// After so many false interruptions of one answer a voice only ducks it until it has words: in
    /// a room with a television the answer would stutter.
    pub false_alarms: u32,
    /// Speech over the answer that is so like what was played is its echo, which the canceller has
    /// lost, unless it asks to stop: of ten pieces of echo one still passes for a person, and of 40
    /// pieces of a person one is taken for echo (`hear::Likeness`). Who speaks on is heard again,
    /// and is less alike the longer it takes.
    pub own_sound: f32,
    /// Words said within this span may come back as echo: the longest piece that is said at a time,
    /// and the time that recognition takes.
    pub echo_window: Ms,
    /// Speech that begins so soon after the answer's end may still be its echo: a living room's
    /// reverberation and the latency of a wireless speaker.
    pub echo_tail: Ms,
    /// Whether a wake word has to be said first.
    pub wake_word: bool,
    /// How long after the wake word speech may begin.
    pub wake_window: Ms,
    /// How long after an answer speech may begin without the wake word.
    pub follow_up: Ms,
    /// A transcriber that has said nothing for so long hangs: some ten times what Whisper base
    /// takes for 30 s of sound on two cores.
    pub recognise_limit: Ms,
    /// The longest wait for an answer's next sign of life before its first sound; a model may have
    /// to be loaded first (others report 45 s).
    pub think_limit: Ms,
    /// The longest wait for a sign of life once the answer is heard.
    pub stall_limit: Ms,
    /// How long an answer waits for a loudspeaker that is lost. One that is unplugged and plugged
    /// in again, or a sound server that restarts, is back within seconds.
    pub speaker_limit: Ms,
    /// Silence after a question before a sound tells that Sotto thinks; `None` never does. A second
    /// is where a listener starts to doubt that he was heard.
    pub chime_after: Option<Ms>,
}

/// What somebody who speaks over the answer can do. The wake word and the keys stop it always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BargeIn {
    /// Interrupt it. Without echo cancellation its own sound would hold it up again and again.
    On,
    /// Stop it by words that ask for silence, whatever is said beside them. It goes on, softly for
    /// a while, lest it drown them.
    Stop,
    /// Nothing.
    Off,
}

/// The coefficients of the logistic regression that says how likely a turn is over
/// (`turn::evidence`). They hold for the models whose probabilities they were fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnWeights {
    /// Of the end-of-turn model.
    pub voice: FeatureWeight,
    /// Of the language model.
    pub words: FeatureWeight,
    /// Of the transcriber.
    pub written: FeatureWeight,
    pub bias: f32,
}

/// The coefficient of one input.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWeight {
    /// Multiplies the input's log-odds.
    pub factor: f32,
    /// Log-odds that stand for an input that is missing: those with which the others explain the
    /// recordings best.
    pub missing: f32,
}

/// How much silence ends a turn, by how likely it is over (`turn::evidence`). The counts are of the
/// recordings on which the figures were chosen; `benches/turn-taking.md` has those of others.
#[derive(Clone, Debug, PartialEq)]
pub struct EndOfTurn {
    /// The floor: it is most likely over. Most answers take about as long to be made, so less would
    /// gain little. Of 36 pauses that speakers made themselves eight looked so finished, and lasted
    /// up to 480 ms but for one of 830; of 448 that were made for them, 20 (with 0.7 as the limit).
    pub short: Ms,
    /// It may be over. Of those pauses one in six looked at least so.
    pub middle: Ms,
    /// It is probably not over, or nothing is known.
    pub long: Ms,
    /// It is unlikely to be over: a sentence that hangs in the air. Home Assistant's "relaxed".
    pub hanging: Ms,
    /// The probabilities of being over from which it counts as likely, possible and doubtful; below
    /// the last it is unlikely. Of 97 ends 73, 90 and 96 were above them, and of 472 pauses, made
    /// at other places than those above, 21, 69 and 124.
    pub likely: f32,
    pub possible: f32,
    pub doubtful: f32,
}

impl Default for EndOfTurn {
    fn default() -> Self {
        EndOfTurn {
            short: Ms(510.0),
            middle: Ms(800.0),
            long: Ms(850.0),
            hanging: Ms(1_250.0),
            likely: 0.75,
            possible: 0.3,
            doubtful: 0.1,
        }
    }
}

/// Those for models that none were fitted to: the starter's in round figures. They rank ends above
/// pauses nearly as often as weights that were fitted (`benches/turn-taking.md`). The probability
/// may be off, so they go with longer silences (`pipeline::live`).
impl Default for TurnWeights {
    fn default() -> Self {
        TurnWeights {
            voice: FeatureWeight { factor: 0.7, missing: 1.5 },
            words: FeatureWeight { factor: 0.6, missing: -2.0 },
            written: FeatureWeight { factor: 0.8, missing: 1.5 },
            bias: -1.3,
        }
    }
}

impl Default for TurnSettings {
    fn default() -> Self {
        TurnSettings {
            end: EndOfTurn::default(),
            weights: TurnWeights::default(),
            use_sentence_end: false,
            longest_turn: Ms(30_000.0),
            candidate_limit: Ms(500.0),
            barge_in: BargeIn::On,
            word_check: Ms(600.0),
            word_limit: Ms(2_000.0),
            false_alarms: 3,
            own_sound: 0.4,
            echo_window: Ms(10_000.0),
            echo_tail: Ms(1_000.0),
            wake_word: false,
            wake_window: Ms(8_000.0),
            follow_up: Ms(8_000.0),
            recognise_limit: Ms(15_000.0),
            think_limit: Ms(60_000.0),
            stall_limit: Ms(10_000.0),
            speaker_limit: Ms(30_000.0),
            chime_after: Some(Ms(1_000.0)),
        }
    }
}
