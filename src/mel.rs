//! Log-mel features as Whisper and models derived from it were trained with: the power of 80 bands,
//! 100 times a second.
//!
//! The filters are Slaney's (scale and area normalisation; M. Slaney, Auditory Toolbox, 1998) over
//! the bins of a 400-point transform at 16 kHz. The models of whisper.cpp contain them as well, and
//! Smart Turn, which was derived from Whisper, uses them too.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Number of bands.
pub const MELS: usize = 80;
/// Samples of a frame's window (25 ms), and from one frame to the next (10 ms).
pub const WINDOW: usize = 400;
pub const HOP: usize = 160;
/// Smallest power; smaller ones are raised to it.
const FLOOR: f32 = 1e-10;
/// Range below the loudest value in powers of ten: 80 dB. Softer values are raised to its lower
/// end.
const RANGE: f32 = 8.0;
/// Bins of a 400-point transform of real input.
pub const BINS: usize = WINDOW / 2 + 1;
/// Hertz from one bin to the next: 16 000 / 400.
const BIN_WIDTH: f64 = 40.0;
const HIGHEST: f64 = 8000.0;

/// Hertz per mel of Slaney's scale in its linear part. The scale is linear below 1 kHz (3 mels per
/// 200 Hz) and logarithmic above (27 mels per factor of 6.4).
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ_PER_MEL;
const MELS_PER_FACTOR: f64 = 27.0;
const FACTOR: f64 = 6.4;

/// Filter weights `[80, 201]` row by row: the share of each bin in each band. They are computed in
/// double precision, then rounded once.
pub fn filters() -> Vec<f32> {
    let top = mel_of(HIGHEST);
    let edges: Vec<f64> = (0..MELS + 2).map(|i| hz_of(top * i as f64 / (MELS + 1) as f64)).collect();
    let triangle = |band: usize, bin: usize| {
        let (low, centre, high) = (edges[band], edges[band + 1], edges[band + 2]);
        let hz = bin as f64 * BIN_WIDTH;
        let height = ((hz - low) / (centre - low)).min((high - hz) / (high - centre)).max(0.0);
        (height * 2.0 / (high - low)) as f32
    };
    (0..MELS).flat_map(|band| (0..BINS).map(move |bin| (band, bin))).map(|(band, bin)| triangle(band, bin)).collect()
}

fn mel_of(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / LINEAR_HZ_PER_MEL
    } else {
        BREAK_MEL + MELS_PER_FACTOR * (hz / BREAK_HZ).ln() / FACTOR.ln()
    }
}

fn hz_of(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * LINEAR_HZ_PER_MEL } else { BREAK_HZ * FACTOR.powf((mel - BREAK_MEL) / MELS_PER_FACTOR) }
}

/// Computes features of sound at 16 kHz.
pub struct Mel {
    transform: Arc<dyn RealToComplex<f32>>,
    /// A periodic Hann window.
    window: [f32; WINDOW],
    /// For each band its first bin with a weight, and the weights from there.
    bands: Vec<(usize, Vec<f32>)>,
    frame: Vec<f32>,
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    powers: Vec<f32>,
}

impl Default for Mel {
    fn default() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let turn = |n: usize| std::f64::consts::TAU * n as f64 / WINDOW as f64;
        Mel {
            window: std::array::from_fn(|n| (0.5 - 0.5 * turn(n).cos()) as f32),
            bands: filters().chunks_exact(BINS).map(band).collect(),
            frame: transform.make_input_vec(),
            bins: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            powers: vec![0.0; BINS],
            transform,
        }
    }
}

/// First bin of a filter with a weight, and the weights up to the last one.
fn band(filter: &[f32]) -> (usize, Vec<f32>) {
    let counts = |weight: &f32| *weight > 0.0;
    let first = filter.iter().position(counts).unwrap_or(0);
    let end = filter.iter().rposition(counts).map_or(first, |last| last + 1);
    (first, filter[first..end].to_vec())
}

impl Mel {
    /// Features `[80, frames]` of a sound that is reflected before its start, as Whisper expects:
    /// frame `i` has its middle at sample 160 i. After the end of `samples` there is silence.
    pub fn features(&mut self, samples: &[f32], frames: usize) -> Vec<f32> {
        let before = WINDOW / 2;
        let reflected = (1..=before).rev().map(|n| samples.get(n).copied().unwrap_or(0.0));
        let mut padded: Vec<f32> = reflected.chain(samples.iter().copied()).collect();
        padded.resize(frames.saturating_sub(1) * HOP + WINDOW, 0.0);
        self.features_of_padded(&padded)
    }

