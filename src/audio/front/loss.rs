//! Running measure of the echo that is left: the echo return loss enhancement (ERLE, ITU-T G.168),
//! which is the level of the canceller's input over the level of its output while only the echo is
//! heard.

use super::ProcessedBlock;

/// Blocks of one window: a quarter of a second, about one syllable.
const WINDOW: usize = 25;

/// Windows that are remembered: five seconds with sound played.
const WINDOWS: usize = 20;

/// Windows needed for a first result: two seconds with sound played.
const ENOUGH: usize = 8;

/// Windows without sound played after which the microphone's signal is the room alone: the longest
/// delay and its tail are over then.
const QUIET: usize = 4;

/// Power from which a block counts as played: 60 dB below full scale.
const PLAYED: f64 = 1e-6;

/// Least level of an echo over the room's noise for a measurement: 6 dB.
const AUDIBLE: f64 = 4.0;

/// Rise of the noise floor in a room that grows louder: 0.2 dB a window, 1 dB in a second and a
/// quarter.
const RISE: f64 = 1.047;

/// ERLE in dB below which the rest of the echo may be taken for a person. In the rooms of [`super`]
/// Silero took none of the echo for speech where this measure was 13.5 dB or more, and 82 % of it
/// at 2 dB.
const TRUSTED: f32 = 12.0;

/// Measures the canceller by its input and output. A person who talks over the answer lowers the
/// ERLE of the windows in which they talk, so the median is used: it holds until they have talked
/// over half of the last five seconds, which is long after an answer was paused for them. A
/// canceller that has not found the echo still suppresses it at times, above all in its first
/// seconds, so the measure needs ten seconds to be certain of that.
#[derive(Clone, Debug)]
pub struct EchoLoss {
    /// ERLE of the last windows with sound played, in dB; windows without an audible echo are
    /// infinite.
    windows: [f32; WINDOWS],
    /// Total number of windows closed with sound played.
    closed: usize,
    /// Power of the quietest windows in which nothing was played.
    floor: Option<f64>,
    quiet: usize,
    window: Window,
}

/// Sums of the window that is being filled.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    blocks: usize,
    played: usize,
    before: f64,
    after: f64,
}

impl EchoLoss {
    pub fn new() -> Self {
        EchoLoss { windows: [0.0; WINDOWS], closed: 0, floor: None, quiet: 0, window: Window::default() }
    }

    /// Adds one block: the microphone before the canceller and after it, and the sound played.
    pub fn update(&mut self, before: &ProcessedBlock, after: &ProcessedBlock, played: &ProcessedBlock) {
        self.window.blocks += 1;
        self.window.played += usize::from(power(played) > PLAYED);
        self.window.before += power(before) / WINDOW as f64;
        self.window.after += power(after) / WINDOW as f64;
        if self.window.blocks == WINDOW {
            let window = std::mem::take(&mut self.window);
            self.close(window);
        }
    }

    fn close(&mut self, window: Window) {
        self.quiet = if window.played == 0 { self.quiet + 1 } else { 0 };
        if self.quiet > QUIET {
            self.floor = Some(self.floor.map_or(window.before, |floor| window.before.min(floor * RISE)));
        }
        // A window that is mostly a pause measures the noise.
        if window.played * 2 < WINDOW {
            return;
        }
        let audible = self.floor.is_none_or(|floor| window.before > AUDIBLE * floor);
        let loss = 10.0 * (window.before.max(f64::MIN_POSITIVE) / window.after.max(f64::MIN_POSITIVE)).log10();
        self.windows[self.closed % WINDOWS] = if audible { loss as f32 } else { f32::INFINITY };
        self.closed += 1;
    }

    /// Echo return loss enhancement in dB: the reduction of the echo by the canceller. Infinite
    /// where no echo can be heard above the room's noise, as with headphones; `None` until two
    /// seconds were played.
    pub fn enhancement(&self) -> Option<f32> {
        let known = self.closed.min(WINDOWS);
        (known >= ENOUGH).then(|| {
            let mut windows = self.windows;
            windows[..known].sort_unstable_by(f32::total_cmp);
            windows[known / 2]
        })
    }

    /// Whether a voice behind the canceller can be trusted to be a person's while Sotto speaks. If
    /// not, only half-duplex works: the microphone is ignored during an answer.
    pub fn full_duplex(&self) -> Option<bool> {
        self.enhancement().map(|loss| loss >= TRUSTED)
    }

