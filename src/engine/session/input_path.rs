//! Input path of a conversation: runs the voice activity and wake word detectors over the
//! microphone's sound, and keeps the recent sound for transcription.

use std::collections::VecDeque;
use std::sync::Arc;

use super::wake_word::WakeWordListener;
use crate::config;
use crate::detect::{ECHO_REACH, FRAME, Likeness, Segmenter, SpeechEvent, loudest, speech_end};
use crate::engine::stage::Result;
use crate::engine::work::Scores;
use crate::turn::{TurnInput, VoiceEvent};
use crate::types::{Ms, SampleRate};

/// Sound kept beyond the longest turn: the padding of a turn, and the silence that ends it.
const MORE: Ms = Ms(5_000.0);

/// Length of the end of an utterance that is compared with the played sound: some six words.
const COMPARED: Ms = Ms(2_000.0);

/// Length of the sound that is compared for a wake word, including what precedes it. 12 people said
/// the word 144 times over another voice from the loudspeaker, which was from 10 dB softer than
/// theirs to 5 dB louder. One of these was as similar to the played sound as Sotto's own echo (in
/// the conversations of `tests/wake.rs`, four of 46). In 45 minutes of echo alone, four moments
/// were taken for the word, and all four were that similar.
const NAMED: Ms = Ms(1_500.0);

/// Number of whole frames within which Silero must confirm that a sound in a pause is a voice that
/// comes back.
const HOPE: u32 = 2;

/// Captured sound: three slices of equal length, of the same time.
pub(super) struct CapturedSound<'a> {
    /// Sound for the voice activity detector.
    pub(super) samples: &'a [f32],
    /// Sound for the transcriber and the wake word detector; see
    /// [`crate::audio::front::Front::words`].
    pub(super) words: &'a [f32],
    /// Sound sent to the loudspeaker.
    pub(super) played: &'a [f32],
}

/// Speech of a turn so far.
pub(super) struct SpeechClip {
    /// 16 kHz mono, with a little of the sound around the speech.
    pub(super) samples: Arc<[f32]>,
    /// Length of the speech, pauses included.
    pub(super) length: Ms,
    /// Time of its last sample on the session's clock.
    pub(super) last_sample_at: Ms,
}

/// Selector of one of the two sounds that the front end makes from the microphone.
#[derive(Clone, Copy, PartialEq)]
enum Sound {
    /// Sound for the voice activity detector.
    Cleaned,
    /// Sound for the transcriber and the wake word detector.
    Words,
}

pub(super) struct InputPath {
    /// Voice activity of the next frame.
    voice: Scores<FRAME>,
    segmenter: Segmenter,
    name: Option<WakeWordListener>,
    /// Time at which the wake word last ended.
    named: Ms,
    speech_pad: u64,
    /// Cleaned sound at 16 kHz, from sample `first` of the capture on.
    sound: VecDeque<f32>,
    first: u64,
    /// Sound for words, and the sound played at the same time, sample for sample.
    words: VecDeque<f32>,
    played: VecDeque<f32>,
    comparer: Likeness,
    /// Likeness from which a sound counts as Sotto's own; see
    /// [`crate::turn::TurnSettings::own_sound`].
    own: f32,
    most: usize,
    /// Number of samples that the voice activity detector has processed.
    judged: u64,
    /// Start of the capture on the session's clock, in milliseconds.
    origin: f64,
    /// Number of consecutive frames that the detector failed on.
    failures: u32,
    /// Remaining frames in which a voice that was detected by its energy alone may be confirmed.
    hopeful: Option<u32>,
}

impl InputPath {
    pub(super) fn new(
        voice: Scores<FRAME>,
        name: Option<WakeWordListener>,
        plan: &config::DetectPlan,
        own: f32,
    ) -> Self {
        let samples = |span: Ms| SampleRate::HEARING.samples(span);
        InputPath {
            voice,
            segmenter: Segmenter::new(plan),
            name,
            named: Ms(f64::NEG_INFINITY),
            speech_pad: samples(plan.speech_pad) as u64,
            sound: VecDeque::new(),
            first: 0,
            words: VecDeque::new(),
            played: VecDeque::new(),
            comparer: Likeness::default(),
            own,
            most: samples(plan.max_turn) + samples(MORE),
            judged: 0,
            origin: 0.0,
            failures: 0,
            hopeful: None,
        }
    }

