//! Reading of a sound file as mono samples.

use std::path::Path;

use self::guard::guarded;
use self::source::SoundInput;
use self::survey::{Survey, sane};
use super::{AudioError, Resampler};
use crate::types::{Ms, SampleRate};

mod fragments;
mod guard;
mod kind;
mod source;
mod survey;

/// Longest sound that Sotto takes from a file: half an hour.
pub const LONGEST: Ms = Ms(30.0 * 60.0 * 1000.0);
/// Largest number of samples held at once: half an hour at 48 kHz, 330 MiB.
const MAX_SAMPLES: usize = 30 * 60 * 48_000;

/// A sound read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub rate: SampleRate,
    /// All channels mixed to one, in -1.0..=1.0 and never NaN.
    pub samples: Vec<f32>,
    /// Note for the user: the file is damaged or ends early, or how its samples were interpreted.
    pub note: Option<String>,
}

/// Reads a whole sound file at `rate`: WAV, FLAC, MP3, AAC, Ogg Vorbis, MP4, AIFF, CAF, Matroska
/// and WebM; 4 to 384 kHz, up to 32 channels. It is resampled while it is read, so that the
/// original is never held as a whole. It is decoded twice, since the mix of the channels is known
/// only after the last sample. A file that is damaged or ends early gives the sound that it has,
/// and a note.
///
/// Errors when the file is longer than `limit`, holds no sound that can be decoded, or holds no
/// sample.
pub fn load_at(path: &Path, limit: Ms, rate: SampleRate) -> Result<Clip, AudioError> {
    let input = SoundInput::open(path)?;
    let survey = Survey::new(&input, limit)?;
    let mut source = input.decode()?;
    let mut resampler = Resampler::new(survey.rate, rate)?;
    let (mut mono, mut samples) = (Vec::new(), Vec::new());
    while let Some((_, block)) = source.next_block()? {
        mix(block, &survey.weights, &mut mono);
        resampler.push(&mono, &mut samples);
        if samples.len() > MAX_SAMPLES {
            let limit = rate.duration(MAX_SAMPLES);
            return Err(AudioError::TooLong { path: path.to_owned(), limit });
        }
    }
    resampler.finish(&mut samples);
    // The resampler's filter overshoots full scale at the edges of a clipped sound.
    samples.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
    let notes = [source.note(rate.duration(samples.len()).0 / 1000.0), scale_note(path, &survey)];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    Ok(Clip { rate, samples, note: (!notes.is_empty()).then(|| notes.join("; ")) })
}

fn scale_note(path: &Path, survey: &Survey) -> Option<String> {
    let (full, largest) = survey.scale?;
    let (path, bits) = (path.display(), full.log2().round() as u32 + 1);
    Some(format!("{path} holds floats up to {largest:.0}, not up to 1; they are taken for integers of {bits} bits"))
}

/// Appends the weighted sum of the channels of each frame, clipped to full scale.
fn mix(block: &[f32], weights: &[f32], mono: &mut Vec<f32>) {
    let frame = |frame: &[f32]| frame.iter().zip(weights).map(|(sample, weight)| sane(*sample) * weight).sum::<f32>();
    mono.clear();
    mono.extend(block.chunks_exact(weights.len()).map(|samples| frame(samples).clamp(-1.0, 1.0)));
}

#[cfg(test)]
mod tests;
