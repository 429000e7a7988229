//! A sound file, decoded block by block.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::{get_codecs, get_probe};

use super::kind::{ContainerKind, kind};
use super::{fragments, guarded};
use crate::audio::AudioError;
use crate::audio::riff::{self, MAX_CHANNELS, RATES, Trouble, WavLayout};

/// Frames of plain samples that are decoded at a time.
const BLOCK: u64 = 4096;
/// Largest number of frames that one packet may claim. FLAC's largest have 65,535, but a damaged
/// CAF file can state four thousand million, for which the decoder would allocate memory.
const MAX_PACKET: u64 = 1 << 17;
/// Most bytes read from a pipe: half an hour of two channels at 48 kHz, 32 bits, is 659 MiB.
const MAX_PIPED: u64 = 1 << 30;
/// Packets in a row without sound after which a file is given up as damaged.
const MAX_SILENT_PACKETS: usize = 100_000;

/// A file that can be decoded from its start, as often as needed.
pub struct SoundInput<'a> {
    pub path: &'a Path,
    file: File,
    kind: ContainerKind,
    length: u64,
}

impl<'a> SoundInput<'a> {
    /// Opens `path`. The contents of a pipe are kept in a temporary file, since a sound is read
    /// more than once.
    pub fn open(path: &'a Path) -> Result<Self, AudioError> {
        let fail = |source| AudioError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        if about.is_dir() {
            return Err(AudioError::Directory { path: path.to_owned() });
        }
        let mut start = Vec::with_capacity(16);
        file.by_ref().take(16).read_to_end(&mut start).map_err(fail)?;
        if start.is_empty() {
            return Err(AudioError::Empty { path: path.to_owned() });
        }
        let kind = kind(&start);
        if let ContainerKind::Other(looks) = kind {
            return Err(AudioError::NotSound { path: path.to_owned(), looks });
        }
        if !about.is_file() {
            file = keep(&mut io::Cursor::new(start).chain(file), path)?;
        }
        let length = file.metadata().map_err(fail)?.len();
        Ok(SoundInput { path, file, kind, length })
    }

    /// Decodes the sound from its start. Only one source can be read at a time: they share the
    /// position in the file.
    pub fn decode(&self) -> Result<SoundSource<'a>, AudioError> {
        let mut file = self.file.try_clone().map_err(|source| self.io(source))?;
        file.seek(SeekFrom::Start(0)).map_err(|source| self.io(source))?;
        match self.kind {
            ContainerKind::Wav => self.decode_wav(file),
            ContainerKind::Container(name) => self.decode_container(file, name),
            ContainerKind::Other(_) => unreachable!("refused as it was opened"),
        }
    }

    fn decode_wav(&self, file: File) -> Result<SoundSource<'a>, AudioError> {
        let mut file = BufReader::new(file);
        let layout = riff::read_layout(&mut file, self.length).map_err(|trouble| self.explain(trouble))?;
        let parameters = parameters(&layout);
        let wav = WavPackets { file, layout, part: 0, used: 0 };
        self.source("WAV", Packets::Wav(wav), 0, &parameters)
    }

    fn decode_container(&self, mut file: File, name: &'static str) -> Result<SoundSource<'a>, AudioError> {
        let damaged = |why: String| AudioError::Header { path: self.path.to_owned(), kind: name, why };
        if matches!(name, "MP4" | "QuickTime") {
            let overstated = fragments::overstates_samples(&mut file, self.length).map_err(|source| self.io(source))?;
            if overstated {
                return Err(damaged("a fragment states more samples than the file can hold".to_owned()));
            }
            file.seek(SeekFrom::Start(0)).map_err(|source| self.io(source))?;
        }
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let probe = || get_probe().probe(&Default::default(), stream, Default::default(), Default::default());
        let reader = guarded(probe).ok_or_else(|| damaged("its parts contradict each other".to_owned()))?;
        let reader = reader.map_err(|error| match error {
            Error::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => self.io(error),
            Error::Unsupported(_) => damaged("nothing behind its first bytes belongs to one".to_owned()),
            error => damaged(said(&error)),
        })?;
        let unsupported = |what: &str| AudioError::Unsupported { path: self.path.to_owned(), what: what.to_owned() };
        let track = reader
            .default_track(TrackType::Audio)
            .ok_or_else(|| unsupported("no track of sound that can be decoded"))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let parameters = parameters.ok_or_else(|| unsupported("sound of an unknown kind"))?.clone();
        let id = track.id;
        self.source(name, Packets::Container(reader), id, &parameters)
    }

    fn source(
        &self,
        kind: &'static str,
        packets: Packets,
        track: u32,
        parameters: &AudioCodecParameters,
    ) -> Result<SoundSource<'a>, AudioError> {
        let path = self.path;
        let damaged = |why: String| AudioError::Header { path: path.to_owned(), kind, why };
        let largest = parameters.max_frames_per_packet.max(parameters.frames_per_block).unwrap_or(0);
        let channels = parameters.channels.as_ref().map_or(0, Channels::count);
        if largest > MAX_PACKET {
            return Err(damaged(format!("{largest} frames in one packet, accepted are {MAX_PACKET}")));
        }
        if channels > usize::from(MAX_CHANNELS) {
            return Err(damaged(format!("{channels} channels, accepted are 1 to {MAX_CHANNELS}")));
        }
        let decoder = guarded(|| get_codecs().make_audio_decoder(parameters, &Default::default()));
        let decoder = match decoder {
            Some(Ok(decoder)) => decoder,
            Some(Err(Error::Unsupported(_))) => {
                let what = format!("{} coded sound", codec_name(parameters));
                return Err(AudioError::Unsupported { path: path.to_owned(), what });
            }
            Some(Err(error)) => return Err(damaged(said(&error))),
            None => return Err(damaged("its parts contradict each other".to_owned())),
        };
        Ok(SoundSource { path, kind, packets, track, decoder, shape: None, samples: Vec::new(), damaged: 0, cut: None })
    }

    fn explain(&self, trouble: Trouble) -> AudioError {
        let path = self.path.to_owned();
        match trouble {
            Trouble::Io(source) => AudioError::Read { path, source },
            Trouble::Broken(why) => AudioError::Header { path, kind: "WAV", why },
            Trouble::Unsupported(what) => AudioError::Unsupported { path, what },
        }
    }

    fn io(&self, source: io::Error) -> AudioError {
        AudioError::Read { path: self.path.to_owned(), source }
    }
}

