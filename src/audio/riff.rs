//! Position and encoding of the sound in a WAV file: RIFF, RIFX, RF64 and BW64.
//!
//! Sotto uses it in place of the one of `symphonia`, which reads the other containers. Of 61
//! unusual files with speech, as programs write them, `symphonia` reads 13 wrongly or not at all,
//! and this reader gets 60 right. The files have sizes of 0 from programs that write to a pipe,
//! sizes above the file's, two chunks of sound or of format, an odd chunk without its pad byte, 12
//! bits, or one of the other three magic words.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Range, RangeInclusive};

use symphonia::core::codecs::audio::{AudioCodecId, well_known as codecs};

/// Sample rates that are accepted, in samples per second.
pub const RATES: RangeInclusive<u32> = 4_000..=384_000;
pub const MAX_CHANNELS: u16 = 32;
/// Largest number of chunks examined.
const MAX_CHUNKS: usize = 1_000;
/// Size, 2 GiB less 64 KiB, from which a size is a placeholder: `sox` writes 0x7FFFF000 to a pipe,
/// `arecord` 0x80000000, `ffmpeg` 0xFFFFFFFF.
const UNKNOWN_SIZE: u64 = 0x7FFF_0000;

const TAG_UNKNOWN: u16 = 0;
const TAG_PCM: u16 = 1;
const TAG_ADPCM: u16 = 2;
const TAG_FLOAT: u16 = 3;
const TAG_A_LAW: u16 = 6;
const TAG_MU_LAW: u16 = 7;
const TAG_IMA_ADPCM: u16 = 0x11;
const TAG_EXTENSIBLE: u16 = 0xFFFE;

/// Codecs that a WAV file can hold and that are not decoded.
const OTHER_TAGS: [(u16, &str); 11] = [
    (0x22, "TrueSpeech"),
    (0x31, "GSM 6.10"),
    (0x42, "G.723.1"),
    (0x45, "G.726"),
    (0x50, "MP2"),
    (0x55, "MP3"),
    (0x64, "G.726"),
    (0xFF, "AAC"),
    (0x161, "WMA"),
    (0x2000, "AC-3"),
    (0x704F, "Opus"),
];

/// Encoding of the sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WavFormat {
    pub codec: AudioCodecId,
    pub rate: u32,
    pub channels: u16,
    /// Bytes that are decoded together: one frame, or a block of ADPCM.
    pub block: u64,
    /// Frames in such a block.
    pub frames: u64,
}

/// Contents of a WAV file.
#[derive(Clone, Debug, PartialEq)]
pub struct WavLayout {
    pub format: WavFormat,
    /// Stretches of sound, in bytes from the start of the file, in order.
    pub sound: Vec<Range<u64>>,
    /// Bytes of sound that the header promises beyond the end of the file.
    pub missing: u64,
}

#[derive(Debug)]
pub enum Trouble {
    Io(io::Error),
    Broken(String),
    Unsupported(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("the file ends inside it"),
            _ => Trouble::Io(error),
        }
    }
}

fn broken(why: impl Into<String>) -> Trouble {
    Trouble::Broken(why.into())
}

/// Tells whether a file that starts like this is a WAV file.
pub fn is_wav(start: &[u8]) -> bool {
    let magic = [&b"RIFF"[..], b"RIFX", b"RF64", b"BW64"].iter().any(|magic| start.starts_with(magic));
    magic && start.get(8..12).is_none_or(|kind| kind == b"WAVE")
}

/// Reads all chunks of a WAV file of `length` bytes, see [`is_wav`]. The first format counts, as it
/// precedes the sound.
pub fn read_layout(file: &mut (impl Read + Seek), length: u64) -> Result<WavLayout, Trouble> {
    let mut magic = [0; 12];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut magic)?;
    let mut chunks = Chunks { file, length, at: 12, big: magic.starts_with(b"RIFX") };
    let (mut format, mut sizes) = (None, None);
    let (mut sound, mut missing) = (Vec::new(), 0);
    for _ in 0..MAX_CHUNKS {
        let Some(chunk) = chunks.next()? else { break };
        let mut end = chunk.start.saturating_add(chunk.size);
        match &chunk.kind {
            b"ds64" => sizes = Some(chunks.read_sizes()?),
            b"fmt " if format.is_none() => format = Some(chunks.read_format(chunk.size)?),
            b"data" => {
                let (range, beyond) = chunks.extent(&chunk, sizes)?;
                end = range.end;
                missing += beyond;
                sound.push(range);
            }
            _ if end > length && sound.is_empty() => return Err(beyond_the_end(&chunk, length)),
            _ if end > length => break,
            _ => {}
        }
        chunks.skip_to(end)?;
    }
    if sound.is_empty() {
        return Err(broken("it has no chunk of sound"));
    }
    sound.retain(|range| !range.is_empty());
    Ok(WavLayout {
        format: format.ok_or_else(|| broken("it has no chunk with the format of the sound"))?,
        sound,
        missing,
    })
}

