//! Output path of a conversation: an answer's sound is held until its turn is certain, then played,
//! ducked, paused, resumed and ended. Earcons give way to it.

use std::collections::VecDeque;

use crate::audio::device::DeviceChange;
use crate::audio::front::ProcessedBlock;
use crate::audio::{AudioOutput, EarconSound, EchoReference, Player};
use crate::types::{Frame, Ms, SampleRate, TurnId};

/// Gain of an answer while somebody may be speaking over it: -14 dB. It can still be followed, and
/// the person can still be heard.
const DUCKED: f32 = 0.2;
/// Amplitude from which a sample is audible: -50 dBFS.
const AUDIBLE: f32 = 0.003;
/// Most sound that is synthesized ahead of playback. The synthesizer is ten times as fast as
/// speech, and could otherwise fill the memory with a long answer.
const AHEAD: Ms = Ms(20_000.0);

pub(super) struct OutputPath {
    playback: Box<dyn AudioOutput>,
    player: Player,
    rate: SampleRate,
    reference: EchoReference,
    gain: f32,
    /// Sound of an answer whose turn is not certain.
    held: Vec<Frame>,
    paused: bool,
    /// Whether all of the answer's sound has arrived.
    complete: bool,
    /// Whether the device was told that no more sound follows.
    closed: bool,
    /// Number of samples of the answer so far, and index of the first audible one.
    made: u64,
    audible: Option<u64>,
    /// Rest of an earcon that is still to be written. It is kept until the loudspeaker has played
    /// all of the earcon.
    earcon: Option<VecDeque<f32>>,
}

/// Playback progress of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PlaybackProgress {
    pub(super) turn: TurnId,
    pub(super) position: Ms,
    pub(super) drained: bool,
    /// Length of the answer that was played after its first audible sample; `None` before that.
    pub(super) audible_for: Option<Ms>,
}

impl OutputPath {
    pub(super) fn new(playback: Box<dyn AudioOutput>, rate: SampleRate) -> Self {
        OutputPath {
            playback,
            player: Player::new(rate),
            rate,
            reference: EchoReference::new(rate),
            gain: 1.0,
            held: Vec::new(),
            paused: false,
            complete: false,
            closed: false,
            made: 0,
            audible: None,
            earcon: None,
        }
    }

    /// Starts to hold the sound of a new answer.
    pub(super) fn prepare(&mut self) {
        self.held.clear();
        (self.complete, self.closed, self.made, self.audible) = (false, false, 0, None);
    }

    pub(super) fn sound(&mut self, frame: Frame) {
        let audible = frame.samples.iter().position(|sample| sample.abs() >= AUDIBLE);
        self.audible = self.audible.or(audible.map(|at| self.made + at as u64));
        self.made += frame.samples.len() as u64;
        match self.player.turn() {
            Some(turn) if turn == frame.turn => self.player.push(&frame),
            _ => self.held.push(frame),
        }
    }

    /// Whether more sound may be synthesized.
    pub(super) fn has_room(&self) -> bool {
        let held = self.held.iter().map(|frame| frame.samples.len()).sum();
        self.player.waiting().0 + self.rate.duration(held).0 < AHEAD.0
    }