    /// Processes the next sound, whose first sample reached the microphone at `at`. Returns the
    /// voice and wake word events, and the errors of the detectors.
    pub(super) fn detect(
        &mut self,
        CapturedSound { samples, words, played }: CapturedSound,
        at: Ms,
    ) -> Vec<Result<TurnInput>> {
        self.origin = at.0 - SampleRate::HEARING.duration(self.end() as usize).0;
        self.sound.extend(samples);
        self.words.extend(words);
        self.played.extend(played);
        let mut events = Vec::new();
        while self.end() - self.judged >= FRAME as u64 {
            self.detect_voice(&mut events);
        }
        events.extend(self.look_ahead().map(|event| Ok(TurnInput::Voice(event))));
        let old = self.sound.len().saturating_sub(self.most);
        self.sound.drain(..old);
        self.words.drain(..old);
        self.played.drain(..old);
        self.first += old as u64;
        let named = self.name.as_mut().map_or_else(Vec::new, |name| name.detect(words, at));
        for said in named {
            if let Ok(until) = said {
                if self.is_own(Ms(until.0 - NAMED.0), until) {
                    continue;
                }
                self.named = until;
            }
            events.push(said.map(|until| TurnInput::WakeWord { until }));
        }
        events
    }

    /// Whether somebody speaks, and the last frame is not silent.
    pub(super) fn is_voiced(&self) -> bool {
        self.segmenter.is_voiced()
    }

    /// Number of consecutive frames or wake word steps that a detector failed on.
    pub(super) fn failures(&self) -> u32 {
        self.name.as_ref().map_or(0, WakeWordListener::failures).max(self.failures)
    }

    /// Returns the speech between two times of the session, with a little padding, as far as it has
    /// been captured. Sound of a wake word before it is left out. Normally the sound for words is
    /// used. If that is only Sotto's own echo, the cleaned sound is returned instead, since a
    /// person can be heard only there; `tries` turns this off.
    pub(super) fn utterance(&mut self, from: Ms, to: Ms, tries: bool) -> SpeechClip {
        let is_own = !tries && self.is_own(from, to);
        let (first, end) = (self.first, self.end());
        let (from, to) = (self.sample(from).clamp(first, end), self.sample(to).clamp(first, end));
        let named = self.sample(self.named).min(to);
        let kept = from.saturating_sub(self.speech_pad).max(first).max(named)..(to + self.speech_pad).min(end);
        let origin = self.origin;
        let sound = &*self.sound.make_contiguous();
        let last = (speech_end(sound, (to - first) as usize) as u64 + first).max(from);
        let of = if is_own { sound } else { &*self.words.make_contiguous() };
        SpeechClip {
            samples: of[(kept.start - first) as usize..(kept.end - first) as usize].into(),
            length: SampleRate::HEARING.duration((last - from) as usize),
            last_sample_at: Ms(origin + SampleRate::HEARING.duration(last as usize).0),
        }
    }

    /// Likeness of the sound between two times of the session, or of the end of it, to the played
    /// sound; see [`Likeness`].
    pub(super) fn likeness(&mut self, from: Ms, to: Ms) -> f32 {
        self.compared(Sound::Cleaned, from, to)
    }

    /// Whether the sound for words contains only what was played.
    fn is_own(&mut self, from: Ms, to: Ms) -> bool {
        self.compared(Sound::Words, from, to) >= self.own
    }

    fn compared(&mut self, of: Sound, from: Ms, to: Ms) -> f32 {
        let begun = self.first;
        let index = |moment: Ms| (self.sample(moment).clamp(begun, self.end()) - begun) as usize;
        let (from, to) = (index(Ms(from.0.max(to.0 - COMPARED.0))), index(to));
        let reach = from.saturating_sub(SampleRate::HEARING.samples(ECHO_REACH));
        let heard = if of == Sound::Words { &mut self.words } else { &mut self.sound };
        let (heard, played) = (heard.make_contiguous(), self.played.make_contiguous());
        self.comparer.of(&heard[from.min(to)..to], &played[reach.min(to)..to])
    }

    fn detect_voice(&mut self, events: &mut Vec<Result<TurnInput>>) {
        let mut frame = [0.0; FRAME];
        let from = (self.judged - self.first) as usize;
        frame.iter_mut().zip(self.sound.range(from..)).for_each(|(to, sample)| *to = *sample);
        self.judged += FRAME as u64;
        let before = self.segmenter.candidate();
        let judged = (self.voice)(&frame);
        self.failures = if judged.is_err() { self.failures + 1 } else { 0 };
        // The segmenter counts frames, so it gets a value for each, also after an error.
        let told = self.segmenter.push_with_power(*judged.as_ref().unwrap_or(&0.0), loudest(&frame));
        let event = match (told, before, self.segmenter.candidate()) {
            (Some(SpeechEvent::Started { at }), ..) => Some(VoiceEvent::Confirmed { since: self.moment(at) }),
            (Some(SpeechEvent::Paused { at }), ..) => Some(VoiceEvent::Paused { since: self.moment(at) }),
            (Some(SpeechEvent::Resumed { at }), ..) => Some(VoiceEvent::Resumed { since: self.moment(at) }),
            (Some(SpeechEvent::TurnEnded(turn)), ..) => Some(VoiceEvent::Ended { since: self.moment(turn.end) }),
            (None, None, Some(since)) => Some(VoiceEvent::Seen { since: self.moment(since) }),
            (None, Some(_), None) => Some(VoiceEvent::Lost),
            _ => None,
        };
        let lost = self.follow_hope(event);
        events.extend(judged.err().map(Err));
        events.extend(event.or(lost).map(|event| Ok(TurnInput::Voice(event))));
    }

