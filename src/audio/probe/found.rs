//! What a sound check has found.

use super::super::device::{DeviceError, Direction, StreamFormat};
use crate::types::Ms;

/// Delays that are further apart are not one delay: the canceller has to find it anew whenever it
/// jumps.
pub const STEADY: Ms = Ms(5.0);
/// A sample from here on was cut off by the converter.
pub(super) const FULL: f32 = 0.999;

/// Why something could not be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unmeasured {
    #[error("{0}")]
    Refused(#[from] DeviceError),
    #[error("the {0} did not open in time; is its sound server at work?")]
    NotOpen(Direction),
    #[error("the {direction} \"{device}\" was lost in the middle; try again")]
    Lost { direction: Direction, device: String },
    #[error("the microphone brought no whole sound; try again, or choose another with --microphone")]
    Deaf,
    #[error("the speaker is open but takes no sound; choose another with --speaker")]
    TakesNoSound,
}

/// An open device.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    pub device: String,
    pub format: StreamFormat,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    pub microphone: Result<Opened, Unmeasured>,
    pub speaker: Result<Opened, Unmeasured>,
    /// Of the room, in dB of full scale: the median over 10 ms frames of a second. Minus infinity
    /// where the microphone brought nothing but zeros meanwhile: it is mute, or a virtual one
    /// ([`Findings::chirps_heard`]).
    pub noise: Result<f32, Unmeasured>,
    pub echo: Result<EchoMeasurement, Unmeasured>,
    pub loss: Result<EchoLossMeasurement, Unmeasured>,
    /// Samples of the microphone that were at full scale.
    pub clipped: usize,
    pub interruptions: Interruptions,
}

impl Findings {
    /// Whether the microphone heard anything of what was played. One that did is not mute, even
    /// where there are zeros between two sounds, as virtual devices give them.
    pub fn chirps_heard(&self) -> bool {
        matches!(self.echo, Ok(EchoMeasurement::Heard { .. }))
    }
}

/// What of the chirps came back.
#[derive(Clone, Debug, PartialEq)]
pub enum EchoMeasurement {
    /// None of them was heard: headphones, or a speaker that is turned off.
    Silent,
    Heard {
        /// How many of the three.
        chirps: usize,
        /// From giving a sample to the speaker to its being at the microphone: the median.
        delay: Ms,
        /// Between the shortest and the longest.
        spread: Ms,
        /// That part of the delay of which the speaker itself knows; none if it did not say.
        told: Option<Ms>,
        /// Of the echo over what was played, in dB: the median.
        level: f32,
    },
}

impl EchoMeasurement {
    /// From delays and gains.
    pub(super) fn of(arrivals: Vec<(Ms, f32)>, told: Option<Ms>) -> EchoMeasurement {
        let (mut delays, mut gains): (Vec<f64>, Vec<f32>) =
            arrivals.iter().map(|(delay, gain)| (delay.0, *gain)).unzip();
        delays.sort_unstable_by(f64::total_cmp);
        gains.sort_unstable_by(f32::total_cmp);
        let [Some(first), Some(last)] = [delays.first(), delays.last()] else { return EchoMeasurement::Silent };
        let middle = delays.len() / 2;
        EchoMeasurement::Heard {
            chirps: delays.len(),
            delay: Ms(delays[middle]),
            spread: Ms(last - first),
            told,
            level: 20.0 * gains[middle].log10(),
        }
    }

    /// Whether all chirps agree.
    pub fn is_steady(&self) -> bool {
        match self {
            EchoMeasurement::Silent => true,
            EchoMeasurement::Heard { chirps, spread, .. } => *chirps == super::CHIRPS && spread.0 <= STEADY.0,
        }
    }
}

/// What the canceller makes of the echo of speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EchoLossMeasurement {
    /// In dB; infinite where no echo stands out of the room's noise.
    pub enhancement: f32,
    /// Whether a voice can be heard while Sotto speaks.
    pub full_duplex: bool,
}

/// What went wrong at the devices meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Frames of the microphone that were not read in time.
    pub overruns: u64,
    /// Samples at 16 kHz that the microphone did not bring.
    pub missing: u64,
    /// How often the speaker ran dry.
    pub underruns: u64,
    /// What the devices reported themselves.
    pub xruns: u64,
}

impl Interruptions {
    pub fn any(&self) -> bool {
        *self != Interruptions::default()
    }
}