    /// Whether an answer plays that has no sound left to write.
    pub(super) fn is_dry(&self) -> bool {
        self.player.turn().is_some() && self.player.waiting().0 == 0.0
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Plays the held sound, because the turn is certain.
    pub(super) fn say(&mut self, turn: TurnId) {
        let written = self.playback.tally().written;
        self.player.begin(turn, written);
        std::mem::take(&mut self.held).iter().for_each(|frame| self.player.push(frame));
        self.speak_up();
    }

    /// Plays an earcon, unless an answer has sound already.
    pub(super) fn ring(&mut self, earcon: EarconSound) {
        if !self.paused && (self.player.turn().is_none() || self.made == 0) {
            self.earcon = Some(earcon.samples(self.rate).into());
        }
    }

    pub(super) fn duck(&mut self, ducked: bool) {
        self.gain = if ducked { DUCKED } else { 1.0 };
        self.playback.duck(self.gain);
    }

    pub(super) fn pause(&mut self) {
        self.forget_earcon();
        self.paused = true;
        self.playback.hold(true);
    }

    pub(super) fn resume(&mut self, from: Ms, now: Ms) {
        self.playback.flush();
        self.reference.cut(now);
        let written = self.playback.tally().written;
        self.player.go_back(from, written);
        self.closed = false;
        self.speak_up();
    }

    /// Ends the answer. The sound in the device is played to its end: flushing it would cut off the
    /// end of the answer on a device that counts too early.
    pub(super) fn fall_silent(&mut self) {
        self.player.stop();
        self.held.clear();
        self.speak_up();
    }

    /// Ends the answer in the middle.
    pub(super) fn break_off(&mut self, now: Ms) {
        self.playback.flush();
        self.reference.cut(now);
        self.forget_earcon();
        self.fall_silent();
    }

    fn speak_up(&mut self) {
        self.paused = false;
        self.duck(false);
        self.playback.hold(false);
    }

    /// Polls the device and writes as much sound as it has room for.
    pub(super) fn step(&mut self, now: Ms) -> Option<DeviceChange> {
        let change = self.playback.poll();
        if !self.paused {
            self.ring_on(now);
        }
        if !self.paused && self.earcon.is_none() {
            let sound = self.player.hand_out(self.playback.room());
            let written = self.write(&sound, now);
            self.player.not_written(sound.len() - written);
        }
        if self.complete && !self.closed && self.player.turn().is_some() && self.player.waiting().0 == 0.0 {
            self.closed = true;
            self.playback.end();
        }
        change
    }

    /// Writes more of an earcon. The earcon ends where the answer begins: the rest of it in the
    /// device is flushed, so the answer does not wait.
    fn ring_on(&mut self, now: Ms) {
        let Some(rest) = &mut self.earcon else { return };
        let answered = self.player.waiting().0 > 0.0;
        let over = rest.is_empty() && self.playback.tally().queued == 0;
        if answered && !over {
            self.playback.flush();
            self.reference.cut(now);
        }
        if answered || over {
            self.forget_earcon();
            return;
        }
        let sound: Vec<f32> = rest.drain(..self.playback.room().min(rest.len())).collect();
        let ends = rest.is_empty() && !sound.is_empty();
        self.write(&sound, now);
        if ends {
            self.playback.end();
        }
    }

    fn forget_earcon(&mut self) {
        if self.earcon.take().is_some() {
            self.player.begin_later(self.playback.tally().written);
        }
    }

    fn write(&mut self, sound: &[f32], now: Ms) -> usize {
        let written = self.playback.write(sound);
        if written > 0 {
            let gain = self.gain;
            self.reference.push(now, sound[..written].iter().map(|sample| sample * gain));
        }
        written
    }

    /// Played sound that belongs to the microphone's 10 ms from `at` on, for the echo canceller.
    pub(super) fn reference(&mut self, at: Ms) -> ProcessedBlock {
        self.reference.block(at)
    }

    /// Progress of the answer that is playing, if there is one.
    pub(super) fn progress(&mut self) -> Option<PlaybackProgress> {
        let turn = self.player.turn()?;
        let tally = self.playback.tally();
        let settled = tally.played + tally.dropped;
        let position = self.player.position(settled);
        let since = self.audible.and_then(|audible| position.checked_sub(audible + 1));
        Some(PlaybackProgress {
            turn,
            position: self.rate.duration(position as usize),
            drained: self.complete && self.player.is_drained(settled),
            audible_for: since.map(|samples| self.rate.duration(samples as usize)),
        })
    }

    /// Number of underruns in the middle of an answer, and of interruptions by the system.
    pub(super) fn glitches(&mut self) -> u64 {
        self.playback.glitches()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::audio::device::{Card, DEFAULT, Moment, Playback, PlaybackSettings, Simulated, SimulatedRoom, run_here};

    const RATE: SampleRate = SampleRate(16_000);
    /// Amplitude of the test answer, and amplitude from which a sample belongs to the answer, not
    /// to an earcon.
    const SAYS: f32 = 0.5;
    const LOUD: f32 = 0.3;

    struct Speaker {
        card: Simulated,
        output_path: OutputPath,
        /// Progress of the answer at each step, in milliseconds.
        positions: Vec<f64>,
        /// Peak of the echo reference in each step.
        echoes: Vec<f32>,
    }

    impl Speaker {
        fn new() -> Speaker {
            let card = Simulated::usual(SimulatedRoom::HEADPHONES);
            card.record();
            let settings = PlaybackSettings::at(RATE);
            let playback = Playback::open(Arc::new(card.clone()), DEFAULT, settings, run_here()).unwrap();
            let mut speaker = Speaker {
                card,
                output_path: OutputPath::new(Box::new(playback), RATE),
                positions: Vec::new(),
                echoes: Vec::new(),
            };
            speaker.pass(200);
            speaker
        }

        fn now(&self) -> Ms {
            Ms::from(self.card.clock().now())
        }

        fn pass(&mut self, milliseconds: u64) {
            for _ in 0..milliseconds / 10 {
                self.card.advance(Duration::from_millis(10));
                let now = self.now();
                self.output_path.step(now);
                self.positions.extend(self.output_path.progress().map(|progress| progress.position.0));
                let echo = self.output_path.reference(Ms(now.0 - 10.0));
                self.echoes.push(echo.iter().fold(0.0, |loudest, sample| loudest.max(sample.abs())));
            }
        }

        /// Begins an answer whose turn is certain at once. Its sound lasts 300 ms.
        fn answer(&mut self) {
            self.output_path.prepare();
            self.output_path.say(TurnId(1));
        }

        fn sound(&mut self) {
            let samples = vec![SAYS; RATE.samples(Ms(300.0))];
            self.output_path.sound(Frame { turn: TurnId(1), rate: RATE, samples, words: Vec::new() });
            self.output_path.complete();
        }

        fn recorded(&self) -> Vec<f32> {
            self.card.recorded(Moment(0), self.card.clock().now(), RATE)
        }
    }

    /// Start of the answer in the recording, in milliseconds, if its sound arrives `after`
    /// milliseconds after the earcon.
    fn begins(earcon: Option<EarconSound>, after: u64) -> f64 {
        let mut speaker = Speaker::new();
        speaker.answer();
        earcon.into_iter().for_each(|earcon| speaker.output_path.ring(earcon));
        speaker.pass(after);
        let silent = speaker.positions.iter().all(|position| *position == 0.0);
        speaker.sound();
        speaker.pass(800);
        let recorded = speaker.recorded();
        let first = recorded.iter().position(|sample| *sample > LOUD).expect("the answer is heard");
        let said = recorded.iter().filter(|sample| **sample > LOUD).count();
        assert!(silent && said.abs_diff(RATE.samples(Ms(300.0))) < 32, "{said}");
        let progress = speaker.output_path.progress().unwrap();
        assert_eq!((progress.position, progress.drained), (Ms(300.0), true));
        assert!(speaker.positions.is_sorted());
        let glitches = speaker.output_path.glitches();
        assert_eq!(glitches, 0);
        RATE.duration(first).0
    }

    #[test]
    fn an_earcon_holds_no_answer_up_and_is_none_of_it() {
        for after in [10, 50, 100, 170, 210, 240, 400] {
            let late = begins(Some(EarconSound::THINKING), after) - begins(None, after);
            // The sound in the device fades within 5 ms, and its block is 10 ms long.
            assert!(late <= 15.0, "{late} ms later, {after} ms behind the earcon");
        }
    }

    #[test]
    fn an_earcon_is_heard_and_part_of_the_echo() {
        let mut speaker = Speaker::new();
        speaker.output_path.ring(EarconSound::LISTENING);
        speaker.pass(400);
        let loudest = speaker.recorded().into_iter().fold(0.0, f32::max);
        let echo = speaker.echoes.iter().copied().fold(0.0, f32::max);
        assert!((0.04..0.1).contains(&loudest) && (0.04..0.1).contains(&echo), "{loudest} {echo}");
        assert_eq!((speaker.echoes.last(), speaker.output_path.glitches()), (Some(&0.0), 0));
    }

    #[test]
    fn an_earcon_is_not_heard_over_an_answer_nor_behind_its_end() {
        let mut speaker = Speaker::new();
        speaker.answer();
        speaker.sound();
        speaker.pass(50);
        speaker.output_path.ring(EarconSound::THINKING);
        assert!(speaker.output_path.earcon.is_none());
        let now = speaker.now();
        speaker.output_path.break_off(now);
        speaker.output_path.ring(EarconSound::THINKING);
        speaker.pass(50);
        speaker.answer();
        speaker.output_path.pause();
        assert!(speaker.output_path.earcon.is_none());
    }
}