fn beyond_the_end(chunk: &Chunk, length: u64) -> Trouble {
    let Chunk { kind, start, size } = chunk;
    let kind = kind.escape_ascii();
    broken(format!("its chunk \"{kind}\" of {size} bytes at {start} reaches beyond the file's {length} bytes"))
}

struct Chunk {
    kind: [u8; 4],
    /// First byte of its content in the file.
    start: u64,
    size: u64,
}

struct Chunks<'a, F> {
    file: &'a mut F,
    length: u64,
    /// First byte of the next chunk.
    at: u64,
    /// Numbers are big-endian, as in RIFX.
    big: bool,
}

impl<F: Read + Seek> Chunks<'_, F> {
    /// Reads the header of the next chunk, up to its content; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Chunk>, Trouble> {
        if self.length.saturating_sub(self.at) < 8 {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let (mut kind, mut size) = ([0; 4], [0; 4]);
        self.file.read_exact(&mut kind)?;
        self.file.read_exact(&mut size)?;
        Ok(Some(Chunk { kind, start: self.at + 8, size: u64::from(self.number(size)) }))
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Skips to the end of a chunk that ends at `end`. An odd one has a zero byte behind it, which
    /// some writers forget; no chunk's name begins with a zero.
    fn skip_to(&mut self, end: u64) -> Result<(), Trouble> {
        self.at = end;
        if end % 2 == 1 && end < self.length {
            let mut pad = [0];
            self.file.seek(SeekFrom::Start(end))?;
            self.file.read_exact(&mut pad)?;
            self.at += u64::from(pad == [0]);
        }
        Ok(())
    }

    /// Reads the size of the sound in a file that may exceed 4 GiB, which follows the size of the
    /// file.
    fn read_sizes(&mut self) -> Result<u64, Trouble> {
        let mut fields = [0; 16];
        self.file.read_exact(&mut fields)?;
        Ok(u64::from_le_bytes(fields[8..].try_into().expect("eight bytes")))
    }

    /// Finds the sound of a data chunk, and the number of its bytes that are missing.
    fn extent(&mut self, chunk: &Chunk, sizes: Option<u64>) -> Result<(Range<u64>, u64), Trouble> {
        let size = sizes.filter(|_| chunk.size == u64::from(u32::MAX)).unwrap_or(chunk.size);
        let left = self.length - chunk.start;
        // Programs that write to a pipe cannot go back to fill in the size.
        let unknown = (size == 0 && !self.chunks_follow(chunk.start)?) || (size > left && size >= UNKNOWN_SIZE);
        let used = if unknown { left } else { size.min(left) };
        let missing = if unknown { 0 } else { size - used };
        Ok((chunk.start..chunk.start + used, missing))
    }

    /// Detects whether the rest of the file, from `start` on, is nothing but chunks: then a size of
    /// 0 before it means no sound.
    fn chunks_follow(&mut self, start: u64) -> Result<bool, Trouble> {
        self.at = start;
        for _ in 0..MAX_CHUNKS {
            let Some(chunk) = self.next()? else { break };
            let named = chunk.kind.iter().all(|letter| matches!(letter, b' '..=b'~'));
            if !named || chunk.start + chunk.size > self.length {
                return Ok(false);
            }
            self.skip_to(chunk.start + chunk.size)?;
        }
        Ok(self.at == self.length)
    }

    /// Reads WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE. Bits that are fewer than their
    /// container fill it from the top, so only the container matters.
    fn read_format(&mut self, size: u64) -> Result<WavFormat, Trouble> {
        let mut bytes = [0; 40];
        let present = size.min(40) as usize;
        if present < 16 {
            return Err(broken(format!("its format has {size} bytes, 16 at least are needed")));
        }
        self.file.read_exact(&mut bytes[..present])?;
        let short = |at: usize| {
            let pair = [bytes[at], bytes[at + 1]];
            if self.big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let long = |at: usize| self.number([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let tag = match short(0) {
            TAG_EXTENSIBLE if present == 40 => short(24),
            TAG_EXTENSIBLE => TAG_UNKNOWN,
            tag => tag,
        };
        let (channels, rate, byte_rate) = (short(2), long(4), long(8));
        Fields { tag, channels, rate, byte_rate, frame: short(12), bits: short(14), big: self.big }.format()
    }
}

/// Fields of a format chunk.
struct Fields {
    tag: u16,
    channels: u16,
    rate: u32,
    byte_rate: u32,
    /// "Block align": bytes of one frame, or of a block of ADPCM.
    frame: u16,
    bits: u16,
    big: bool,
}

impl Fields {
    fn format(&self) -> Result<WavFormat, Trouble> {
        let &Fields { channels, rate, .. } = self;
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(broken(format!("{channels} channels, accepted are 1 to {MAX_CHANNELS}")));
        }
        if !RATES.contains(&rate) {
            let (low, high) = (RATES.start(), RATES.end());
            return Err(broken(format!("{rate} samples per second, accepted are {low} to {high}")));
        }
        if let TAG_ADPCM | TAG_IMA_ADPCM = self.tag {
            return self.adpcm();
        }
        if let Some((_, name)) = OTHER_TAGS.iter().find(|(tag, _)| *tag == self.tag) {
            return Err(Trouble::Unsupported(format!("{name} coded sound in a WAV wrapper")));
        }
        let container = self.container()?;
        let codec = self.codec(container)?;
        Ok(WavFormat { codec, rate, channels, block: u64::from(container) * u64::from(channels), frames: 1 })
    }

    /// Bytes of one sample. Writers get the frame's size wrong more often than the bits: some leave
    /// it 0, or write bits, or one channel's bytes. The bits count where the frame is impossible,
    /// or the byte rate agrees with them.
    fn container(&self) -> Result<u16, Trouble> {
        let &Fields { channels, frame, bits, .. } = self;
        let (stated, needed) = (frame / channels, bits.div_ceil(8));
        let possible = frame.is_multiple_of(channels) && (1..=8).contains(&stated);
        if possible && stated >= needed {
            return Ok(stated);
        }
        let agreed = u64::from(self.rate) * u64::from(channels) * u64::from(needed) == u64::from(self.byte_rate);
        match needed {
            0 => Err(broken(format!("frames of {frame} bytes with samples of 0 bits"))),
            1..=8 if !possible || agreed => Ok(needed),
            _ => Err(broken(format!("{bits} bits do not fit in a sample of {stated} bytes"))),
        }
    }

    fn codec(&self, container: u16) -> Result<AudioCodecId, Trouble> {
        let either = |little, big| Ok(if self.big { big } else { little });
        match (self.tag, container) {
            (TAG_PCM | TAG_UNKNOWN, 1) => Ok(codecs::CODEC_ID_PCM_U8),
            // A tag without meaning precedes plain samples; with four bytes they could be integers
            // or floats.
            (TAG_PCM | TAG_UNKNOWN, 2) => either(codecs::CODEC_ID_PCM_S16LE, codecs::CODEC_ID_PCM_S16BE),
            (TAG_PCM | TAG_UNKNOWN, 3) => either(codecs::CODEC_ID_PCM_S24LE, codecs::CODEC_ID_PCM_S24BE),
            (TAG_PCM, 4) => either(codecs::CODEC_ID_PCM_S32LE, codecs::CODEC_ID_PCM_S32BE),
            (TAG_FLOAT, 4) => either(codecs::CODEC_ID_PCM_F32LE, codecs::CODEC_ID_PCM_F32BE),
            (TAG_FLOAT, 8) => either(codecs::CODEC_ID_PCM_F64LE, codecs::CODEC_ID_PCM_F64BE),
            (TAG_A_LAW, 1) => Ok(codecs::CODEC_ID_PCM_ALAW),
            (TAG_MU_LAW, 1) => Ok(codecs::CODEC_ID_PCM_MULAW),
            (TAG_FLOAT, _) => Err(Trouble::Unsupported(format!("floats of {container} bytes"))),
            (TAG_PCM, _) => Err(Trouble::Unsupported(format!("samples of {container} bytes"))),
            (tag, _) => Err(Trouble::Unsupported(format!("samples of {container} bytes with the format tag {tag:#x}"))),
        }
    }

    /// Format of ADPCM: four bits a sample, in blocks that begin with a header and the first
    /// samples of each channel.
    fn adpcm(&self) -> Result<WavFormat, Trouble> {
        let &Fields { channels, rate, frame, .. } = self;
        let (codec, header, first) = match self.tag {
            TAG_ADPCM => (codecs::CODEC_ID_ADPCM_MS, 7, 2),
            _ => (codecs::CODEC_ID_ADPCM_IMA_WAV, 4, 1),
        };
        if channels > 2 || self.big {
            return Err(Trouble::Unsupported(format!("ADPCM coded sound of {channels} channels")));
        }
        let header = header * channels;
        if frame < header {
            return Err(broken(format!("blocks of {frame} bytes, but their headers have {header}")));
        }
        let frames = u64::from(frame - header) * 2 / u64::from(channels) + first;
        Ok(WavFormat { codec, rate, channels, block: u64::from(frame), frames })
    }
}
