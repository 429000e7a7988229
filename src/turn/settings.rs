//! The figures of turn taking, each with its reason.

use serde::{Deserialize, Serialize};

use crate::types::Ms;

/// Settings of turn taking. Times are finite and not negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnSettings {
    pub end: EndOfTurn,
    /// Weights of the probabilities that a turn is over.
    pub weights: TurnWeights,
    /// Whether the language model computes for every question how likely a sentence ends there. The
    /// turn then waits for it, which costs nothing: no sound of the answer is there before.
    pub use_sentence_end: bool,
    /// Longest turn; it ends there, finished or not. Whisper transcribes 30 s at once.
    pub longest_turn: Ms,
    /// Time after which a first voiced frame counts as nothing if it became neither speech nor
    /// silence. Twice the 200 ms that the VAD takes to confirm speech, with room for a late frame.
    pub candidate_limit: Ms,
    pub barge_in: BargeIn,
    /// Interval at which speech over the answer is transcribed to find words: about three
    /// syllables, the shortest piece that Whisper transcribes dependably.
    pub word_check: Ms,
    /// Time after which an interruption without words is dropped and the answer goes on. LiveKit's
    /// figure.
    pub word_limit: Ms,
    /// Number of false interruptions of one answer after which a voice only ducks it until there
    /// are words: in a room with a television the answer would stutter.
    pub false_alarms: u32,
    /// Likeness to the played sound from which speech over the answer counts as residual echo,
    /// unless it asks to stop. One of ten pieces of echo still passes for a person, and one of 40
    /// pieces of a person is taken for echo (`detect::Likeness`). Longer speech is compared again,
    /// and is less alike the longer it takes.
    pub own_sound: f32,
    /// Span within which spoken words may come back as echo: the longest piece that is spoken at a
    /// time, and the time that transcription takes.
    pub echo_window: Ms,
    /// Time after the answer's end in which speech may still be its echo: a living room's
    /// reverberation and the latency of a wireless loudspeaker.
    pub echo_tail: Ms,
    /// Whether a wake word has to be said first.
    pub wake_word: bool,
    /// How long after the wake word speech may begin.
    pub wake_window: Ms,
    /// How long after an answer speech may begin without the wake word.
    pub follow_up: Ms,
    /// Time without a result after which the transcriber counts as hung: some ten times what
    /// Whisper base takes for 30 s of sound on two cores.
    pub recognise_limit: Ms,
    /// Longest wait for progress of an answer before its first sound; a model may have to be loaded
    /// first (others report 45 s).
    pub think_limit: Ms,
    /// Longest wait for progress once the answer is heard.
    pub stall_limit: Ms,
    /// How long an answer waits for a loudspeaker that is lost. One that is unplugged and plugged
    /// in again, or a sound server that restarts, is back within seconds.
    pub speaker_limit: Ms,
    /// Silence after a question before a sound tells that Sotto thinks; `None` never does. A second
    /// is where a listener starts to doubt that he was heard.
    pub chime_after: Option<Ms>,
}

/// Effect of speech over the answer (barge-in). The wake word and the keys always stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BargeIn {
    /// Interrupt it. Without echo cancellation its own sound would hold it up again and again.
    On,
    /// Stop it by words that ask for silence, whatever is said beside them. It goes on, and is
    /// ducked for a while so that it does not drown them.
    Stop,
    /// Nothing.
    Off,
}

/// The coefficients of the logistic regression that says how likely a turn is over
/// (`turn::evidence`). They hold for the models whose probabilities they were fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnWeights {
    /// Weight of the turn detector's probability.
    pub voice: FeatureWeight,
    /// Weight of the language model's sentence-end probability.
    pub words: FeatureWeight,
    /// Weight of the transcriber's end-mark probability.
    pub written: FeatureWeight,
    pub bias: f32,
}

/// The coefficient of one input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOfTurn {
    /// Shortest silence: the turn is most likely over. Most answers take about as long to compute,
    /// so less would gain little. Of 36 pauses that speakers made themselves, eight looked as
    /// finished and lasted up to 480 ms, except one of 830; of 448 inserted ones, 20 did (with 0.7
    /// as the limit).
    pub likely_silence: Ms,
    /// Silence where the turn is possibly over. One in six of those pauses looked at least so.
    pub possible_silence: Ms,
    /// Silence where the turn is probably not over, or nothing is known.
    pub unlikely_silence: Ms,
    /// Silence where the turn is unlikely to be over, as behind an incomplete sentence. Home
    /// Assistant's "relaxed".
    pub incomplete_silence: Ms,
    /// The probabilities of being over from which it counts as likely, possible and doubtful; below
    /// the last it is unlikely. Of 97 ends 73, 90 and 96 were above them, and of 472 pauses, made
    /// at other places than those above, 21, 69 and 124.
    pub likely: f32,
    pub possible: f32,
    pub doubtful: f32,
}

impl TurnSettings {
    /// Names the first figure that no settings may have: a time that is negative or infinite, or
    /// another number that is not finite. `None` where all are as they should be.
    pub fn fault(&self) -> Option<&'static str> {
        let TurnSettings { end, weights, .. } = self;
        let times = [
            ("likely_silence", end.likely_silence),
            ("possible_silence", end.possible_silence),
            ("unlikely_silence", end.unlikely_silence),
            ("incomplete_silence", end.incomplete_silence),
            ("longest_turn", self.longest_turn),
            ("candidate_limit", self.candidate_limit),
            ("word_check", self.word_check),
            ("word_limit", self.word_limit),
            ("echo_window", self.echo_window),
            ("echo_tail", self.echo_tail),
            ("wake_window", self.wake_window),
            ("follow_up", self.follow_up),
            ("recognise_limit", self.recognise_limit),
            ("think_limit", self.think_limit),
            ("stall_limit", self.stall_limit),
            ("speaker_limit", self.speaker_limit),
            ("chime_after", self.chime_after.unwrap_or_default()),
        ];
        let figures = [
            ("likely", end.likely),
            ("possible", end.possible),
            ("doubtful", end.doubtful),
            ("own_sound", self.own_sound),
            ("weights.bias", weights.bias),
            ("weights.voice", weights.voice.factor + weights.voice.missing),
            ("weights.words", weights.words.factor + weights.words.missing),
            ("weights.written", weights.written.factor + weights.written.missing),
        ];
        let time = times.into_iter().find(|(_, time)| !time.0.is_finite() || time.0 < 0.0);
        let figure = || figures.into_iter().find(|(_, figure)| !figure.is_finite());
        time.map(|(name, _)| name).or_else(|| Some(figure()?.0))
    }
}

impl Default for EndOfTurn {
    fn default() -> Self {
        EndOfTurn {
            likely_silence: Ms(510.0),
            possible_silence: Ms(800.0),
            unlikely_silence: Ms(850.0),
            incomplete_silence: Ms(1_250.0),
            likely: 0.75,
            possible: 0.3,
            doubtful: 0.1,
        }
    }
}

/// Weights for models that none were fitted to: the starter's, rounded. They rank ends above
/// pauses nearly as often as weights that were fitted (`benches/turn-taking.md`). The probability
/// may be off, so they go with longer silences (`engine::session`).
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
