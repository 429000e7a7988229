//! Where speech ends by its energy. Voice activity models go on for some time after the voice: of 41 recorded utterances
//! Silero by 70 ms in the median and 170 ms at the 95th percentile. Latency counted from its end would look better than
//! it is.

use crate::level::power;

/// 10 ms at 16 kHz.
const STEP: usize = 160;
/// How far before the model's end the voice may have stopped: 320 ms.
const BEFORE: usize = 32 * STEP;
/// How far behind the model's end the voice may go on, and how far the quiet there is looked at: 160 ms.
const AFTER: usize = 16 * STEP;
/// The loudest part is looked for in the last second before the end.
const LOUD: usize = 100 * STEP;
/// A step is speech when it is 8 dB above the quiet, and no more than 30 dB below the loudest: what is fainter is reverb.
const ABOVE_QUIET: f32 = 6.0;
const BELOW_LOUDEST: f32 = 1e-3;

/// One past the last sample of speech, by energy, near `end`, where voice activity says it ends. `samples` are the sound
/// at 16 kHz as far as it is known; it may go on behind `end`. Where energy tells nothing, `end` itself.
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
    fn the_end_never_leaves_the_sound() {
        for length in [1, 159, 160, 161, 5_000] {
            let found = speech_end(&sound(0.3, 0.3, length, length), length);
            assert_eq!(found, length);
        }
    }
}