    /// Forgets everything, as after the loss of a device.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for EchoLoss {
    fn default() -> Self {
        Self::new()
    }
}

/// Mean square; samples that are not numbers count as zero.
fn power(block: &ProcessedBlock) -> f64 {
    let squares = block.iter().filter(|x| x.is_finite()).map(|x| f64::from(x.clamp(-1.0, 1.0)).powi(2));
    squares.sum::<f64>() / block.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::front::BLOCK;

    const SILENT: ProcessedBlock = [0.0; BLOCK];

    /// Adds `seconds` of constant levels: before, after, played.
    fn feed(loss: &mut EchoLoss, seconds: f64, levels: [f32; 3]) {
        let [before, after, played] = levels.map(|level| [level; BLOCK]);
        (0..(seconds * 100.0) as usize).for_each(|_| loss.update(&before, &after, &played));
    }

    #[test]
    fn nothing_is_said_before_two_seconds_of_playing() {
        let mut loss = EchoLoss::new();
        feed(&mut loss, 30.0, [0.01, 0.01, 0.0]);
        assert_eq!((loss.enhancement(), loss.full_duplex()), (None, None));
        feed(&mut loss, 1.9, [0.1, 0.01, 0.1]);
        assert_eq!(loss.enhancement(), None);
        feed(&mut loss, 0.1, [0.1, 0.01, 0.1]);
        assert!((loss.enhancement().unwrap() - 20.0).abs() < 0.01);
        loss.reset();
        assert_eq!(loss.enhancement(), None);
    }

    #[test]
    fn the_loss_is_that_of_the_echo() {
        for (before, after, played, decibel, trusted) in [
            (0.1, 0.1, 0.1, 0.0, false),
            (0.1, 0.05, 0.1, 6.02, false),
            (0.1, 0.02, 0.1, 13.98, true),
            (0.1, 0.001, 0.1, 40.0, true),
            (0.1, 0.2, 0.1, -6.02, false),
            (0.0012, 0.0012, 0.1, f32::INFINITY, true),
        ] {
            let mut loss = EchoLoss::new();
            feed(&mut loss, 3.0, [0.001, 0.001, 0.0]);
            feed(&mut loss, 5.0, [before, after, played]);
            let found = loss.enhancement().unwrap();
            assert!(found == decibel || (found - decibel).abs() < 0.05, "{before} {after}: {found}");
            assert_eq!(loss.full_duplex(), Some(trusted), "{before} {after}");
        }
    }

    #[test]
    fn who_talks_over_the_answer_does_not_take_the_trust_away() {
        let mut loss = EchoLoss::new();
        feed(&mut loss, 5.0, [0.1, 0.005, 0.1]);
        feed(&mut loss, 2.25, [0.2, 0.15, 0.1]);
        assert_eq!(loss.full_duplex(), Some(true));
        feed(&mut loss, 2.75, [0.2, 0.15, 0.1]);
        assert_eq!(loss.full_duplex(), Some(false), "five seconds of it look like a canceller that has lost the room");
        feed(&mut loss, 2.75, [0.1, 0.005, 0.1]);
        assert_eq!(loss.full_duplex(), Some(true));
    }

    #[test]
    fn a_room_that_grows_louder_moves_the_floor() {
        let mut loss = EchoLoss::new();
        feed(&mut loss, 3.0, [0.0001, 0.0001, 0.0]);
        feed(&mut loss, 60.0, [0.01, 0.01, 0.0]);
        feed(&mut loss, 3.0, [0.012, 0.012, 0.1]);
        assert_eq!(loss.enhancement(), Some(f32::INFINITY));
    }

    #[test]
    fn samples_that_are_no_number_leave_a_number() {
        for bad in [f32::NAN, f32::INFINITY, -f32::MAX, 1e-40] {
            let mut loss = EchoLoss::new();
            feed(&mut loss, 3.0, [bad, bad, 0.1]);
            assert!(!loss.enhancement().unwrap().is_nan(), "{bad}");
        }
        let mut loss = EchoLoss::new();
        (0..500).for_each(|_| loss.update(&SILENT, &SILENT, &[0.1; BLOCK]));
        assert_eq!(loss.enhancement(), Some(0.0));
    }
}