    /// Detects a voice that comes back in a pause from the energy of the incomplete frame. The
    /// detector would be up to 32 ms later, and in that time the turn could end.
    fn look_ahead(&mut self) -> Option<VoiceEvent> {
        if self.hopeful.is_some() {
            return None;
        }
        let begun = (self.judged - self.first) as usize;
        let sound: Vec<f32> = self.sound.range(begun..).copied().collect();
        if !self.segmenter.may_resume(loudest(&sound)) {
            return None;
        }
        self.hopeful = Some(HOPE);
        Some(VoiceEvent::Seen { since: self.moment(self.judged) })
    }

    /// Follows up a voice that was detected by its energy, after the next frame. Returns the event
    /// if it was none.
    fn follow_hope(&mut self, event: Option<VoiceEvent>) -> Option<VoiceEvent> {
        let left = self.hopeful.take()?;
        let decided = event.is_some() || self.segmenter.candidate().is_some();
        match left.checked_sub(1) {
            _ if decided => None,
            None => Some(VoiceEvent::Lost),
            left => {
                self.hopeful = left;
                None
            }
        }
    }

    /// Sample index after the last captured sample.
    fn end(&self) -> u64 {
        self.first + self.sound.len() as u64
    }

    fn moment(&self, sample: u64) -> Ms {
        Ms(self.origin + SampleRate::HEARING.duration(sample as usize).0)
    }

