//! How much of its own voice Sotto still hears: a running measure of the echo return loss
//! enhancement (ERLE, ITU-T G.168: the level of what the canceller was given over the level of what
//! it gave, while only the echo is heard).

use super::ProcessedBlock;

/// Blocks of one window: a quarter of a second, about one syllable.
const WINDOW: usize = 25;

/// Windows that are remembered: five seconds of playing.
const WINDOWS: usize = 20;

/// Windows until anything is said: two seconds of playing.
const ENOUGH: usize = 8;

/// Windows without anything played after which what is heard is the room: the longest delay and its
/// tail are over then.
const QUIET: usize = 4;

/// Power from which a block counts as played: 60 dB below full scale.
const PLAYED: f64 = 1e-6;

/// How far an echo stands out of the room's noise to be measured: 6 dB.
const AUDIBLE: f64 = 4.0;

/// How fast the noise floor follows a room that grows louder: 0.2 dB a window, 1 dB in a second and
/// a quarter.
const RISE: f64 = 1.047;

/// What is left of the echo may be taken for a person from here down. In the rooms of [`super`]
/// Silero took none of the echo for speech where this measure was 13.5 dB or more, and 82 % of it
/// at 2 dB.
const TRUSTED: f32 = 12.0;

/// Watches what goes into the canceller and what comes out of it. A person who talks over the
/// answer lowers the ERLE of the windows in which they talk, so the median is what counts: it holds
/// until they have talked over half of the last five seconds, which is long after an answer was
/// paused for them. A canceller that has not found the echo still suppresses it at times, in its
/// first seconds above all, so the measure needs ten seconds to say so for certain.
#[derive(Clone, Debug)]
pub struct EchoLoss {
    /// ERLE of the last windows in which an echo was heard, in dB; those without an audible one are
    /// infinite.
    windows: [f32; WINDOWS],
    /// Windows ever closed with something played.
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

    /// One block: what was heard before the canceller and after it, and what was played.
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
        // A window that is mostly pause measures the noise.
        if window.played * 2 < WINDOW {
            return;
        }
        let audible = self.floor.is_none_or(|floor| window.before > AUDIBLE * floor);
        let loss = 10.0 * (window.before.max(f64::MIN_POSITIVE) / window.after.max(f64::MIN_POSITIVE)).log10();
        self.windows[self.closed % WINDOWS] = if audible { loss as f32 } else { f32::INFINITY };
        self.closed += 1;
    }

    /// The echo return loss enhancement in dB: by how much the canceller lowers the echo. Infinite
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

    /// Whether a voice behind the canceller can be trusted to be a person's while Sotto speaks.
    /// Where not, only half-duplex will do: what is heard during an answer is not listened to.
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

/// Mean square; samples that are no number count as nothing.
fn power(block: &ProcessedBlock) -> f64 {
    let squares = block.iter().filter(|x| x.is_finite()).map(|x| f64::from(x.clamp(-1.0, 1.0)).powi(2));
    squares.sum::<f64>() / block.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::front::BLOCK;

    const SILENT: ProcessedBlock = [0.0; BLOCK];

    /// Feeds `seconds` of constant levels: before, after, played.
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
