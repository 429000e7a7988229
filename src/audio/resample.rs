//! Resampling at a fixed ratio, by `rubato`'s Fourier resampler: linear phase, with its delay
//! removed.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

use super::AudioError;
use super::riff::RATES;
use crate::types::SampleRate;

/// Input frames per transform: the filter's transition band is about 4 % of half the lower rate.
const BLOCK: usize = 1024;

/// Resampler of a sound that comes in pieces. The output is aligned with the input: its sample `n`
/// is the input at `n · from / to`. After [`Resampler::finish`] the output has the length of the
/// input, rounded to a sample.
pub struct Resampler {
    from: SampleRate,
    to: SampleRate,
    /// The resampler; `None` when both rates are equal.
    engine: Option<Engine>,
    taken: u64,
    given: u64,
}

struct Engine {
    fft: Fft<f32>,
    /// Input that does not fill a block yet.
    waiting: Vec<f32>,
    block: Vec<f32>,
    /// Number of output samples of the filter's delay yet to be dropped.
    delay: usize,
}

/// Resamples a whole sound at once.
pub fn resample(samples: &[f32], from: SampleRate, to: SampleRate) -> Result<Vec<f32>, AudioError> {
    let mut resampler = Resampler::new(from, to)?;
    let mut out = Vec::with_capacity(samples.len() * to.0 as usize / from.0 as usize + BLOCK);
    resampler.push(samples, &mut out);
    resampler.finish(&mut out);
    Ok(out)
}

impl Resampler {
    /// Makes a resampler. Errors unless both rates are 4 to 384 kHz.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self, AudioError> {
        let refuse = || AudioError::rates(from, to);
        if !RATES.contains(&from.0) || !RATES.contains(&to.0) {
            return Err(refuse());
        }
        let engine = if from == to { None } else { Some(Engine::new(from, to).ok_or_else(refuse)?) };
        Ok(Resampler { from, to, engine, taken: 0, given: 0 })
    }

    /// Takes in `samples` and appends the finished output to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        let before = out.len();
        match &mut self.engine {
            None => out.extend_from_slice(samples),
            Some(engine) => engine.push(samples, out),
        }
        self.given += (out.len() - before) as u64;
    }

    /// Appends the rest. The resampler is then ready for another sound.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let (from, to) = (u128::from(self.from.0), u128::from(self.to.0));
        let due = (u128::from(self.taken) * to + from / 2) / from;
        // The delay of the filter keeps the output shorter than it has to be.
        let missing = due.saturating_sub(u128::from(self.given)) as usize;
        let start = out.len();
        if let Some(engine) = &mut self.engine {
            while out.len() - start < missing {
                engine.push(&[0.0; BLOCK], out);
            }
            engine.reset();
        }
        out.truncate(start + missing);
        (self.taken, self.given) = (0, 0);
    }
}

impl Engine {
    fn new(from: SampleRate, to: SampleRate) -> Option<Self> {
        let (from, to) = (from.0 as usize, to.0 as usize);
        // An even number of periods makes both transforms even, and so the filter's delay a whole
        // number of samples.
        let period = from / gcd(from, to);
        let block = BLOCK.div_ceil(period).next_multiple_of(2) * period;
        let fft = Fft::new_custom(from, to, block, 1, 1, WindowFunction::BlackmanHarris2, FixedSync::Both).ok()?;
        let block = vec![0.0; fft.output_frames_max()];
        let delay = fft.output_delay();
        Some(Engine { fft, waiting: Vec::new(), block, delay })
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.waiting.extend_from_slice(samples);
        let mut used = 0;
        while self.waiting.len() - used >= self.fft.input_frames_next() {
            used += self.turn(used, out);
        }
        self.waiting.drain(..used);
    }

    /// Resamples one block, from `at` in the waiting input; returns the number of samples used.
    fn turn(&mut self, at: usize, out: &mut Vec<f32>) -> usize {
        let wanted = self.fft.input_frames_next();
        let input = SequentialSlice::new(&self.waiting[at..at + wanted], 1, wanted).expect("one channel");
        let room = self.block.len();
        let mut output = SequentialSlice::new_mut(&mut self.block, 1, room).expect("one channel");
        let indexing: Option<&Indexing> = None;
        let (used, made) =
            self.fft.process_into_buffer(&input, &mut output, indexing).expect("buffers of its own sizes");
        let late = self.delay.min(made);
        self.delay -= late;
        out.extend_from_slice(&self.block[late..made]);
        used
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.waiting.clear();
        self.delay = self.fft.output_delay();
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|i| (std::f64::consts::TAU * hertz * i as f64 / f64::from(rate)).sin() as f32 * 0.5).collect()
    }

    fn power(samples: &[f32]) -> f64 {
        samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn a_tone_stays_the_same_tone_at_the_same_time() {
        for from in [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 44_101, 16_000] {
            let out = resample(&tone(from, 1000.0, 1.0), SampleRate(from), SampleRate::HEARING).unwrap();
            assert_eq!(out.len(), 16_000, "{from}");
            let wanted = tone(16_000, 1000.0, 1.0);
            let middle = 1_600..14_400;
            let error: Vec<f32> = middle.clone().map(|i| out[i] - wanted[i]).collect();
            let decibels = 10.0 * (power(&wanted[middle]) / power(&error).max(1e-30)).log10();
            assert!(decibels > 80.0, "{from}: {decibels:.1} dB");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_filtered_out() {
        for hertz in [8_600.0, 12_000.0, 20_000.0] {
            let loud = tone(48_000, hertz, 1.0);
            let out = resample(&loud, SampleRate(48_000), SampleRate::HEARING).unwrap();
            let decibels = 10.0 * (power(&loud) / power(&out[1_600..14_400])).log10();
            assert!(decibels > 70.0, "{hertz}: {decibels:.1} dB");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives_and_the_length_is_exact() {
        let sound = tone(44_100, 440.0, 0.7);
        let whole = resample(&sound, SampleRate(44_100), SampleRate::HEARING).unwrap();
        for piece in [1, 7, 1_000, 44_100] {
            let mut resampler = Resampler::new(SampleRate(44_100), SampleRate::HEARING).unwrap();
            // Twice: after finishing the resampler is like new.
            for _ in 0..2 {
                let mut out = Vec::new();
                sound.chunks(piece).for_each(|chunk| resampler.push(chunk, &mut out));
                resampler.finish(&mut out);
                assert_eq!(out, whole, "{piece}");
            }
        }
        for (count, due) in [(0, 0), (1, 0), (2, 1), (3, 1), (441, 160), (442, 160), (44_100, 16_000)] {
            let out = resample(&vec![0.1; count], SampleRate(44_100), SampleRate::HEARING).unwrap();
            assert_eq!(out.len(), due, "{count}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        for (from, to) in [(0, 16_000), (16_000, 0), (3_999, 16_000), (16_000, 400_000)] {
            assert!(resample(&[0.0], SampleRate(from), SampleRate(to)).is_err());
        }
    }
}
