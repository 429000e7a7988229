//! First pass over a whole sound: finds the mix of its channels and its full scale.

use super::source::{Shape, SoundInput};
use crate::audio::{AudioError, HighPass};
use crate::level::{self, STEPS_PER_SECOND};
use crate::types::{Ms, SampleRate};

/// Frames between two comparisons of the channels. With 32 channels a comparison takes 1,024
/// products.
const COMPARED: usize = 8;
/// Full scales that writers of floats use: that of floats, and those of 16, 24 and 32 bit integers
/// that were not divided.
const FULL_SCALES: [f32; 4] = [1.0, 32_768.0, 8_388_608.0, 2_147_483_648.0];
/// Value from which a sample is damage.
const ABSURD: f32 = 4_294_967_296.0;

/// Result of the first pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    pub rate: SampleRate,
    /// Factor of each channel in the mix, divided by the full scale.
    pub weights: Vec<f32>,
    /// Full scale that the samples seem to have, if it is not 1, and the largest sample.
    pub scale: Option<(f32, f32)>,
}

impl Survey {
    /// Decodes all of `input`. Errors when it is longer than `limit`, or holds no sample.
    pub fn new(input: &SoundInput, limit: Ms) -> Result<Survey, AudioError> {
        let mut source = input.decode()?;
        let Some((shape, block)) = source.next_block()? else { return Err(source.no_sound()) };
        let mut tally = Tally::new(shape);
        let rate = SampleRate(shape.rate);
        tally.take(block);
        while let Some((_, block)) = source.next_block()? {
            tally.take(block);
            if rate.duration(tally.frames).0 > limit.0 {
                return Err(AudioError::TooLong { path: input.path.to_owned(), limit });
            }
        }
        if rate.duration(tally.frames).0 > limit.0 {
            return Err(AudioError::TooLong { path: input.path.to_owned(), limit });
        }
        let scale = tally.scale();
        let full = scale.map_or(1.0, |(full, _)| full);
        let weights = tally.weights().into_iter().map(|weight| weight / full).collect();
        Ok(Survey { rate, weights, scale })
    }
}

/// Replaces a sample that is not a number, or absurdly large, by silence.
pub fn sane(sample: f32) -> f32 {
    if sample.abs() < ABSURD { sample } else { 0.0 }
}

/// Sums over a sound, frame by frame.
struct Tally {
    step: usize,
    frames: usize,
    peak: f32,
    channels: Vec<Channel>,
    /// Sums of the products of every two channels, row by row.
    products: Vec<f64>,
    /// The last frame without offset and hum.
    frame: Vec<f32>,
}

struct Channel {
    filter: HighPass,
    sum: f32,
    /// The power of each step of 20 ms.
    powers: Vec<f32>,
}

impl Tally {
    fn new(shape: Shape) -> Tally {
        let Shape { rate, channels } = shape;
        let channel = |_| Channel { filter: HighPass::new(SampleRate(rate)), sum: 0.0, powers: Vec::new() };
        Tally {
            step: rate as usize / STEPS_PER_SECOND,
            frames: 0,
            peak: 0.0,
            channels: (0..channels).map(channel).collect(),
            products: vec![0.0; channels * channels],
            frame: vec![0.0; channels],
        }
    }

    fn take(&mut self, block: &[f32]) {
        for frame in block.chunks_exact(self.channels.len()) {
            for ((channel, sample), kept) in self.channels.iter_mut().zip(frame).zip(&mut self.frame) {
                let sample = sane(*sample);
                self.peak = self.peak.max(sample.abs());
                *kept = channel.filter.next(sample);
                channel.sum += *kept * *kept;
            }
            if self.frames.is_multiple_of(COMPARED) {
                self.compare();
            }
            self.frames += 1;
            if self.frames.is_multiple_of(self.step) {
                let step = self.step as f32;
                self.channels
                    .iter_mut()
                    .for_each(|channel| channel.powers.push(std::mem::take(&mut channel.sum) / step));
            }
        }
    }

    fn compare(&mut self) {
        for (one, row) in self.frame.iter().zip(self.products.chunks_exact_mut(self.frame.len())) {
            row.iter_mut().zip(&self.frame).for_each(|(sum, other)| *sum += f64::from(one * other));
        }
    }

    /// Full scale of the samples, if their loudest passage is above that of floats, and the largest
    /// sample.
    fn scale(&self) -> Option<(f32, f32)> {
        let loudest = self.channels.iter().map(|channel| level::sustained(&channel.powers).sqrt()).fold(0.0, f32::max);
        let full = FULL_SCALES.into_iter().find(|full| loudest <= *full).unwrap_or(1.0);
        (full > 1.0).then_some((full, self.peak))
    }

    /// Weights of the channels in the mix: the mean of those that may hold a voice, with the
    /// opposite sign where a channel is inverted. A plain mean would cancel a voice that two
    /// channels hold with opposite signs, as from a cable wired wrongly, and bury one channel's
    /// voice under the hiss of seven others. One channel alone would lose a voice in another.
    fn weights(&self) -> Vec<f32> {
        let count = self.channels.len();
        let mut used: Vec<bool> = self.channels.iter().map(|channel| !level::is_steady(&channel.powers)).collect();
        if !used.contains(&true) {
            used.fill(true);
        }
        let power = |channel: &usize| self.products[channel * count + channel];
        let loudest = (0..count).filter(|&channel| used[channel]).max_by(|a, b| power(a).total_cmp(&power(b)));
        let reference = loudest.unwrap_or(0);
        let share = 1.0 / used.iter().filter(|used| **used).count() as f32;
        let weight = |channel: usize| match self.products[reference * count + channel] < 0.0 {
            true => -share,
            false => share,
        };
        (0..count).map(|channel| if used[channel] { weight(channel) } else { 0.0 }).collect()
    }
}
