//! The header of a WAV file: chunks up to the one that holds the sound.
//!
//! Read here and not by `hound`, because files of good programs are among those it refuses: chunks of odd length, 32-bit
//! integers, sizes of 0 or 0xFFFFFFFF from programs that write to a pipe, and recordings that were cut off.

use std::io::{self, Read};
use std::ops::RangeInclusive;

/// Samples per second that are accepted.
pub const RATES: RangeInclusive<u32> = 4_000..=384_000;
pub const MAX_CHANNELS: u16 = 32;
/// Chunks before the sound, and bytes in them, before we give up looking for it. Cover art sits in such chunks.
const MAX_CHUNKS: usize = 1_000;
const MAX_SKIPPED: u64 = 64 << 20;

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xFFFE;

/// How one sample of one channel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Unsigned, 128 is silence.
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Encoding {
    pub fn bytes(self) -> usize {
        match self {
            Encoding::U8 => 1,
            Encoding::I16 => 2,
            Encoding::I24 => 3,
            Encoding::I32 | Encoding::F32 => 4,
            Encoding::F64 => 8,
        }
    }
}

/// What stands before the sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    pub rate: u32,
    pub channels: u16,
    pub encoding: Encoding,
    /// Bytes of sound; `None` when the writer did not know them, and the sound goes on to the end of the file.
    pub data: Option<u64>,
}

#[derive(Debug)]
pub enum Trouble {
    Io(io::Error),
    NotWav(&'static str),
    Broken(String),
    Unsupported(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Trouble::Broken("the file ends inside it".to_owned()),
            _ => Trouble::Io(error),
        }
    }
}

/// Reads up to the first byte of sound.
pub fn read_header(file: &mut impl Read) -> Result<Header, Trouble> {
    read_magic(file)?;
    let mut format = None;
    let mut skipped = 0;
    for _ in 0..MAX_CHUNKS {
        let (kind, size) = read_chunk_header(file)?;
        match &kind {
            b"fmt " => format = Some(read_format(file, size)?),
            b"data" => {
                let (rate, channels, encoding) = format.ok_or(broken("the sound comes before its format"))?;
                // Programs that write to a pipe cannot go back to fill in the size.
                let data = (size != 0 && size != u32::MAX).then_some(u64::from(size));
                return Ok(Header { rate, channels, encoding, data });
            }
            _ => {
                skipped += skip(file, u64::from(size) + u64::from(size % 2))?;
                if skipped > MAX_SKIPPED {
                    return Err(broken("no sound in its first 64 MiB"));
                }
            }
        }
    }
    Err(broken("too many chunks before the sound"))
}

fn read_magic(file: &mut impl Read) -> Result<(), Trouble> {
    let mut start = Vec::with_capacity(12);
    file.take(12).read_to_end(&mut start)?;
    let riff = start.starts_with(b"RIFF") || start.starts_with(b"RF64");
    match start.get(8..12) {
        Some(b"WAVE") if riff => Ok(()),
        None if riff => Err(broken("the file ends inside it")),
        _ => Err(Trouble::NotWav(guess(&start))),
    }
}

/// What a file that is no WAV seems to be, by its first bytes.
fn guess(start: &[u8]) -> &'static str {
    match start {
        [b'I', b'D', b'3', ..] | [0xFF, 0xE2..=0xE7 | 0xEA..=0xEF | 0xF2..=0xF7 | 0xFA..=0xFF, ..] => "MP3",
        [b'f', b'L', b'a', b'C', ..] => "FLAC",
        [b'O', b'g', b'g', b'S', ..] => "Ogg (Vorbis or Opus)",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4 or M4A",
        [0xFF, 0xF1 | 0xF9, ..] => "AAC",
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "WebM or Matroska",
        [b'R', b'I', b'F', b'X', ..] => "a big-endian WAV (RIFX)",
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file of another kind",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR",
        _ if start.iter().all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => "text",
        _ => "something that is no sound",
    }
}

fn read_chunk_header(file: &mut impl Read) -> Result<([u8; 4], u32), Trouble> {
    let (mut kind, mut size) = ([0; 4], [0; 4]);
    match file.read_exact(&mut kind).and_then(|()| file.read_exact(&mut size)) {
        Ok(()) => Ok((kind, u32::from_le_bytes(size))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(broken("it has no chunk of sound")),
        Err(error) => Err(error.into()),
    }
}

/// WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE. Bits that are fewer than their container fill it from the top, so
/// only the container matters.
fn read_format(file: &mut impl Read, size: u32) -> Result<(u32, u16, Encoding), Trouble> {
    let mut fields = [0; 40];
    let present = (size as usize).min(fields.len());
    if present < 16 {
        return Err(broken(&format!("its format has {size} bytes, 16 at least are needed")));
    }
    file.read_exact(&mut fields[..present])?;
    skip(file, u64::from(size) - present as u64 + u64::from(size % 2))?;
    let short = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let (channels, frame) = (short(2), short(12));
    let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    let tag = match short(0) {
        TAG_EXTENSIBLE if present == 40 => short(24),
        TAG_EXTENSIBLE => return Err(broken("its extended format is cut short")),
        tag => tag,
    };
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(broken(&format!("{channels} channels, accepted are 1 to {MAX_CHANNELS}")));
    }
    if !RATES.contains(&rate) {
        let (low, high) = (RATES.start(), RATES.end());
        return Err(broken(&format!("{rate} samples per second, accepted are {low} to {high}")));
    }
    if !frame.is_multiple_of(channels) {
        return Err(broken(&format!("frames of {frame} bytes do not divide among {channels} channels")));
    }
    Ok((rate, channels, encoding(tag, frame / channels, short(14))?))
}

fn encoding(tag: u16, container: u16, bits: u16) -> Result<Encoding, Trouble> {
    if matches!(tag, TAG_PCM | TAG_FLOAT) && (bits == 0 || bits > container.saturating_mul(8)) {
        return Err(broken(&format!("{bits} bits do not fit in a sample of {container} bytes")));
    }
    match (tag, container) {
        (TAG_PCM, 1) => Ok(Encoding::U8),
        (TAG_PCM, 2) => Ok(Encoding::I16),
        (TAG_PCM, 3) => Ok(Encoding::I24),
        (TAG_PCM, 4) => Ok(Encoding::I32),
        (TAG_FLOAT, 4) => Ok(Encoding::F32),
        (TAG_FLOAT, 8) => Ok(Encoding::F64),
        (6, _) => Err(Trouble::Unsupported("A-law coded sound".to_owned())),
        (7, _) => Err(Trouble::Unsupported("µ-law coded sound".to_owned())),
        (2 | 0x11, _) => Err(Trouble::Unsupported("ADPCM coded sound".to_owned())),
        (0x55, _) => Err(Trouble::Unsupported("MP3 in a WAV wrapper".to_owned())),
        _ => Err(Trouble::Unsupported(format!("samples of {container} bytes with the format tag {tag:#x}"))),
    }
}

/// Reads over `count` bytes and says how many.
fn skip(file: &mut impl Read, count: u64) -> Result<u64, Trouble> {
    Ok(io::copy(&mut file.take(count.min(MAX_SKIPPED + 1)), &mut io::sink())?)
}

fn broken(why: &str) -> Trouble {
    Trouble::Broken(why.to_owned())
}
