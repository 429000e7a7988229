//! Sound that a sound check plays.

use std::ops::Range;
use std::time::Duration;

use super::chirp::{Chirp, LENGTH};
use crate::level::power;
use crate::types::{Ms, SampleRate};

const RATE: SampleRate = SampleRate::HEARING;
/// Time for a microphone that has just been opened to settle; then the room is measured for a
/// second. The canceller's measure learns the noise floor in it as well.
const SETTLING: Ms = Ms(1_000.0);
const QUIET: Ms = Ms(1_000.0);
pub const CHIRPS: usize = 3;
/// Time from one chirp to the next: its echo may come after the longest delay the canceller finds,
/// and has a tail.
const CHIRP_EVERY: Ms = Ms(1_000.0);
/// Length of the speech: the measure of the canceller needs ten seconds to be certain.
const SPEECH: Ms = Ms(10_000.0);
/// Level of the speech: the mean square while the voice speaks, -23 dB; and the largest sample.
const LOUD: f32 = 0.005;
const PEAK: f32 = 0.7;

/// Sound of the check at 16 kHz.
pub struct Score {
    samples: Vec<f32>,
}

impl Score {
    /// Makes the sound with `speech` repeated, or without any with noise that swells like it.
    pub fn new(speech: &[f32]) -> Score {
        let mut samples = vec![0.0; RATE.samples(Ms(SETTLING.0 + QUIET.0))];
        let chirp = Chirp::new();
        for _ in 0..CHIRPS {
            samples.extend(chirp.samples());
            samples.resize(samples.len() + RATE.samples(CHIRP_EVERY) - RATE.samples(LENGTH), 0.0);
        }
        let wanted = RATE.samples(SPEECH);
        match speech.iter().any(|sample| *sample != 0.0) {
            true => samples.extend(as_loud_as_speech(speech).iter().cycle().take(wanted)),
            false => samples.extend(as_loud_as_speech(&swelling_noise(wanted))),
        }
        Score { samples }
    }

    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    pub fn length(&self) -> Ms {
        RATE.duration(self.samples.len())
    }

    /// Time during which only the room is recorded.
    pub fn quiet(&self) -> Range<Ms> {
        SETTLING..Ms(SETTLING.0 + QUIET.0)
    }

    pub fn quiet_end(&self) -> Duration {
        Duration::from_secs_f64(self.quiet().end.0 / 1000.0) + Duration::from_millis(200)
    }

    /// Time at which a chirp begins.
    pub fn chirp(&self, n: usize) -> Ms {
        Ms(self.quiet().end.0 + n as f64 * CHIRP_EVERY.0)
    }
}

fn as_loud_as_speech(sound: &[f32]) -> Vec<f32> {
    let active: Vec<f32> = sound.iter().copied().filter(|sample| sample * sample > 1e-5).collect();
    let gain = (LOUD / power(&active).max(f32::MIN_POSITIVE)).sqrt();
    sound.iter().map(|sample| (gain * sample).clamp(-PEAK, PEAK)).collect()
}

/// Noise with the long spectrum of speech, falling by 6 dB an octave above 500 Hz and below 100 Hz,
/// in four syllables a second with a pause after every seventh.
fn swelling_noise(count: usize) -> Vec<f32> {
    use std::f32::consts::{PI, TAU};
    let mut random = fastrand::Rng::with_seed(1);
    let per_sample = 1.0 / RATE.0 as f32;
    let (mut low, mut rumble) = (0.0, 0.0);
    let syllable = RATE.0 as usize / 4;
    let mut sample = |n: usize| {
        low += TAU * 500.0 * per_sample * (2.0 * random.f32() - 1.0 - low);
        rumble += TAU * 100.0 * per_sample * (low - rumble);
        let swell = if n / syllable % 8 == 7 { 0.0 } else { (PI * (n % syllable) as f32 / syllable as f32).sin() };
        swell * (low - rumble)
    };
    (0..count).map(&mut sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_where_they_are_said_to_be() {
        let score = Score::new(&[]);
        let at = |ms: Ms| RATE.samples(ms);
        assert!(score.samples()[..at(score.quiet().end)].iter().all(|sample| *sample == 0.0));
        let chirp = Chirp::new();
        for n in 0..CHIRPS {
            let begin = at(score.chirp(n));
            assert_eq!(&score.samples()[begin..begin + chirp.samples().len()], chirp.samples());
        }
        assert_eq!(score.length(), Ms(15_000.0));
    }

    #[test]
    fn speech_of_any_loudness_is_played_as_loud_as_a_voice() {
        let voice: Vec<f32> = (0..8_000).map(|n| (n as f32 * 0.1).sin()).collect();
        let begin = RATE.samples(Score::new(&[]).chirp(CHIRPS));
        for speech in [vec![], vec![0.0; 100], voice.clone(), voice.iter().map(|x| x * 0.02).collect()] {
            let score = Score::new(&speech);
            let sound = &score.samples()[begin..];
            let power = power(sound);
            assert_eq!(sound.len(), 160_000);
            assert!((0.002..=0.006).contains(&power), "{power} of {}", speech.len());
            assert!(sound.iter().all(|sample| sample.abs() <= PEAK));
        }
    }
}
