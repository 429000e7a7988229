//! Player of an answer's sound, with the exact position of the loudspeaker in it.
//!
//! The sound of an answer is one sequence of samples, counted from its first. The player hands it
//! out as the device has space, and remembers the start of each stretch of the answer among all
//! samples ever written. So the device's count of samples that have left the loudspeaker gives, to
//! the sample, how much of the answer was heard, even when it was paused, dropped or repeated.
//!
//! Architecture invariant: no clock, no device, no thread.

use std::collections::VecDeque;

use crate::types::{Frame, Ms, SampleRate, TurnId};

/// Amount of sound kept after it was heard, to go back to: more than a long word and a pause before
/// it.
const KEPT: Ms = Ms(4_000.0);

/// Player for the sound of one answer at a time.
#[derive(Debug)]
pub struct Player {
    rate: SampleRate,
    turn: Option<TurnId>,
    /// Samples of the answer from `first` on.
    sound: VecDeque<f32>,
    first: u64,
    /// Next sample to hand out.
    next: u64,
    /// Stretches of the answer by the samples written at which they begin, oldest first.
    stretches: VecDeque<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    written: u64,
    sound: u64,
}

impl Player {
    pub fn new(rate: SampleRate) -> Player {
        Player { rate, turn: None, sound: VecDeque::new(), first: 0, next: 0, stretches: VecDeque::new() }
    }

    /// Begins the answer of `turn`, after `written` samples have ever been written to the device.
    /// An earlier answer is dropped.
    pub fn begin(&mut self, turn: TurnId, written: u64) {
        *self = Player::new(self.rate);
        self.turn = Some(turn);
        self.stretches.push_back(Stretch { written, sound: 0 });
    }

    /// Moves the beginning of an answer of which nothing was handed out: other sound was written
    /// first, `written` samples by now.
    pub fn begin_later(&mut self, written: u64) {
        if self.turn.is_some() && self.next == 0 {
            self.stretches.clear();
            self.stretches.push_back(Stretch { written, sound: 0 });
        }
    }

    /// Forgets the answer.
    pub fn stop(&mut self) {
        *self = Player::new(self.rate);
    }

