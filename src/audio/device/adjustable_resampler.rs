//! Resampling at a ratio that can be corrected while it runs, by `rubato`'s sinc interpolator.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Adjustable as _, Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::super::AudioError;
use super::drift::MOST_DRIFT;
use crate::types::SampleRate;

/// Length of the filter in periods of the lower rate: 70 dB down at a fifth above half the lower
/// rate.
const TAPS: usize = 128;
/// Number of filters between two input samples; cubic interpolation between them is exact to about
/// -100 dB.
const OVERSAMPLING: usize = 128;
/// Input chunks per second. They are short, because samples that do not fill a chunk have to wait.
const CHUNKS_PER_SECOND: u32 = 500;
/// Largest correction of the ratio: the drift, and as much again to pull in a phase error.
pub const MOST_CORRECTION: f64 = 2.0 * MOST_DRIFT;

/// Resampler of a stream that comes in pieces. The filter's delay is taken away: the sample that
/// follows [`AdjustableResampler::worked`] input samples stands at [`AdjustableResampler::due`] in
/// the output, to a thousandth of a sample.
pub struct AdjustableResampler {
    engine: Async<f32>,
    nominal: f64,
    /// Current number of output samples per input sample.
    ratio: f64,
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Output samples of the filter's delay: all of them, and those yet to come.
    whole_delay: usize,
    delay: usize,
    /// Fraction of a sample in the filter's delay.
    offset: f64,
    worked: u64,
    due: f64,
    given: u64,
}

impl AdjustableResampler {
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self, AudioError> {
        let refuse = || AudioError::rates(from, to);
        if from.0 == 0 || to.0 == 0 {
            return Err(refuse());
        }
        let nominal = f64::from(to.0) / f64::from(from.0);
        // A filter for the lower rate is longer in samples of the higher rate. The length is a
        // multiple of 8 for the vector instructions.
        let length = ((TAPS as f64 / nominal.min(1.0)).ceil() as usize).next_multiple_of(8);
        let parameters = SincInterpolationParameters {
            sinc_len: length,
            f_cutoff: None,
            oversampling_factor: OVERSAMPLING,
            interpolation: SincInterpolationType::Cubic,
            window: WindowFunction::BlackmanHarris2,
        };
        let chunk = (from.0 / CHUNKS_PER_SECOND).max(1) as usize;
        let engine = Async::new_sinc(nominal, 1.0 + MOST_CORRECTION, &parameters, chunk, 1, FixedAsync::Input);
        let engine = engine.map_err(|_| refuse())?;
        // The engine steps once before its first output, and its filters are early by one of the
        // positions between two samples (measured: a tone's phase is then right to 0.001 samples).
        let delay = (length as f64 / 2.0 - 1.0 / OVERSAMPLING as f64) * nominal - 1.0;
        let whole_delay = delay.round() as usize;
        Ok(AdjustableResampler {
            block: vec![0.0; engine.output_frames_max()],
            engine,
            nominal,
            ratio: nominal,
            waiting: Vec::new(),
            whole_delay,
            delay: whole_delay,
            offset: delay - whole_delay as f64,
            worked: 0,
            due: 0.0,
            given: 0,
        })
    }

    /// Sets the output rate to `relative` times its nominal value from now on.
    pub fn steer(&mut self, relative: f64) {
        let relative = relative.clamp(1.0 / (1.0 + MOST_CORRECTION), 1.0 + MOST_CORRECTION);
        // Slightly inside the limit: the engine compares after a rounding of its own.
        let relative = 1.0 + (relative - 1.0) * 0.999;
        if self.engine.set_resample_ratio_relative(relative, false).is_ok() {
            self.ratio = self.nominal * relative;
        }
    }

