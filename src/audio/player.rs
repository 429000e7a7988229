//! What is said, on its way to the speaker: made quieter, held, taken up again, stopped; and what of it was heard.
//!
//! The sound of an answer is one line of samples, counted from its first; marks on it say where words begin, which are numbers
//! here. The player hands sound out to the device, and remembers which of the device's samples were which of the answer's. So
//! when the device says how many have left the speaker, it is known to the sample how much of the answer was heard, whatever
//! silence, pauses and repetitions lay between.
//!
//! Architecture invariant: no clock, no device, no thread. Whoever drives it tells it what the device says.

use std::collections::VecDeque;

use crate::types::{Frame, Mark, Ms, SampleRate, TurnId};

/// From full to ducked and back. Slower than a click, and done before a syllable is.
const RAMP: Ms = Ms(20.0);
/// How loud a ducked answer is: -14 dB. Still to be followed, and no obstacle for whoever speaks over it.
const DUCKED: f32 = 0.2;
/// Sound that was heard and is kept, to be taken up again from: more than a long word and a pause before it.
const KEPT: Ms = Ms(4_000.0);

/// What of an answer has left the speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Samples.
    pub samples: u64,
    /// Words, every one included that was begun.
    pub words: usize,
    /// Whether that was all of it, and no more will come.
    pub all: bool,
}

/// The sound of one answer at a time.
pub struct Player {
    rate: SampleRate,
    turn: Option<TurnId>,
    /// The answer's samples from `first` on.
    sound: VecDeque<f32>,
    first: u64,
    /// Those that `sound` still has or that come next, in order, and the last one before.
    marks: VecDeque<Mark>,
    /// Words in all sound so far.
    words: usize,
    /// The next sample to hand out.
    next: u64,
    ended: bool,
    paused: bool,
    ducked: bool,
    gain: f32,
    /// Samples that the device was handed, silence included.
    handed: u64,
    /// Which of them were of the answer, oldest first.
    ledger: VecDeque<Stretch>,
    /// What is known to have been heard.
    heard: u64,
}

/// `len` samples of the answer from `sound` on were handed out as the device's from `device` on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    device: u64,
    sound: u64,
    len: u64,
}

impl Player {
    /// Hands out samples at `rate`.
    pub fn new(rate: SampleRate) -> Player {
        Player {
            rate,
            turn: None,
            sound: VecDeque::new(),
            first: 0,
            marks: VecDeque::new(),
            words: 0,
            next: 0,
            ended: false,
            paused: false,
            ducked: false,
            gain: 1.0,
            handed: 0,
            ledger: VecDeque::new(),
            heard: 0,
        }
    }

    /// The answer of `turn` begins. What was left of the one before is dropped.
    pub fn begin(&mut self, turn: TurnId) {
        self.stop();
        self.turn = Some(turn);
    }