    /// Turn whose answer it is.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn
    }

    /// Adds more of the answer. Sound of another turn is dropped.
    ///
    /// Panics if the rate is not the player's.
    pub fn push(&mut self, frame: &Frame) {
        assert_eq!(frame.rate, self.rate, "sound is played at the rate of the voice");
        if self.turn == Some(frame.turn) {
            self.sound.extend(&frame.samples);
        }
    }

    /// Amount of sound that waits to be handed out.
    pub fn waiting(&self) -> Ms {
        self.rate.duration((self.pushed() - self.next) as usize)
    }

    /// Returns the next samples of the answer, at most `most`.
    pub fn hand_out(&mut self, most: usize) -> Vec<f32> {
        let from = (self.next - self.first) as usize;
        let count = most.min(self.sound.len() - from);
        self.next += count as u64;
        self.sound.range(from..from + count).copied().collect()
    }

    /// Takes back the last `count` samples handed out, which the device did not take.
    pub fn not_written(&mut self, count: usize) {
        self.next = self.next.saturating_sub(count as u64).max(self.first);
    }

    /// Continues from `from`, or from the earliest sound kept, after `written` samples have ever
    /// been written.
    pub fn go_back(&mut self, from: Ms, written: u64) {
        if self.turn.is_some() {
            self.next = (self.rate.samples(from) as u64).clamp(self.first, self.pushed());
            self.stretches.push_back(Stretch { written, sound: self.next });
        }
    }

    /// Position of the loudspeaker in the answer, when `settled` of all samples ever written were
    /// played or dropped.
    pub fn position(&mut self, settled: u64) -> u64 {
        while self.stretches.get(1).is_some_and(|next| next.written <= settled) {
            self.stretches.pop_front();
        }
        let Some(stretch) = self.stretches.front() else { return 0 };
        let end = self.stretches.get(1).map_or(self.next, |_| self.pushed());
        let position = (stretch.sound + settled.saturating_sub(stretch.written)).min(end);
        self.forget_before(position.saturating_sub(self.rate.samples(KEPT) as u64));
        position
    }

    /// Whether everything was handed out, and was played or dropped.
    pub fn is_drained(&mut self, settled: u64) -> bool {
        self.next == self.pushed() && self.position(settled) == self.pushed()
    }

    fn pushed(&self) -> u64 {
        self.first + self.sound.len() as u64
    }

    fn forget_before(&mut self, first: u64) {
        let first = first.min(self.next).max(self.first);
        self.sound.drain(..(first - self.first) as usize);
        self.first = first;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: SampleRate = SampleRate(1000);

    fn saying(count: usize) -> Player {
        let mut player = Player::new(RATE);
        player.begin(TurnId(1), 0);
        say_more(&mut player, count);
        player
    }

    /// Adds samples whose values are their own numbers.
    fn say_more(player: &mut Player, count: usize) {
        let samples = (player.pushed()..).take(count).map(|n| n as f32).collect();
        player.push(&Frame { turn: TurnId(1), rate: RATE, samples, words: Vec::new() });
    }

    #[test]
    fn the_devices_count_says_how_far_the_answer_is() {
        let mut player = Player::new(RATE);
        player.begin(TurnId(1), 500);
        say_more(&mut player, 40);
        assert_eq!(player.hand_out(25).last(), Some(&24.0));
        for (settled, position) in [(0, 0), (499, 0), (500, 0), (501, 1), (525, 25), (900, 25)] {
            assert_eq!(player.position(settled), position, "{settled}");
        }
        assert_eq!((player.hand_out(99).len(), player.waiting()), (15, Ms(0.0)));
        assert!(!player.is_drained(539) && player.is_drained(540));
    }

    #[test]
    fn an_answer_that_was_held_goes_on_from_where_it_is_told() {
        let mut player = saying(60);
        player.hand_out(40);
        assert_eq!(player.position(23), 23);
        // The device drops its last 17 samples.
        player.go_back(Ms(20.0), 40);
        assert_eq!(player.position(23), 23);
        assert_eq!(player.position(40), 20);
        assert_eq!(player.hand_out(5), [20.0, 21.0, 22.0, 23.0, 24.0]);
        assert_eq!(player.position(44), 24);
        player.go_back(Ms(1e9), 45);
        assert_eq!((player.position(45), player.hand_out(9)), (60, vec![]));
    }

    #[test]
    fn what_is_written_before_the_answer_is_none_of_it() {
        let mut player = saying(40);
        player.begin_later(25);
        assert_eq!((player.position(10), player.position(25)), (0, 0));
        player.hand_out(40);
        player.begin_later(99);
        assert_eq!((player.position(30), player.position(65)), (5, 40));
        assert!(!player.is_drained(64) && player.is_drained(65));
    }

    #[test]
    fn sound_of_another_turn_is_not_taken_and_what_is_stopped_is_forgotten() {
        let mut player = saying(10);
        player.begin(TurnId(2), 0);
        say_more(&mut player, 10);
        assert!(player.hand_out(10).is_empty());
        player.begin(TurnId(1), 0);
        say_more(&mut player, 10);
        player.stop();
        assert_eq!((player.turn(), player.hand_out(10), player.position(7)), (None, vec![], 0));
        player.go_back(Ms(3.0), 5);
        assert_eq!(player.position(7), 0);
    }

    #[test]
    fn a_long_answer_takes_no_more_memory_than_a_short_one() {
        let mut player = saying(0);
        for second in 1..100 {
            say_more(&mut player, 1000);
            player.hand_out(1000);
            player.position(second * 1000);
        }
        assert!(player.sound.len() <= 5000 && player.sound.len() >= 4000, "{}", player.sound.len());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Say(usize),
        HandOut(usize),
        Play(usize),
        GoBack(u32),
    }

    proptest! {
        /// Compares with a device that remembers each sample by itself.
        #[test]
        fn the_position_is_that_of_the_sample_that_comes_next(steps in proptest::collection::vec(prop_oneof![
            (0..90usize).prop_map(Step::Say),
            (0..70usize).prop_map(Step::HandOut),
            (0..70usize).prop_map(Step::Play),
            (0..30u32).prop_map(Step::GoBack),
        ], 0..60)) {
            let mut player = saying(30);
            // For each sample written: its number in the answer. Then the number of settled
            // samples, and the sample and position at which it last continued.
            let (mut written, mut settled, mut went_on): (Vec<f32>, usize, (usize, f32)) = (Vec::new(), 0, (0, 0.0));
            for step in steps {
                match step {
                    Step::Say(count) => say_more(&mut player, count),
                    Step::HandOut(count) => written.extend(player.hand_out(count)),
                    Step::Play(count) => settled = written.len().min(settled + count),
                    Step::GoBack(by) => {
                        let from = (player.position(settled as u64) as u32).saturating_sub(by);
                        player.go_back(Ms(f64::from(from)), written.len() as u64);
                        settled = written.len();
                        went_on = (settled, from as f32);
                    }
                }
                let at = written[went_on.0..settled].last().map_or(went_on.1, |last| last + 1.0);
                prop_assert_eq!(player.position(settled as u64) as f32, at);
            }
        }
    }
}
