//! What the speaker says: an answer's sound, held until its turn is certain, ducked, paused, taken up again, ended.

use crate::audio::device::{Change, Playback};
use crate::audio::front::Block;
use crate::audio::{Player, Reference};
use crate::types::{Frame, Ms, SampleRate, TurnId};

/// How loud an answer is while somebody may be speaking over it: -14 dB. Still to be followed, and no obstacle to hearing
/// who speaks.
const DUCKED: f32 = 0.2;
/// A sample from which a listener hears something: -50 dB of full scale.
const AUDIBLE: f32 = 0.003;
/// Sound that is made ahead of what is heard, at most. The voice is ten times as fast as speech, and could otherwise
/// fill the memory with a long answer.
const AHEAD: Ms = Ms(20_000.0);

pub(super) struct Mouth {
    playback: Playback,
    player: Player,
    rate: SampleRate,
    reference: Reference,
    gain: f32,
    /// Sound of an answer whose turn is not certain.
    held: Vec<Frame>,
    paused: bool,
    /// No more of the answer comes.
    complete: bool,
    /// The device knows that nothing follows what it has.
    closed: bool,
    /// Samples of the answer so far, and which of them is the first that a listener hears.
    made: u64,
    audible: Option<u64>,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Progress {
    pub(super) turn: TurnId,
    pub(super) position: Ms,
    pub(super) drained: bool,
    /// How long the speaker has been behind the first audible sample, in the answer's own time, once it is.
    pub(super) audible_for: Option<Ms>,
}

impl Mouth {
    pub(super) fn new(playback: Playback, rate: SampleRate) -> Self {
        Mouth {
            playback,
            player: Player::new(rate),
            rate,
            reference: Reference::new(rate),
            gain: 1.0,
            held: Vec::new(),
            paused: false,
            complete: false,
            closed: false,
            made: 0,
            audible: None,
        }
    }

    /// Sound of an answer to come is held from now on.
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

    /// Whether more sound may be made.
    pub(super) fn has_room(&self) -> bool {
        let held = self.held.iter().map(|frame| frame.samples.len()).sum();
        self.player.waiting().0 + self.rate.duration(held).0 < AHEAD.0
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The turn is certain: what was held is said.
    pub(super) fn say(&mut self, turn: TurnId) {
        let written = self.playback.tally().written;
        self.player.begin(turn, written);
        std::mem::take(&mut self.held).iter().for_each(|frame| self.player.push(frame));
        self.speak_up();
    }

    pub(super) fn duck(&mut self, ducked: bool) {
        self.gain = if ducked { DUCKED } else { 1.0 };
        self.playback.duck(self.gain);
    }

    pub(super) fn pause(&mut self) {
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

    /// The answer is over. What the device still has runs out, lest a device that is early in its count cuts its end off.
    pub(super) fn fall_silent(&mut self) {
        self.player.stop();
        self.held.clear();
        self.speak_up();
    }

    /// The answer ends in the middle.
    pub(super) fn break_off(&mut self, now: Ms) {
        self.playback.flush();
        self.reference.cut(now);
        self.fall_silent();
    }

    fn speak_up(&mut self) {
        self.paused = false;
        self.duck(false);
        self.playback.hold(false);
    }

    /// Looks after the device, and gives it what it has room for.
    pub(super) fn step(&mut self, now: Ms) -> Option<Change> {
        let change = self.playback.poll();
        if !self.paused {
            let sound = self.player.hand_out(self.playback.room());
            let written = self.playback.write(&sound);
            self.player.not_written(sound.len() - written);
            if written > 0 {
                let gain = self.gain;
                self.reference.push(now, sound[..written].iter().map(|sample| sample * gain));
            }
        }
        if self.complete && !self.closed && self.player.turn().is_some() && self.player.waiting().0 == 0.0 {
            self.closed = true;
            self.playback.end();
        }
        change
    }

    /// What of it goes with the microphone's 10 ms from `at` on.
    pub(super) fn reference(&mut self, at: Ms) -> Block {
        self.reference.block(at)
    }

    /// How far the answer is that is said, if there is one.
    pub(super) fn progress(&mut self) -> Option<Progress> {
        let turn = self.player.turn()?;
        let tally = self.playback.tally();
        let settled = tally.played + tally.dropped;
        let position = self.player.position(settled);
        let since = self.audible.and_then(|audible| position.checked_sub(audible + 1));
        Some(Progress {
            turn,
            position: self.rate.duration(position as usize),
            drained: self.complete && self.player.is_drained(settled),
            audible_for: since.map(|samples| self.rate.duration(samples as usize)),
        })
    }

    /// How often the speaker ran dry in the middle of an answer, or was interrupted by the system.
    pub(super) fn glitches(&mut self) -> u64 {
        self.playback.underruns() + self.playback.xruns()
    }
}