/// Writes all bytes of `pipe` to a temporary file.
fn keep(pipe: &mut impl Read, path: &Path) -> Result<File, AudioError> {
    let fail = |source| AudioError::Read { path: path.to_owned(), source };
    let mut file = tempfile::tempfile().map_err(fail)?;
    let copied = io::copy(&mut pipe.take(MAX_PIPED + 1), &mut file).map_err(fail)?;
    if copied > MAX_PIPED {
        return Err(AudioError::TooMuch { path: path.to_owned(), limit: MAX_PIPED });
    }
    Ok(file)
}

/// Parameters for the decoder of a WAV file.
fn parameters(layout: &WavLayout) -> AudioCodecParameters {
    let riff::WavFormat { codec, rate, channels, frames, .. } = layout.format;
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(codec).with_sample_rate(rate).with_channels(Channels::Discrete(channels));
    parameters.with_frames_per_block(frames).with_max_frames_per_packet(BLOCK.div_ceil(frames) * frames);
    parameters
}

fn codec_name(parameters: &AudioCodecParameters) -> &'static str {
    match parameters.codec {
        codecs::CODEC_ID_OPUS => "Opus",
        codecs::CODEC_ID_SPEEX => "Speex",
        codecs::CODEC_ID_AC3 => "AC-3",
        codecs::CODEC_ID_EAC3 => "E-AC-3",
        codecs::CODEC_ID_DCA => "DTS",
        codecs::CODEC_ID_WMA => "WMA",
        codecs::CODEC_ID_AAC => "AAC, but not AAC-LC,",
        _ => "otherwise",
    }
}

/// Text for an error of `symphonia`.
fn said(error: &Error) -> String {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the file ends inside it".to_owned(),
        Error::DecodeError(why) | Error::Unsupported(why) | Error::LimitError(why) => (*why).to_owned(),
        error => error.to_string(),
    }
}

/// The demuxer of a file.
enum Packets {
    Wav(WavPackets),
    Container(Box<dyn FormatReader>),
}

/// The sound of a WAV file in packets of about [`BLOCK`] frames.
struct WavPackets {
    file: BufReader<File>,
    layout: WavLayout,
    /// Current part, and the number of its bytes that have been read.
    part: usize,
    used: u64,
}

impl WavPackets {
    /// Reads the next packet. A partial block at the end of a part is dropped.
    fn next(&mut self) -> Result<Option<Packet>, Error> {
        let riff::WavFormat { block, frames, .. } = self.layout.format;
        while let Some(part) = self.layout.sound.get(self.part) {
            let blocks = ((part.end - part.start - self.used) / block).min(BLOCK.div_ceil(frames));
            if blocks > 0 {
                let mut data = vec![0; (blocks * block) as usize];
                self.file.seek(SeekFrom::Start(part.start + self.used))?;
                self.file.read_exact(&mut data)?;
                self.used += blocks * block;
                return Ok(Some(Packet::new(0, Timestamp::new(0), Duration::new(blocks * frames), data)));
            }
            (self.part, self.used) = (self.part + 1, 0);
        }
        Ok(None)
    }
}

/// Rate and channels of decoded sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rate: u32,
    pub channels: usize,
}