    /// Features `[80, frames]` of frames that begin 160 samples apart and lie within
    /// `padded`: the logarithm of each band's power to base ten, no more than 8 below the
    /// highest, as (x + 4) / 4.
    pub fn features_of_padded(&mut self, padded: &[f32]) -> Vec<f32> {
        let frames = (padded.len() + HOP).saturating_sub(WINDOW) / HOP;
        let mut features = vec![0.0; MELS * frames];
        for (index, frame) in padded.windows(WINDOW).step_by(HOP).enumerate() {
            // Many windows are mostly silence around the sound.
            if index > 0 && frame == &padded[(index - 1) * HOP..][..WINDOW] {
                (0..MELS).for_each(|band| features[band * frames + index] = features[band * frames + index - 1]);
                continue;
            }
            self.transform(frame);
            for (band, (first, weights)) in self.bands.iter().enumerate() {
                let power: f32 = weights.iter().zip(&self.powers[*first..]).map(|(w, p)| w * p).sum();
                features[band * frames + index] = power.max(FLOOR).log10();
            }
        }
        let lowest = features.iter().copied().fold(f32::NEG_INFINITY, f32::max) - RANGE;
        features.iter_mut().for_each(|feature| *feature = (feature.max(lowest) + 4.0) / 4.0);
        features
    }

    /// Computes the powers of a frame's bins.
    fn transform(&mut self, frame: &[f32]) {
        let windowed = frame.iter().zip(&self.window).map(|(sample, weight)| sample * weight);
        self.frame.iter_mut().zip(windowed).for_each(|(slot, sample)| *slot = sample);
        // Only buffers of a wrong length are an error, and these came from the transform itself.
        let _ = self.transform.process_with_scratch(&mut self.frame, &mut self.bins, &mut self.scratch);
        self.powers.iter_mut().zip(&self.bins).for_each(|(power, bin)| *power = bin.norm_sqr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the figures of the filters that OpenAI ships.
    #[test]
    fn filters_are_those_of_the_training() {
        let filters = filters();
        assert_eq!(filters.len(), MELS * BINS);
        assert_eq!(filters.iter().filter(|&&weight| weight != 0.0).count(), 391);
        let highest = filters.iter().copied().fold(0.0, f32::max);
        assert!((highest - 0.025881).abs() < 1e-6, "{highest}");
        assert!(filters.iter().all(|&weight| weight >= 0.0));
    }

    #[test]
    fn the_scale_turns_back() {
        for hz in [0.0, 440.0, 999.9, 1000.0, 4000.0, 8000.0] {
            assert!((hz_of(mel_of(hz)) - hz).abs() < 1e-9, "{hz}");
        }
    }

    /// Compares with the definition, in double precision, with a textbook transform.
    #[test]
    fn features_are_those_of_the_definition() {
        let sound: Vec<f32> = (0..1_000).map(|n| 0.3 * (n as f32 * 0.2).sin() + 0.1 * (n as f32 * 1.7).cos()).collect();
        let frames = 9;
        let at = |n: isize| sound.get(n.unsigned_abs()).copied().map_or(0.0, f64::from);
        let power = |frame: usize, bin: usize| {
            let turn = |n: usize| std::f64::consts::TAU * n as f64 / WINDOW as f64;
            let sample = |n: usize| (0.5 - 0.5 * turn(n).cos()) * at((frame * HOP + n) as isize - WINDOW as isize / 2);
            let sum = |wave: &dyn Fn(f64) -> f64| (0..WINDOW).map(|n| sample(n) * wave(turn(n * bin))).sum::<f64>();
            sum(&f64::cos).powi(2) + sum(&f64::sin).powi(2)
        };
        let filters = filters();
        let mut wanted = vec![0.0; MELS * frames];
        for frame in 0..frames {
            let powers: Vec<f64> = (0..BINS).map(|bin| power(frame, bin)).collect();
            for band in 0..MELS {
                let sum =
                    filters[band * BINS..][..BINS].iter().zip(&powers).map(|(w, p)| f64::from(*w) * p).sum::<f64>();
                wanted[band * frames + frame] = sum.max(1e-10).log10();
            }
        }
        let highest = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let features = Mel::default().features(&sound, frames);
        for (index, (feature, wanted)) in features.iter().zip(&wanted).enumerate() {
            let wanted = (wanted.max(highest - 8.0) + 4.0) / 4.0;
            assert!((f64::from(*feature) - wanted).abs() < 1e-3, "{index}: {feature} {wanted}");
        }
    }

    #[test]
    fn any_length_of_sound_has_features() {
        for length in [0, 1, 199, 200, 201, 400] {
            let features = Mel::default().features(&vec![0.5; length], 4);
            assert!(features.len() == 4 * MELS && features.iter().all(|feature| feature.is_finite()), "{length}");
        }
        assert!(Mel::default().features_of_padded(&[0.0; WINDOW - 1]).is_empty());
    }
}
