//! A WAV file becomes a stretch of mono sound.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::riff::{Encoding, Header, Trouble, read_header};
use super::{AudioError, Resampler};
use crate::types::{Ms, SampleRate};

/// The longest sound that Sotto takes from a file: half an hour.
pub const LONGEST: Ms = Ms(30.0 * 60.0 * 1000.0);
/// The most samples that are held at once: half an hour at 48 kHz, 330 MiB.
const MAX_SAMPLES: usize = 30 * 60 * 48_000;
/// Frames that are decoded at a time.
const BLOCK: usize = 4096;

/// A sound read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub rate: SampleRate,
    /// All channels mixed to one, in -1.0..=1.0, and always numbers.
    pub samples: Vec<f32>,
    /// What the user should know: that the file ends before its header says so.
    pub note: Option<String>,
}

/// Reads a whole WAV file at `rate`: 8 to 32 bit integers, 32 or 64 bit floats, 4 to 384 kHz, up to 32 channels. It is
/// resampled on the way, so that the original is never held as a whole. A file that ends early gives what is there, and
/// a note.
///
/// Errors when it is longer than `limit`, is no WAV file, or holds no sample.
pub fn load_at(path: &Path, limit: Ms, rate: SampleRate) -> Result<Clip, AudioError> {
    let mut source = Source::open(path, limit)?;
    let mut resampler = Resampler::new(SampleRate(source.header.rate), rate)?;
    let mut samples = Vec::new();
    while source.read_block()? {
        resampler.push(&source.mono, &mut samples);
        if samples.len() > MAX_SAMPLES {
            return Err(source.too_long(rate.duration(MAX_SAMPLES)));
        }
    }
    resampler.finish(&mut samples);
    source.finish(rate, samples)
}

/// A file whose header is read, giving its sound block by block.
struct Source<'a> {
    path: &'a Path,
    file: std::io::Take<BufReader<File>>,
    header: Header,
    limit: Ms,
    frames: usize,
    bytes: Vec<u8>,
    /// The last block, mixed.
    mono: Vec<f32>,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path, limit: Ms) -> Result<Self, AudioError> {
        let io = |source| AudioError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if about.is_dir() {
            return Err(AudioError::Directory { path: path.to_owned() });
        }
        if about.is_file() && about.len() == 0 {
            return Err(AudioError::Empty { path: path.to_owned() });
        }
        let mut file = BufReader::new(file);
        let header = read_header(&mut file).map_err(|trouble| explain(trouble, path))?;
        let file = file.take(header.data.unwrap_or(u64::MAX));
        let bytes = vec![0; BLOCK * usize::from(header.channels) * header.encoding.bytes()];
        Ok(Source { path, file, header, limit, frames: 0, bytes, mono: Vec::with_capacity(BLOCK) })
    }

    /// Decodes the next block into `mono`; false at the end. What is left of half a frame is dropped.
    fn read_block(&mut self) -> Result<bool, AudioError> {
        let filled = fill(&mut self.file, &mut self.bytes)
            .map_err(|source| AudioError::Read { path: self.path.to_owned(), source })?;
        let frame = usize::from(self.header.channels) * self.header.encoding.bytes();
        let whole = filled / frame * frame;
        mix(self.header, &self.bytes[..whole], &mut self.mono);
        self.frames += self.mono.len();
        if self.length().0 > self.limit.0 {
            return Err(self.too_long(self.limit));
        }
        Ok(!self.mono.is_empty())
    }

    fn length(&self) -> Ms {
        SampleRate(self.header.rate).duration(self.frames)
    }

    fn too_long(&self, limit: Ms) -> AudioError {
        AudioError::TooLong { path: self.path.to_owned(), limit }
    }

    fn finish(&self, rate: SampleRate, samples: Vec<f32>) -> Result<Clip, AudioError> {
        if samples.is_empty() {
            return Err(AudioError::NoSound { path: self.path.to_owned() });
        }
        Ok(Clip { rate, samples, note: self.note() })
    }

    fn note(&self) -> Option<String> {
        let missing = self.file.limit();
        if self.header.data.is_none() || missing == 0 {
            return None;
        }
        let (path, seconds) = (self.path.display(), self.length().0 / 1000.0);
        Some(format!("{path} ends {missing} bytes before its header says; its {seconds:.1} s are used"))
    }
}

fn explain(trouble: Trouble, path: &Path) -> AudioError {
    let path = path.to_owned();
    match trouble {
        Trouble::Io(source) => AudioError::Read { path, source },
        Trouble::NotWav(looks) => AudioError::NotWav { path, looks },
        Trouble::Broken(why) => AudioError::Header { path, why },
        Trouble::Unsupported(what) => AudioError::Unsupported { path, what },
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The mean over the channels of each frame.
fn mix(header: Header, bytes: &[u8], mono: &mut Vec<f32>) {
    let size = header.encoding.bytes();
    let share = 1.0 / f32::from(header.channels);
    let frames = bytes.chunks_exact(size * usize::from(header.channels));
    mono.clear();
    mono.extend(frames.map(|frame| share * frame.chunks_exact(size).map(|b| decode(header.encoding, b)).sum::<f32>()));
}

/// One sample in -1.0..=1.0. What is not a number is silence, what is out of range is clipped.
fn decode(encoding: Encoding, bytes: &[u8]) -> f32 {
    let sample = match (encoding, bytes) {
        (Encoding::U8, &[a]) => (f32::from(a) - 128.0) / 128.0,
        (Encoding::I16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
        (Encoding::I24, &[a, b, c]) => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
        (Encoding::I32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
        (Encoding::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (Encoding::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => unreachable!("bytes come in pieces of the encoding's size"),
    };
    if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }
}

#[cfg(test)]
mod tests;