/// A file that is being decoded.
pub struct SoundSource<'a> {
    path: &'a Path,
    kind: &'static str,
    packets: Packets,
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    /// Rate and channels, known from the first block on.
    shape: Option<Shape>,
    samples: Vec<f32>,
    /// Packets that could not be decoded.
    damaged: usize,
    /// Reason why reading ended before the end of the file.
    cut: Option<String>,
}

impl SoundSource<'_> {
    /// Decodes the next block: interleaved samples of all channels, as in the file; `None` at the
    /// end. Where the file is damaged, the sound goes on behind the damage, or ends;
    /// [`SoundSource::note`] reports it.
    pub fn next_block(&mut self) -> Result<Option<(Shape, &[f32])>, AudioError> {
        for _ in 0..MAX_SILENT_PACKETS {
            match guarded(|| self.step()) {
                Some(Ok(Step::Sound(shape))) => {
                    return self.checked(shape).map(|shape| Some((shape, &self.samples[..])));
                }
                Some(Ok(Step::Nothing)) => {}
                Some(Ok(Step::End)) => return Ok(None),
                Some(Err(Error::IoError(error))) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(AudioError::Read { path: self.path.to_owned(), source: error });
                }
                Some(Err(error)) => return Ok(self.end_here(said(&error))),
                None => return Ok(self.end_here("its parts contradict each other".to_owned())),
            }
        }
        Ok(self.end_here("nothing in it is sound".to_owned()))
    }

    fn end_here<T>(&mut self, why: String) -> Option<T> {
        self.cut = Some(why);
        None
    }

    fn step(&mut self) -> Result<Step, Error> {
        let packet = match &mut self.packets {
            Packets::Wav(packets) => packets.next()?,
            Packets::Container(reader) => reader.next_packet()?,
        };
        let Some(packet) = packet else { return Ok(Step::End) };
        if packet.track_id != self.track {
            return Ok(Step::Nothing);
        }
        let decoded = match self.decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_)) => {
                self.damaged += 1;
                return Ok(Step::Nothing);
            }
            Err(error) => return Err(error),
        };
        let shape = Shape { rate: decoded.spec().rate(), channels: decoded.spec().channels().count() };
        self.samples.resize(decoded.samples_interleaved(), 0.0);
        decoded.copy_to_slice_interleaved(&mut self.samples);
        Ok(if self.samples.is_empty() { Step::Nothing } else { Step::Sound(shape) })
    }

    /// Checks that rate and channels are accepted, and unchanged.
    fn checked(&mut self, shape: Shape) -> Result<Shape, AudioError> {
        let Shape { rate, channels } = shape;
        let before = *self.shape.get_or_insert(shape);
        let why = if !RATES.contains(&rate) {
            let (low, high) = (RATES.start(), RATES.end());
            format!("{rate} samples per second, accepted are {low} to {high}")
        } else if !(1..=usize::from(MAX_CHANNELS)).contains(&channels) {
            format!("{channels} channels, accepted are 1 to {MAX_CHANNELS}")
        } else if shape != before {
            format!("its sound changes from {before} to {shape} on the way")
        } else {
            return Ok(shape);
        };
        Err(AudioError::Header { path: self.path.to_owned(), kind: self.kind, why })
    }

    /// Makes the error for a file without any decoded sound, with the reason.
    pub fn no_sound(&self) -> AudioError {
        let path = self.path.to_owned();
        match (&self.cut, self.damaged) {
            (Some(why), _) => AudioError::Header { path, kind: self.kind, why: why.clone() },
            (None, 0) => AudioError::NoSound { path },
            (None, _) => AudioError::Header { path, kind: self.kind, why: "all of its sound is damaged".to_owned() },
        }
    }

    /// Note for the user on a file that is not whole, of which `seconds` were read.
    pub fn note(&self, seconds: f64) -> Option<String> {
        let path = self.path.display();
        match (self.missing(), &self.cut, self.damaged) {
            (1.., _, _) => {
                let missing = self.missing();
                Some(format!("{path} ends {missing} bytes before its header says; its {seconds:.1} s are used"))
            }
            (0, Some(why), _) => Some(format!("{path} is damaged ({why}); its first {seconds:.1} s are used")),
            (0, None, 0) => None,
            (0, None, places) => {
                Some(format!("{path} is damaged in {places} places; the {seconds:.1} s between them are used"))
            }
        }
    }

    /// Number of bytes missing at the end of a WAV file.
    fn missing(&self) -> u64 {
        match &self.packets {
            Packets::Wav(packets) => packets.layout.missing,
            Packets::Container(_) => 0,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Hz, {} channels", self.rate, self.channels)
    }
}

/// Result of one packet.
enum Step {
    Sound(Shape),
    /// A packet of another track, a damaged one, or one that only begins the sound.
    Nothing,
    End,
}
