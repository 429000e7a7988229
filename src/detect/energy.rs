//! Where speech ends by its energy. Voice activity models go on for some time after the voice: of
//! 41 recorded utterances Silero by 70 ms in the median and 170 ms at the 95th percentile. Latency
//! counted from its end would look better than it is.

use std::collections::VecDeque;

use super::FRAME;
use crate::level::power;

/// 10 ms at 16 kHz.
const STEP: usize = 160;
/// How far before the model's end the voice may have stopped: 320 ms.
const BEFORE: usize = 32 * STEP;
/// How far behind the model's end the voice may go on, and how far the quiet there is looked at:
/// 160 ms.
const AFTER: usize = 16 * STEP;
/// The loudest part is looked for in the last second before the end.
const LOUD: usize = 100 * STEP;
/// A step is speech when it is 8 dB above the quiet, and no more than 30 dB below the loudest: what
/// is fainter is reverb.
const ABOVE_QUIET: f32 = 6.0;
const BELOW_LOUDEST: f32 = 1e-3;

/// How much of the sound before a frame it is compared with: a second.
const REMEMBERED: usize = 31;
/// For how many frames energy is believed against voice activity: 192 ms, what the model lags at
/// its worst. Whose voice only has become soft is heard again behind them.
const BELIEVED: u32 = 6;

/// Whether a voice has just fallen silent, by energy: 60 ms sooner than voice activity tells it (97
/// recordings: 70 ms behind the last sample instead of 132, at the 95th percentile 88 instead of
/// 181). Closed lips are as silent, so 1.5 pauses a turn are taken back instead of 0.5. In a room
/// whose noise is within 30 dB of the voice nothing falls, and the model decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Fall {
    /// The loudest parts of the last frames.
    recent: VecDeque<f32>,
    silent: u32,
}

impl Fall {
    /// Takes the loudest part of the next frame; see [`loudest`].
    pub(super) fn is_silent(&mut self, loudest: f32) -> bool {
        let before = self.loudest();
        self.recent.truncate(REMEMBERED - 1);
        self.recent.push_front(loudest);
        self.silent = if loudest < before * BELOW_LOUDEST { self.silent + 1 } else { 0 };
        (1..=BELIEVED).contains(&self.silent)
    }

    /// Whether sound so loud ends the silence.
    pub(super) fn is_broken_by(&self, loudest: f32) -> bool {
        self.silent > 0 && loudest >= self.loudest() * BELOW_LOUDEST
    }

    fn loudest(&self) -> f32 {
        self.recent.iter().copied().fold(0.0, f32::max)
    }
}

/// The power of the loudest 8 ms of some sound, as far as it goes in whole ones.
pub fn loudest(samples: &[f32]) -> f32 {
    samples.chunks_exact(FRAME / 4).map(power).fold(0.0, f32::max)
}

/// One past the last sample of speech, by energy, near `end`, where voice activity says it ends.
/// `samples` are the sound at 16 kHz as far as it is known; it may go on behind `end`. Where energy
/// tells nothing, `end` itself.
pub fn speech_end(samples: &[f32], end: usize) -> usize {
    let end = end.min(samples.len());
    let (first, last) = (end.saturating_sub(BEFORE), (end + AFTER).min(samples.len()));
    let loudest = samples[end.saturating_sub(LOUD)..end].chunks(STEP).map(power).fold(0.0, f32::max);
    let quiet = median(samples[end..last].chunks_exact(STEP).map(power).collect());
    let threshold = (quiet * ABOVE_QUIET).max(loudest * BELOW_LOUDEST);
    if threshold >= loudest {
        return end;
    }
    match samples[first..last].chunks(STEP).map(power).enumerate().rfind(|&(_, step)| step > threshold) {
        Some((step, _)) => (first + (step + 1) * STEP).min(last),
        None => end,
    }
}

/// Nothing is quieter than no sound at all.
fn median(mut powers: Vec<f32>) -> f32 {
    powers.sort_unstable_by(f32::total_cmp);
    powers.get(powers.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sound that is `voice` loud up to `end` and `room` loud behind it.
    fn sound(voice: f32, room: f32, end: usize, length: usize) -> Vec<f32> {
        let level = |i: usize| if i < end { voice } else { room };
        (0..length).map(|i| level(i) * (i as f32 * 1.7).sin()).collect()
    }

    #[test]
    fn the_end_is_where_the_energy_falls() {
        for (voice, room) in [(0.3, 0.0), (0.3, 0.001), (0.02, 0.0005), (0.3, 0.03)] {
            for lag in [0, 500, 1_136, 1_856] {
                let found = speech_end(&sound(voice, room, 16_000, 20_000), 16_000 + lag);
                assert!(found.abs_diff(16_000) <= STEP, "voice {voice}, room {room}, lag {lag}: {found}");
            }
        }
    }

    #[test]
    fn sound_that_tells_nothing_leaves_the_end_alone() {
        for samples in [vec![], vec![0.0; 16_000]] {
            for end in [0, 100, 15_000, 99_999] {
                assert_eq!(speech_end(&samples, end), end.min(samples.len()));
            }
        }
    }

    #[test]
    fn a_voice_falls_silent_once_and_not_for_ever() {
        let silent = |levels: &[f32]| {
            let mut fall = Fall::default();
            levels.iter().map(|level| fall.is_silent(level * level)).collect::<Vec<_>>()
        };
        let mut levels = [&[0.0, 0.0][..], &[0.3; 40], &[0.005; 10]].concat();
        let told = silent(&levels);
        assert_eq!(told.iter().position(|told| *told), Some(42));
        assert_eq!(told.iter().filter(|told| **told).count(), BELIEVED as usize);
        // 29 dB are not enough, and a voice that comes back may fall again.
        levels[42..].copy_from_slice(&[0.0106, 0.0, 0.3, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(silent(&levels)[42..], [false, true, false, true, true, false, true, true, true, true]);
        // A voice begins before it is voiced.
        let mut fall = Fall::default();
        for (level, quiet, broken) in [(0.3, 0.0, 0.9), (0.001, 0.005, 0.0096), (0.001, 0.009, 0.0096), (0.3, 0.0, 0.9)]
        {
            fall.is_silent(level * level);
            assert!(!fall.is_broken_by(quiet * quiet));
            assert_eq!(fall.is_broken_by(broken * broken), level < 0.1);
        }
        // What was loud more than a second ago does not count.
        assert!(silent(&[&[0.9][..], &[0.02; 40], &[0.02; 10]].concat())[32..].iter().all(|told| !told));
    }

    #[test]
    fn the_end_never_leaves_the_sound() {
        for length in [1, 159, 160, 161, 5_000] {
            let found = speech_end(&sound(0.3, 0.3, length, length), length);
            assert_eq!(found, length);
        }
    }
}