    fn sample(&self, moment: Ms) -> u64 {
        SampleRate::HEARING.samples(Ms((moment.0 - self.origin).max(0.0))) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::WAKE_STEP;

    /// Takes loud sound for a voice.
    fn loud(frame: &[f32; FRAME]) -> Result<f32> {
        Ok(frame[0].abs())
    }

    fn input_path() -> InputPath {
        let plan = config::load(&config::Sources { cores: 1, ..Default::default() }).unwrap().plan.detect;
        InputPath::new(
            Box::new(loud),
            None,
            &config::DetectPlan { min_speech: Ms(96.0), min_silence: Ms(320.0), ..plan },
            0.4,
        )
    }

    /// Feeds a block of this level, with words half as loud and nothing played.
    fn heard(input_path: &mut InputPath, level: f32, at: Ms) -> Vec<VoiceEvent> {
        let heard = CapturedSound { samples: &[level; 128], words: &[level / 2.0; 128], played: &[0.0; 128] };
        input_path.detect(heard, at).into_iter().map(voice).collect()
    }

    fn voice(event: Result<TurnInput>) -> VoiceEvent {
        match event.unwrap() {
            TurnInput::Voice(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// Feeds alternating frames of silence and voice, from 1000 ms on.
    fn detect(input_path: &mut InputPath, frames: &[usize]) -> Vec<VoiceEvent> {
        let mut events = Vec::new();
        let mut at = 1000.0;
        for (n, count) in frames.iter().enumerate() {
            for _ in 0..count * FRAME / 128 {
                events.extend(heard(input_path, [0.0, 0.9][n % 2], Ms(at)));
                at += 8.0;
            }
        }
        events
    }

    #[test]
    fn a_voice_is_seen_before_it_is_speech_and_ends_with_the_silence_behind_it() {
        let events = detect(&mut input_path(), &[10, 10, 20]);
        let [seen, confirmed, paused, ended] = events[..] else { panic!("{events:?}") };
        assert_eq!(
            (seen, confirmed),
            (VoiceEvent::Seen { since: Ms(1320.0) }, VoiceEvent::Confirmed { since: Ms(1320.0) })
        );
        assert_eq!(
            (paused, ended),
            (VoiceEvent::Paused { since: Ms(1640.0) }, VoiceEvent::Ended { since: Ms(1640.0) })
        );
        let events = detect(&mut input_path(), &[10, 1, 20]);
        assert_eq!(events, [VoiceEvent::Seen { since: Ms(1320.0) }, VoiceEvent::Lost]);
    }

    #[test]
    fn a_voice_that_comes_back_is_seen_at_once_and_a_click_soon_lost() {
        let mut input_path = input_path();
        detect(&mut input_path, &[10, 10, 5]);
        let block = |input_path: &mut InputPath, level: f32| {
            let at = Ms(9_000.0 + input_path.end() as f64 / 16.0);
            heard(input_path, level, at)
        };
        let seen = VoiceEvent::Seen { since: Ms(9_800.0) };
        let told: Vec<_> = [0.0, 0.9, 0.0, 0.0].map(|level| block(&mut input_path, level)).concat();
        assert_eq!(told, [seen], "a click that the model does not take for a voice");
        let told: Vec<_> = (0..16).flat_map(|_| block(&mut input_path, 0.0)).collect();
        assert_eq!(told, [VoiceEvent::Lost, VoiceEvent::Ended { since: Ms(9_640.0) }]);
    }

    #[test]
    fn the_words_between_two_moments_are_handed_out_with_their_padding() {
        let mut input_path = input_path();
        detect(&mut input_path, &[20, 10, 20]);
        let spoken_answer = input_path.utterance(Ms(1640.0), Ms(1960.0), false);
        assert_eq!((spoken_answer.length, spoken_answer.last_sample_at), (Ms(320.0), Ms(1960.0)));
        let voiced = spoken_answer.samples.iter().filter(|sample| **sample == 0.45).count();
        assert_eq!(voiced, 10 * FRAME);
        assert_eq!(spoken_answer.samples.len() as u64, 10 * FRAME as u64 + 2 * input_path.speech_pad);
        // Beyond the captured sound, and before all kept sound.
        assert!(input_path.utterance(Ms(9e9), Ms(9e9), false).samples.len() as u64 <= input_path.speech_pad);
        assert!(input_path.utterance(Ms(-5.0), Ms(0.0), false).samples.len() as u64 <= 2 * input_path.speech_pad);
    }

    /// Two different sounds of 1.6 s of syllables each.
    fn syllables() -> [Vec<f32>; 2] {
        let mut random = fastrand::Rng::with_seed(5);
        let mut syllable = || {
            let level = random.f32();
            (0..1_280).map(|_| level * (random.f32() - 0.5)).collect::<Vec<_>>()
        };
        [(); 2].map(|()| (0..20).flat_map(|_| syllable()).collect())
    }

    /// Feeds `words` with silent cleaned sound, while `played` is sent to the loudspeaker.
    fn hear_words(input_path: &mut InputPath, words: &[f32], played: &[f32]) -> Vec<Result<TurnInput>> {
        let blocks = words.chunks_exact(128).zip(played.chunks_exact(128)).enumerate();
        let heard = |(n, (words, played))| {
            input_path.detect(CapturedSound { samples: &[0.0; 128], words, played }, Ms(n as f64 * 8.0))
        };
        blocks.flat_map(heard).collect()
    }

    #[test]
    fn where_the_words_are_our_own_the_other_sound_is_read() {
        let [played, person] = syllables();
        for (words, tries, cleaned) in [(&played, false, true), (&played, true, false), (&person, false, false)] {
            let mut input_path = input_path();
            hear_words(&mut input_path, words, &played);
            let spoken_answer = input_path.utterance(Ms(500.0), Ms(1_500.0), tries);
            assert_eq!(spoken_answer.samples.iter().all(|sample| *sample == 0.0), cleaned);
        }
    }

    /// Finds the wake word in the last step of the syllables.
    fn last() -> Scores<WAKE_STEP> {
        let mut steps = 0;
        Box::new(move |_| {
            steps += 1;
            Ok(if steps == 20 { 0.9 } else { 0.0 })
        })
    }

    #[test]
    fn our_own_voice_does_not_call_us() {
        let [played, person] = syllables();
        for (words, called) in [(&played, false), (&person, true)] {
            let plan = config::WakeWordPlan { model: "sotto".to_owned(), threshold: 0.5 };
            let mut input_path = InputPath { name: Some(WakeWordListener::new(last(), &plan)), ..input_path() };
            let said = hear_words(&mut input_path, words, &played);
            let calls = said.into_iter().filter(|said| matches!(said, Ok(TurnInput::WakeWord { until: Ms(1_600.0) })));
            assert_eq!(calls.count(), usize::from(called));
            assert_eq!(input_path.named.0 == 1_600.0, called);
        }
    }

    #[test]
    fn an_hour_is_not_kept() {
        let mut input_path = input_path();
        detect(&mut input_path, &[4000]);
        assert_eq!((input_path.sound.len(), input_path.end()), (input_path.most, 4000 * FRAME as u64));
    }
}