    /// Takes in `samples` and appends the finished output to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.waiting.extend_from_slice(samples);
        let mut used = 0;
        while self.waiting.len() - used >= self.engine.input_frames_next() {
            used += self.turn(used, out);
        }
        self.waiting.drain(..used);
    }

    fn turn(&mut self, at: usize, out: &mut Vec<f32>) -> usize {
        let wanted = self.engine.input_frames_next();
        let input = SequentialSlice::new(&self.waiting[at..at + wanted], 1, wanted).expect("one channel");
        let room = self.block.len();
        let mut output = SequentialSlice::new_mut(&mut self.block, 1, room).expect("one channel");
        let indexing: Option<&Indexing> = None;
        let (used, made) =
            self.engine.process_into_buffer(&input, &mut output, indexing).expect("buffers of its own sizes");
        let late = self.delay.min(made);
        self.delay -= late;
        out.extend_from_slice(&self.block[late..made]);
        self.given += (made - late) as u64;
        self.worked += used as u64;
        self.due += used as f64 * self.ratio;
        used
    }

    /// Appends the rest, so that the output has the length of the input, rounded. Afterwards the
    /// resampler is ready for another sound; the correction stays.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let due = (self.due + self.waiting.len() as f64 * self.ratio).round() as u64;
        let missing = due.saturating_sub(self.given) as usize;
        let start = out.len();
        let silence = vec![0.0; self.engine.input_frames_next()];
        while out.len() - start < missing {
            self.push(&silence, out);
        }
        out.truncate(start + missing);
        self.reset();
    }

    /// Discards the sound it holds.
    pub fn reset(&mut self) {
        let relative = self.ratio / self.nominal;
        self.engine.reset();
        self.waiting.clear();
        self.delay = self.whole_delay;
        (self.worked, self.due, self.given) = (0, 0.0, 0);
        // The engine has gone back to its nominal ratio.
        if self.engine.set_resample_ratio_relative(relative, false).is_err() {
            self.ratio = self.nominal;
        }
    }

    /// Current number of output samples per input sample.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Number of input samples processed: all but those that do not fill a chunk.
    pub fn worked(&self) -> u64 {
        self.worked
    }

    /// Position in the output of the next input sample; the output of the filter's delay before it
    /// is yet to come.
    pub fn due(&self) -> f64 {
        self.due + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: f64, hertz: f64, count: usize, shift: f64) -> Vec<f32> {
        let phase = |i: usize| std::f64::consts::TAU * hertz * (i as f64 + shift) / rate;
        (0..count).map(|i| phase(i).sin() as f32 * 0.5).collect()
    }

    fn power(samples: &[f32]) -> f64 {
        samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64
    }

    fn whole(input: &[f32], from: u32, to: u32) -> Vec<f32> {
        let mut out = Vec::new();
        let mut resampler = AdjustableResampler::new(SampleRate(from), SampleRate(to)).unwrap();
        input.chunks(333).for_each(|piece| resampler.push(piece, &mut out));
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_stays_the_same_tone_at_the_same_time() {
        let pairs = [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (192_000, 16_000), (16_000, 16_000)];
        for (from, to) in pairs.into_iter().chain([(22_050, 48_000), (22_050, 44_100), (48_000, 8_000)]) {
            let out = whole(&tone(f64::from(from), 440.0, from as usize, 0.0), from, to);
            assert_eq!(out.len(), to as usize, "{from} to {to}");
            let offset = AdjustableResampler::new(SampleRate(from), SampleRate(to)).unwrap().offset;
            let wanted = tone(f64::from(to), 440.0, to as usize, -offset);
            let middle = to as usize / 10..to as usize * 9 / 10;
            let error: Vec<f32> = middle.clone().map(|i| out[i] - wanted[i]).collect();
            let decibels = 10.0 * (power(&wanted[middle]) / power(&error).max(1e-30)).log10();
            assert!(decibels > 75.0, "{from} to {to}: {decibels:.1} dB");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_filtered_out() {
        for (from, hertz) in [(48_000, 9_600.0), (48_000, 12_000.0), (48_000, 20_000.0), (192_000, 40_000.0)] {
            let loud = tone(f64::from(from), hertz, from as usize, 0.0);
            let out = whole(&loud, from, 16_000);
            let decibels = 10.0 * (power(&loud) / power(&out[1_600..14_400])).log10();
            assert!(decibels > 70.0, "{from}, {hertz}: {decibels:.1} dB");
        }
    }

    #[test]
    fn a_corrected_ratio_makes_so_many_more_samples() {
        for ppm in [-1_000.0, -100.0, 0.0, 250.0, 1_000.0] {
            let mut resampler = AdjustableResampler::new(SampleRate(48_000), SampleRate(16_000)).unwrap();
            resampler.steer(1.0 + ppm * 1e-6);
            let mut out = Vec::new();
            resampler.push(&vec![0.1; 4_800_000], &mut out);
            assert_eq!(resampler.worked(), 4_800_000);
            let wanted = 1_600_000.0 * (1.0 + ppm * 1e-6);
            assert!((resampler.due() - wanted).abs() < 4.0, "{ppm}: {}", resampler.due());
            assert!((out.len() as f64 - resampler.due()).abs() < 200.0);
            resampler.finish(&mut out);
            assert!((out.len() as f64 - wanted).abs() < 4.0, "{ppm}: {}", out.len());
        }
    }
}
