//! Units shared by all modules. A number with a unit is a type; a bare number is a count.

pub mod exact;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Samples per second of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleRate(pub u32);

impl SampleRate {
    /// Sample rate of the transcriber and the voice activity detector.
    pub const HEARING: SampleRate = SampleRate(16_000);

    /// Duration of `samples` samples of one channel.
    pub fn duration(self, samples: usize) -> Ms {
        Ms(samples as f64 * 1000.0 / f64::from(self.0))
    }

    /// Number of whole samples of one channel in `span`.
    pub fn samples(self, span: Ms) -> usize {
        (span.0 * f64::from(self.0) / 1000.0) as usize
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(#[serde(with = "exact")] pub f64);

impl From<std::time::Duration> for Ms {
    fn from(span: std::time::Duration) -> Self {
        Ms(span.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ms", self.0)
    }
}

/// Number of a turn of the conversation. Messages with an older number than the current turn are
/// stale and are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(pub u64);

/// Number of a session: one conversation of one talker. No two of a process have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Stretch of mono sound, samples in -1.0..=1.0, and the part of an answer that it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub turn: TurnId,
    pub rate: SampleRate,
    pub samples: Vec<f32>,
    /// Positions at which words begin.
    pub words: Vec<WordMark>,
}

/// Beginning of a word at sample `at`, preceded in the answer by `word` others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordMark {
    pub at: usize,
    pub word: usize,
}

/// Size in memory or on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const MIB: u64 = 1 << 20;

    pub const fn mib(n: u64) -> Bytes {
        Bytes(n * Self::MIB)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b >= 10 * Self::MIB => write!(f, "{} MiB", b.div_ceil(Self::MIB)),
            b if b >= Self::MIB => write!(f, "{:.1} MiB", b as f64 / Self::MIB as f64),
            b if b >= 1024 => write!(f, "{} KiB", b.div_ceil(1024)),
            b => write!(f, "{b} bytes"),
        }
    }
}

/// Reason why a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0:?} is not a size: write a whole number and a unit, as in \"1500MiB\" or \"2GiB\"")]
pub struct NotASize(String);

impl std::str::FromStr for Bytes {
    type Err = NotASize;

    /// Reads `1500MiB`, `2 GiB`, `800MB`, `4096B`; the unit may be left out only for 0. Units: B,
    /// KB, KiB, MB, MiB, GB, GiB; case does not matter.
    fn from_str(text: &str) -> Result<Self, NotASize> {
        let refuse = || NotASize(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "b" => 1,
            "" if number == 0 => 1,
            "kb" => 1000,
            "kib" => 1 << 10,
            "mb" => 1_000_000,
            "mib" => 1 << 20,
            "gb" => 1_000_000_000,
            "gib" => 1 << 30,
            _ => return Err(refuse()),
        };
        number.checked_mul(unit).map(Bytes).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("0", 0), ("4096 B", 4096), ("1500MiB", 1500 << 20), ("2 gib", 2 << 30), (" 800MB ", 800_000_000)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "1600", "MiB", "-1", "1.5GiB", "3 TB", "99999999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_converts_both_ways() {
        assert_eq!(SampleRate(22_050).duration(22_050), Ms(1000.0));
        assert_eq!(SampleRate::HEARING.samples(Ms(32.0)), 512);
    }
}
