//! Simulated rooms with a speaker and a microphone. Shared by the tests of the
//! front end and by the example that measures it.

use std::f32::consts::{PI, TAU};

pub const RATE: usize = 16_000;

/// Level of a talker at the microphone, in dB of full scale while active.
pub const TALKER_DB: f32 = -26.0;

/// Numbers in -1.0..1.0, the same for the same seed (Knuth's linear congruential generator).
pub struct Noise(pub u64);

impl Noise {
    pub fn sample(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// White noise with a power of `db`.
    pub fn white(&mut self, samples: usize, db: f32) -> Vec<f32> {
        // Uniform numbers in -1..1 have a power of a third.
        let gain = 3f32.sqrt() * 10f32.powf(db / 20.0);
        (0..samples).map(|_| gain * self.sample()).collect()
    }
}

/// Where the speaker stands, what it does to the sound, and what the room adds.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedRoom {
    /// Until the echo has died by 60 dB.
    pub tail_ms: usize,
    /// From the speaker's sample to the microphone's.
    pub delay_ms: i32,
    /// Added to the delay in the middle of the sound.
    pub jump_ms: i32,
    /// Level of the echo beside [`TALKER_DB`].
    pub echo_db: f32,
    /// How much faster the speaker's clock runs than the microphone's, in parts per million.
    pub drift_ppm: f64,
    /// How far the speaker is driven: 0 is linear, from 1 on loud syllables are squeezed (tanh).
    pub drive: f32,
    /// Noise of room and microphone.
    pub floor_db: f32,
}

impl Default for SimulatedRoom {
    fn default() -> Self {
        SimulatedRoom {
            tail_ms: 120,
            delay_ms: 80,
            jump_ms: 0,
            echo_db: -10.0,
            drift_ppm: 0.0,
            drive: 1.0,
            floor_db: -70.0,
        }
    }
}

impl SimulatedRoom {
    /// What the microphone hears of `played`, noise included.
    pub fn echo(&self, played: &[f32]) -> Vec<f32> {
        let squeeze = |x: &f32| if self.drive > 0.0 { (2.0 * self.drive * x).tanh() / (2.0 * self.drive) } else { *x };
        let spoken: Vec<f32> = played.iter().map(squeeze).collect();
        let mut wet = convolve(&spoken, &response(self.tail_ms));
        scale(&mut wet, TALKER_DB + self.echo_db);
        let floor = Noise(3).white(played.len(), self.floor_db);
        let heard = |n: usize| {
            let jump = if n > played.len() / 2 { self.jump_ms } else { 0 };
            let delay = f64::from(self.delay_ms + jump) * RATE as f64 / 1000.0;
            at(&wet, n as f64 * (1.0 + self.drift_ppm * 1e-6) - delay) + floor[n]
        };
        (0..played.len()).map(heard).collect()
    }
}

/// A direct path and a tail of exponentially dying noise, with a power of one.
fn response(tail_ms: usize) -> Vec<f32> {
    let (length, mut noise) = (tail_ms * RATE / 1000, Noise(7));
    let mut taps: Vec<f32> =
        (0..length).map(|n| 0.35 * noise.sample() * (-6.9 * n as f32 / length as f32).exp()).collect();
    taps[0] = 1.0;
    let norm = taps.iter().map(|tap| tap * tap).sum::<f32>().sqrt();
    taps.iter_mut().for_each(|tap| *tap /= norm);
    taps
}

fn convolve(sound: &[f32], taps: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; sound.len()];
    for (delay, tap) in taps.iter().enumerate() {
        for (out, sample) in out[delay.min(sound.len())..].iter_mut().zip(sound) {
            *out += tap * sample;
        }
    }
    out
}

/// The sound between its samples, by 16 samples of a windowed sinc.
fn at(sound: &[f32], position: f64) -> f32 {
    let (whole, part) = (position.floor() as i64, position.fract() as f32);
    let sample = |n: i64| usize::try_from(n).ok().and_then(|n| sound.get(n)).copied().unwrap_or(0.0);
    if part.abs() < 1e-6 || position < 0.0 {
        return sample(whole);
    }
    let sentence_end_probability = |k: i64| {
        let x = k as f32 - part;
        sample(whole + k) * (0.5 + 0.5 * (TAU * x / 17.0).cos()) * (PI * x).sin() / (PI * x)
    };
    (-7..=8).map(sentence_end_probability).sum()
}

pub fn power(sound: &[f32]) -> f64 {
    sound.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / sound.len().max(1) as f64
}

pub fn decibel(power: f64) -> f64 {
    10.0 * power.max(1e-12).log10()
}

/// The mean power of the 20 ms frames within 30 dB of the loudest: what is left without the pauses.
pub fn active_power(sound: &[f32]) -> f64 {
    let frames: Vec<f64> = sound.chunks(RATE / 50).map(power).collect();
    let loudest = frames.iter().copied().fold(0.0, f64::max);
    let active: Vec<f64> = frames.into_iter().filter(|power| *power > loudest * 1e-3).collect();
    active.iter().sum::<f64>() / active.len().max(1) as f64
}

/// Brings the active level to `db` of full scale.
pub fn scale(sound: &mut [f32], db: f32) {
    let gain = (10f64.powf(f64::from(db) / 10.0) / active_power(sound).max(1e-20)).sqrt() as f32;
    sound.iter_mut().for_each(|x| *x *= gain);
}

/// How much of `wanted` is in `got`: their correlation, and the gain with which it is there.
pub fn kept(got: &[f32], wanted: &[f32]) -> (f64, f64) {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    let (both, own) = (product(got, wanted), product(wanted, wanted).max(1e-12));
    (both / (own * product(got, got).max(1e-12)).sqrt(), both / own)
}
