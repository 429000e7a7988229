//! Recorded speech prepared for voice activity detection and recognition.

use std::path::Path;

use super::{AudioError, Clip, HighPass, load_at};
use crate::level;
use crate::types::{Ms, SampleRate};

/// Least level of a recording's loudest passage: -23 dBFS, as of a voice near its microphone. Voice
/// activity detection misses first words of speech that peaks at -40 dB, and all of it at -52 dB.
const LOUDEST: f32 = 0.07;
/// Level of the quantisation noise of 16 bits, about one step: it counts as silence, not as
/// recorded noise.
const DIGITAL_NOISE: f32 = 1.0 / 32_768.0;
/// Level below which a sound is not raised: -180 dB.
const NOTHING: f32 = 1e-9;

/// Reads a recording of speech at 16 kHz for recognition: the sound of [`load_at`] without offset
/// and hum, with a soft one made as loud as others. `[audio] gain` has no effect on it.
///
/// Errors are those of [`load_at`].
pub fn load_speech(path: &Path, limit: Ms) -> Result<Clip, AudioError> {
    let mut clip = load_at(path, limit, SampleRate::HEARING)?;
    HighPass::new(SampleRate::HEARING).process(&mut clip.samples);
    raise(&mut clip.samples);
    Ok(clip)
}

/// Raises a soft sound as a whole, by its loudest passage and not by its peak: clicks and the
/// amount of silence have no effect.
fn raise(samples: &mut [f32]) {
    let powers = level::steps(samples, SampleRate::HEARING);
    let loudest = level::sustained(&powers).sqrt();
    let silent = loudest < DIGITAL_NOISE && level::is_steady(&powers);
    let gain = if (NOTHING..LOUDEST).contains(&loudest) && !silent { LOUDEST / loudest } else { 1.0 };
    samples.iter_mut().for_each(|sample| *sample = (*sample * gain).clamp(-1.0, 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::WavWriter;

    /// Two seconds of a tone that comes and goes, like speech.
    fn voice(level: f32) -> Vec<f32> {
        (0..32_000).map(|n| if n % 8_000 < 4_000 { level * (n as f32 * 0.3).sin() } else { 0.0 }).collect()
    }

    fn loaded(samples: &[f32]) -> Vec<f32> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sound.wav");
        let mut wav = WavWriter::create(&path, SampleRate::HEARING).unwrap();
        wav.write(samples).unwrap();
        wav.finish().unwrap();
        load_speech(&path, Ms(100_000.0)).unwrap().samples
    }

    fn loudest(samples: &[f32]) -> f32 {
        level::sustained(&level::steps(samples, SampleRate::HEARING)).sqrt()
    }

    #[test]
    fn soft_speech_is_raised_and_loud_speech_is_left() {
        for (level, wanted) in [(0.5, 0.354), (0.2, 0.141), (0.01, LOUDEST), (0.001, LOUDEST), (0.000_2, LOUDEST)] {
            let found = loudest(&loaded(&voice(level)));
            assert!((found / wanted - 1.0).abs() < 0.02, "{level}: {found}");
        }
    }

    #[test]
    fn offset_and_hum_are_taken_out() {
        let clean = voice(0.3);
        let hum = |n: usize| 0.2 + 0.3 * (n as f32 * std::f32::consts::TAU * 50.0 / 16_000.0).sin();
        let sound: Vec<f32> = clean.iter().enumerate().map(|(n, sample)| sample + hum(n)).collect();
        let found = loaded(&sound);
        let rest = level::decibels(level::power(&found[20_500..23_500]) / level::power(&found[16_500..19_500]));
        assert!(rest < -22.0, "{rest:.1} dB of the voice are left where it is silent");
    }

    #[test]
    fn clicks_and_long_silence_change_no_gain() {
        let soft = voice(0.002);
        let mut clicked = soft.clone();
        clicked[7_000..7_160].fill(0.9);
        let late = [vec![0.0; 16_000 * 60], soft.clone()].concat();
        for sound in [&clicked, &late] {
            let end = loaded(sound).split_off(sound.len() - 16_000);
            assert!((loudest(&end) / LOUDEST - 1.0).abs() < 0.05, "{}", loudest(&end));
        }
    }

    #[test]
    fn digital_noise_stays_silence() {
        let dither: Vec<f32> = (0..16_000).map(|n| if n * n % 7 < 3 { 1.0 / 32_768.0 } else { 0.0 }).collect();
        for sound in [vec![0.0; 16_000], dither] {
            assert!(loudest(&loaded(&sound)) < DIGITAL_NOISE);
        }
    }
}
