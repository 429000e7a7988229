//! The figures of turn taking, each with its reason. "Measured" are 72 recorded utterances, of which 27, 20, 5 and 1 hold
//! a pause of 200, 300, 500 and 700 ms.

use crate::types::Ms;

/// How the conversation behaves. Spans are finite and not negative.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnSettings {
    pub end: EndOfTurn,
    /// Whether the language model says of every question how likely a sentence ends there. It is waited for then: no sound
    /// of the answer can be there before.
    pub weigh_words: bool,
    /// A turn is taken as it is after so long, be it finished or not: Whisper hears 30 s at once.
    pub longest_turn: Ms,
    /// A first voiced frame that has become neither speech nor silence by now was nothing. Twice the 200 ms that voice
    /// activity takes to confirm speech, with room for a late frame.
    pub candidate_limit: Ms,
    /// Whether a voice over the answer is listened to. Without echo cancellation it would be our own: then only the stop
    /// word, the wake word and the keys interrupt.
    pub barge_in: bool,
    /// Speech over the answer is looked through for words each time it has gone on for so long: three syllables or so,
    /// the shortest piece that Whisper reads dependably.
    pub word_check: Ms,
    /// An interruption without words after so long was none, and the answer goes on. LiveKit's figure.
    pub word_limit: Ms,
    /// After so many false interruptions of one answer a voice only ducks it until it has words: in a room with a
    /// television the answer would stutter.
    pub false_alarms: u32,
    /// Words said within this span may come back as echo: the longest piece that is said at a time, and the time that
    /// recognition takes.
    pub echo_window: Ms,
    /// Speech that begins so soon after the answer's end may still be its echo: a living room's reverberation and the
    /// latency of a wireless speaker.
    pub echo_tail: Ms,
    /// Whether a wake word has to be said first.
    pub wake_word: bool,
    /// How long after the wake word speech may begin.
    pub wake_window: Ms,
    /// How long after an answer speech may begin without the wake word.
    pub follow_up: Ms,
    /// A recogniser that has said nothing for so long hangs: some ten times what Whisper base takes for 30 s of sound
    /// on two cores.
    pub recognise_limit: Ms,
    /// The longest wait for an answer's next sign of life before its first sound; a model may have to be loaded first
    /// (others report 45 s).
    pub think_limit: Ms,
    /// The longest wait for a sign of life once the answer is heard.
    pub stall_limit: Ms,
    /// Silence after a question before a sound tells that Sotto thinks; `None` never does. A second is where a listener
    /// starts to doubt that he was heard.
    pub chime_after: Option<Ms>,
}

/// How much silence ends a turn, by what is known of it. The more signs say that it is over, the less.
#[derive(Clone, Debug, PartialEq)]
pub struct EndOfTurn {
    /// The floor: the model is sure, and the words are a finished sentence. Most answers take about as long to be made, so
    /// less would gain little. Of some 60 pauses of 200 ms and more inside 103 recorded turns, 34 of them made, five looked so
    /// finished in one run, none of them longer than 450 ms; in another two of 600 ms did.
    pub short: Ms,
    /// The words are a finished sentence, and the model is not against it. Three of those pauses looked so, up to 600 ms.
    pub middle: Ms,
    /// Silence alone, or one sign against another. Two of those pauses were longer.
    pub long: Ms,
    /// The words hang in the air ("and", "the"), and the model does not think otherwise. Home Assistant's "relaxed".
    pub hanging: Ms,
    /// A score from which the model is sure that the turn is complete. It accepts 0.43 of the turns that were cut
    /// short at its own 0.5, so more is asked of it.
    pub sure: f32,
    /// A score below which it thinks that more is to come: its own threshold.
    pub unsure: f32,
    /// The probability of an end mark behind the words from which they count as a finished sentence; below it they hang in
    /// the air. See the language model for how it was measured.
    pub finished: f32,
}

impl Default for EndOfTurn {
    fn default() -> Self {
        EndOfTurn {
            short: Ms(510.0),
            middle: Ms(750.0),
            long: Ms(850.0),
            hanging: Ms(1_250.0),
            sure: 0.8,
            unsure: 0.5,
            finished: 0.05,
        }
    }
}

impl Default for TurnSettings {
    fn default() -> Self {
        TurnSettings {
            end: EndOfTurn::default(),
            weigh_words: false,
            longest_turn: Ms(30_000.0),
            candidate_limit: Ms(500.0),
            barge_in: true,
            word_check: Ms(600.0),
            word_limit: Ms(2_000.0),
            false_alarms: 3,
            echo_window: Ms(10_000.0),
            echo_tail: Ms(1_000.0),
            wake_word: false,
            wake_window: Ms(8_000.0),
            follow_up: Ms(8_000.0),
            recognise_limit: Ms(15_000.0),
            think_limit: Ms(60_000.0),
            stall_limit: Ms(10_000.0),
            chime_after: Some(Ms(1_000.0)),
        }
    }
}