    /// The turn whose answer is being said, or waits to be taken up again.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn
    }

    /// More of the answer. What belongs to another turn is dropped.
    ///
    /// Panics if the rate is another than the player's.
    pub fn push(&mut self, frame: &Frame) {
        assert_eq!(frame.rate, self.rate, "sound is resampled before it is played");
        if self.turn != Some(frame.turn) {
            return;
        }
        let from = self.pushed();
        self.marks.extend(frame.marks.iter().map(|mark| Mark { at: from + mark.at, ..*mark }));
        self.sound.extend(&frame.samples);
        self.words = frame.words;
    }

    /// Samples of the answer so far.
    fn pushed(&self) -> u64 {
        self.first + self.sound.len() as u64
    }

    /// No more of the answer comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn duck(&mut self) {
        self.ducked = true;
    }

    pub fn unduck(&mut self) {
        self.ducked = false;
    }

    /// Holds the answer. The driver then takes back what the device has not played, and says so by [`Player::taken_back`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on from the beginning of the word in which the answer was held.
    pub fn resume(&mut self) {
        if !std::mem::replace(&mut self.paused, false) {
            return;
        }
        let word = self.marks.iter().rev().find(|mark| mark.at <= self.heard).map_or(self.heard, |mark| mark.at);
        self.next = word.max(self.first);
        self.gain = 0.0;
    }

    /// Forgets the answer.
    pub fn stop(&mut self) {
        let (rate, handed) = (self.rate, self.handed);
        *self = Player { handed, ..Player::new(rate) };
    }

    /// Fills `out` for the device: with the answer as far as there is some, with silence otherwise. Returns how many
    /// samples are of the answer.
    pub fn fill(&mut self, out: &mut [f32]) -> usize {
        let from = (self.next - self.first) as usize;
        let count = if self.paused { 0 } else { out.len().min(self.sound.len() - from) };
        let step = 1.0 / self.rate.samples(RAMP).max(1) as f32;
        let target = if self.ducked { DUCKED } else { 1.0 };
        for (out, sample) in out.iter_mut().zip(self.sound.range(from..from + count)) {
            self.gain += (target - self.gain).clamp(-step, step);
            *out = sample * self.gain;
        }
        out[count..].fill(0.0);
        if count > 0 {
            self.ledger.push_back(Stretch { device: self.handed, sound: self.next, len: count as u64 });
        }
        self.handed += out.len() as u64;
        self.next += count as u64;
        count
    }

    /// The last `count` samples that were handed out will not be played.
    pub fn taken_back(&mut self, count: u64) {
        self.handed -= count.min(self.handed);
        while let Some(last) = self.ledger.back_mut() {
            last.len = last.len.min(self.handed.saturating_sub(last.device));
            self.next = last.sound + last.len;
            if last.len > 0 {
                break;
            }
            self.ledger.pop_back();
        }
    }

    /// The device has played `played` of all the samples that it was handed. Says what of the answer that was.
    pub fn played(&mut self, played: u64) -> Heard {
        while let Some(stretch) = self.ledger.front() {
            let of_it = played.saturating_sub(stretch.device).min(stretch.len);
            if of_it > 0 {
                self.heard = self.heard.max(stretch.sound + of_it);
            }
            if of_it < stretch.len {
                break;
            }
            self.ledger.pop_front();
        }
        self.forget_old();
        self.heard()
    }

    /// What was heard so far.
    pub fn heard(&self) -> Heard {
        let all_out = self.heard == self.pushed();
        // A mark stands where its word begins: before the next mark is what was begun.
        let next = self.marks.iter().find(|mark| mark.at >= self.heard);
        let words = if self.heard == 0 { 0 } else { next.map_or(self.words, |next| next.word) };
        Heard { samples: self.heard, words, all: self.ended && all_out }
    }

    /// Drops what was heard so long ago that nobody goes back to it.
    fn forget_old(&mut self) {
        let kept = self.rate.samples(KEPT) as u64;
        let first = self.heard.min(self.next).saturating_sub(kept).max(self.first);
        self.sound.drain(..(first - self.first) as usize);
        self.first = first;
        while self.marks.get(1).is_some_and(|second| second.at <= first) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: SampleRate = SampleRate(1000);

    /// Sound whose samples are all 1, ten for each word.
    fn saying(words: u64) -> Player {
        let mut player = Player::new(RATE);
        player.begin(TurnId(1));
        say_more(&mut player, words);
        player
    }

    fn say_more(player: &mut Player, words: u64) {
        let before = player.pushed() / 10;
        let marks = (0..words).map(|n| Mark { at: n * 10, word: (before + n) as usize }).collect();
        let (turn, words) = (TurnId(1), words as usize);
        player.push(&Frame { turn, rate: RATE, samples: vec![1.0; words * 10], marks, words: before as usize + words });
    }

    fn fill(player: &mut Player, count: usize) -> Vec<f32> {
        let mut out = vec![9.0; count];
        let said = player.fill(&mut out);
        assert!(out[said..].iter().all(|sample| *sample == 0.0));
        out.truncate(said);
        out
    }

    #[test]
    fn what_was_heard_is_known_to_the_sample_and_to_the_word() {
        let mut player = saying(4);
        assert_eq!(fill(&mut player, 25).len(), 25);
        for (played, samples, words) in [(0, 0, 0), (1, 1, 1), (10, 10, 1), (11, 11, 2), (25, 25, 3)] {
            assert_eq!(player.played(played), Heard { samples, words, all: false });
        }
        // The voice is late: silence, which is not of the answer.
        assert_eq!(fill(&mut player, 30).len(), 15);
        player.end();
        assert_eq!(player.played(39), Heard { samples: 39, words: 4, all: false });
        assert_eq!(player.played(55), Heard { samples: 40, words: 4, all: true });
    }

    #[test]
    fn an_answer_that_was_held_goes_on_from_the_word_it_stopped_in() {
        let mut player = saying(6);
        fill(&mut player, 40);
        player.played(23);
        player.pause();
        // The device had 17 left.
        player.taken_back(17);
        assert!(fill(&mut player, 50).is_empty());
        player.played(60);
        player.resume();
        assert_eq!(player.heard().samples, 23);
        let again = fill(&mut player, 100);
        assert_eq!(again.len(), 40, "from the third word on");
        assert!(again[0] < 0.1 && again.windows(2).all(|pair| pair[0] <= pair[1]) && again[39] > 0.99, "{again:?}");
        assert_eq!(player.played(23 + 50 + 2).samples, 23, "it was heard before");
        assert_eq!(player.played(23 + 50 + 10).samples, 30);
        assert_eq!(player.turn(), Some(TurnId(1)));
    }

    #[test]
    fn a_ducked_answer_is_quieter_without_a_step_and_comes_back() {
        let mut player = saying(30);
        assert_eq!(fill(&mut player, 5), [1.0; 5]);
        player.duck();
        let falling = fill(&mut player, 40);
        assert!(falling.windows(2).all(|pair| (0.0..=0.051).contains(&(pair[0] - pair[1]))), "{falling:?}");
        assert!((falling[39] - DUCKED).abs() < 1e-6);
        player.unduck();
        assert!((fill(&mut player, 40)[39] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_stopped_is_forgotten_and_sound_of_no_turn_is_not_taken() {
        let mut player = saying(3);
        fill(&mut player, 10);
        player.stop();
        say_more(&mut player, 3);
        assert!(fill(&mut player, 10).is_empty());
        assert_eq!((player.turn(), player.played(20)), (None, Heard::default()));
        player.begin(TurnId(2));
        say_more(&mut player, 3);
        assert!(fill(&mut player, 10).is_empty(), "that was said for another turn");
        player.begin(TurnId(1));
        say_more(&mut player, 1);
        assert_eq!(fill(&mut player, 10).len(), 10);
        assert_eq!(player.played(30).samples, 0, "that was the silence before");
        assert_eq!(player.played(40).samples, 10);
    }

    #[test]
    fn a_long_answer_takes_no_more_memory_than_a_short_one() {
        let mut player = saying(1);
        for second in 1..200 {
            say_more(&mut player, 100);
            fill(&mut player, 1000);
            player.played(second * 1000);
        }
        assert!(player.sound.len() < 6000 && player.marks.len() < 600, "{} {}", player.sound.len(), player.marks.len());
        assert!(player.ledger.len() < 10);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(u64),
        Fill(usize),
        Play(u64),
        TakeBack(u64),
        Pause,
        Resume,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..9u64).prop_map(Step::Push),
            (0..70usize).prop_map(Step::Fill),
            (0..70u64).prop_map(Step::Play),
            (0..50u64).prop_map(Step::TakeBack),
            Just(Step::Pause),
            Just(Step::Resume),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// A device that remembers each sample by itself agrees.
        #[test]
        fn the_ledger_agrees_with_a_device_that_counts_each_sample(steps in steps()) {
            let mut player = saying(3);
            // Of each sample handed out which of the answer's it was; how many of them are played.
            let (mut device, mut played): (Vec<Option<u64>>, usize) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Push(words) => say_more(&mut player, words),
                    Step::Fill(count) => {
                        let from = player.next;
                        let said = fill(&mut player, count).len() as u64;
                        device.extend((0..count as u64).map(|n| (n < said).then_some(from + n)));
                    }
                    Step::Play(count) => {
                        played = device.len().min(played + count as usize);
                        player.played(played as u64);
                    }
                    Step::TakeBack(count) => {
                        let count = (count as usize).min(device.len() - played);
                        device.truncate(device.len() - count);
                        player.taken_back(count as u64);
                    }
                    Step::Pause => player.pause(),
                    Step::Resume => player.resume(),
                }
                let heard = device[..played].iter().flatten().max().map_or(0, |last| last + 1);
                prop_assert_eq!(player.heard().samples, heard);
                prop_assert_eq!(player.heard().words as u64, heard.div_ceil(10));
                prop_assert_eq!(player.handed as usize, device.len());
                prop_assert!(player.next <= player.pushed() && player.next >= player.first);
            }
        }
    }
}
