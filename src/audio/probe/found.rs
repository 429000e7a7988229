//! Results of a sound check.

use super::super::device::{DeviceError, Direction, StreamFormat};
use crate::types::Ms;

/// Largest spread of a steady delay: beyond it the canceller has to find the delay anew whenever it
/// jumps.
pub const STEADY: Ms = Ms(5.0);
/// Level from which a sample counts as clipped by the converter.
pub(super) const FULL: f32 = 0.999;

/// Reason why something could not be measured.
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
    /// Noise of the room in dBFS: the median over 10 ms frames of a second. Minus infinity where
    /// the microphone delivered nothing but zeros: it is mute, or a virtual one
    /// ([`Findings::chirps_heard`]).
    pub noise: Result<f32, Unmeasured>,
    pub echo: Result<EchoMeasurement, Unmeasured>,
    pub loss: Result<EchoLossMeasurement, Unmeasured>,
    /// Number of the microphone's samples at full scale.
    pub clipped: usize,
    pub interruptions: Interruptions,
}

impl Findings {
    /// Whether any of the played sound reached the microphone. Then it is not mute, even where
    /// there are zeros between two sounds, as virtual devices deliver them.
    pub fn chirps_heard(&self) -> bool {
        matches!(self.echo, Ok(EchoMeasurement::Heard { .. }))
    }
}

/// Measurement of the chirps' echo.
#[derive(Clone, Debug, PartialEq)]
pub enum EchoMeasurement {
    /// No chirp was found: headphones, or a loudspeaker that is turned off.
    Silent,
    Heard {
        /// Number of chirps found, of three.
        chirps: usize,
        /// Median time from giving a sample to the loudspeaker to its arrival at the microphone.
        delay: Ms,
        /// Difference between the longest and the shortest delay.
        spread: Ms,
        /// Part of the delay that the loudspeaker reports itself; `None` if it reports nothing.
        told: Option<Ms>,
        /// Median level of the echo relative to the played sound, in dB.
        level: f32,
    },
}

impl EchoMeasurement {
    /// Makes the measurement from delays and gains.
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

    /// Whether the delays of all chirps agree.
    pub fn is_steady(&self) -> bool {
        match self {
            EchoMeasurement::Silent => true,
            EchoMeasurement::Heard { chirps, spread, .. } => *chirps == super::CHIRPS && spread.0 <= STEADY.0,
        }
    }
}

/// Measurement of the canceller with an echo of speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EchoLossMeasurement {
    /// ERLE in dB; infinite where no echo stands out of the room's noise.
    pub enhancement: f32,
    /// Whether a voice can be detected while Sotto speaks.
    pub full_duplex: bool,
}

/// Interruptions at the devices during the check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Frames of the microphone that were not read in time.
    pub overruns: u64,
    /// Samples at 16 kHz that the microphone did not deliver.
    pub missing: u64,
    /// Number of times that the loudspeaker ran dry.
    pub underruns: u64,
    /// Number of interruptions that the devices reported.
    pub xruns: u64,
}

impl Interruptions {
    pub fn any(&self) -> bool {
        *self != Interruptions::default()
    }
}
