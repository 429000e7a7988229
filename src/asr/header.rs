//! Header of a ggml file, checked before whisper.cpp reads it, because whisper.cpp trusts it.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{AsrError, contents};
use crate::sniff;
use crate::types::Bytes;

const MAGIC: i32 = 0x6767_6d6c;
/// Bytes of the header: twelve numbers of four bytes.
const HEADER: u64 = 48;
/// Vocabulary sizes of Whisper: 51 864 English only, 51 865 multilingual, 51 866 large-v3.
const VOCABULARY: RangeInclusive<usize> = 51_864..=51_866;
/// Multiple to which text positions are rounded up in the decoder's cache.
const CACHE_STEP: usize = 256;

/// Dimensions of a Whisper model, which determine its memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WhisperDims {
    vocabulary: usize,
    audio_positions: usize,
    width: usize,
    heads: usize,
    encoder_layers: usize,
    text_positions: usize,
    decoder_layers: usize,
    mels: usize,
    file: u64,
}

impl WhisperDims {
    /// Reads the header and checks that the file holds all that it promises.
    pub fn checked(model: &Path) -> Result<Self, AsrError> {
        let dims = Self::read(model)?;
        let file = File::open(model).map_err(|source| AsrError::Read { model: model.to_owned(), source })?;
        let tensors = 11 + 15 * dims.encoder_layers + 24 * dims.decoder_layers;
        contents::check(file, HEADER, dims.mels, dims.vocabulary, tensors)
            .map_err(|why| AsrError::Format { model: model.to_owned(), why })?;
        Ok(dims)
    }

    /// Reads the header alone.
    pub fn read(model: &Path) -> Result<Self, AsrError> {
        let io = |source| AsrError::Read { model: model.to_owned(), source };
        let mut file = File::open(model).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::with_capacity(HEADER as usize);
        file.by_ref().take(HEADER).read_to_end(&mut bytes).map_err(io)?;
        let named = |why| sniff::known(&bytes).map_or(why, |what| format!("it is {what}"));
        parse(&bytes, length).map_err(|why| AsrError::Format { model: model.to_owned(), why: named(why) })
    }

    /// Bytes held once loaded and while running with the whole encoder context: the weights as in
    /// the file, the caches of both attentions, and the buffers of the four graphs.
    ///
    /// The terms reproduce what whisper.cpp 1.8 reports for tiny and base within 1 MB. The resident
    /// memory of base was 327 MiB at its highest, of the 363 MiB planned: the decoder's buffer for
    /// 448 tokens at once is never filled.
    pub fn planned_bytes(&self) -> Bytes {
        let WhisperDims { audio_positions: audio, text_positions: text, width, heads, decoder_layers, .. } = *self;
        let (f16, f32) = (2, 4);
        let audio_cache = audio.next_multiple_of(CACHE_STEP);
        let text_cache = text.next_multiple_of(CACHE_STEP);
        let caches = 2 * f16 * width * (decoder_layers * (text_cache + audio_cache) + audio_cache);
        let convolution = f32 * 4 * width * audio + (4 << 20);
        let encoder = f32 * (heads * audio * audio + 5 * width * audio);
        let cross = f32 * width * audio * 3 / 2;
        let decoder = f32 * text * self.vocabulary + (4 << 20);
        Bytes(self.file + (caches + convolution + encoder + cross + decoder) as u64)
    }

    /// Bytes held once the two graphs, `files` bytes together, are loaded by ONNX Runtime and have
    /// run with the whole encoder context: the weights, the embeddings a second time in the order
    /// of the last product, the scores of one attention and what stands around them, and what ONNX
    /// Runtime keeps besides.
    ///
    /// Resident memory grew by 247 MB with base (255 MB planned), of which 114 MB are there before
    /// the first run, and by 148 MB with tiny (178 MB planned).
    pub fn planned_bytes_of_graphs(&self, files: u64) -> Bytes {
        let WhisperDims { audio_positions: audio, width, heads, vocabulary, .. } = *self;
        let run = 4 * (heads * audio * audio + 20 * width * audio);
        Bytes(files + (vocabulary * width + run + (16 << 20)) as u64)
    }

    /// Reads the header and the tokens of text, and leaves the rest alone.
    pub fn with_tokens(model: &Path) -> Result<(Self, Vec<Vec<u8>>), AsrError> {
        let dims = Self::read(model)?;
        let file = File::open(model).map_err(|source| AsrError::Read { model: model.to_owned(), source })?;
        let tokens = contents::tokens(file, HEADER, dims.mels, dims.vocabulary)
            .map_err(|why| AsrError::Format { model: model.to_owned(), why })?;
        Ok((dims, tokens))
    }

    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Whether the model is multilingual; English-only models have one token less.
    pub fn is_multilingual(&self) -> bool {
        self.vocabulary > *VOCABULARY.start()
    }

    pub fn heads(&self) -> usize {
        self.heads
    }

    pub fn decoder_layers(&self) -> usize {
        self.decoder_layers
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn audio_positions(&self) -> usize {
        self.audio_positions
    }
}

fn parse(bytes: &[u8], length: u64) -> Result<WhisperDims, String> {
    let numbers: Vec<i32> = bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    let &[magic, vocabulary, audio, width, heads, encoder, text, text_width, text_heads, decoder, mels, _] =
        &numbers[..]
    else {
        return Err(format!("it has only {} bytes", bytes.len()));
    };
    if magic != MAGIC {
        return Err("it does not begin with \"ggml\"".to_owned());
    }
    let within = |what: &str, number: i32, range: RangeInclusive<usize>| {
        let fits = usize::try_from(number).ok().filter(|size| range.contains(size));
        fits.ok_or(format!("{what} is {number}, Whisper has {} to {}", range.start(), range.end()))
    };
    let dims = WhisperDims {
        vocabulary: within("its vocabulary", vocabulary, VOCABULARY)?,
        audio_positions: within("its audio context", audio, 1500..=1500)?,
        width: within("its width", width, 64..=4096)?,
        heads: within("its number of heads", heads, 1..=64)?,
        encoder_layers: within("its number of encoder layers", encoder, 1..=64)?,
        text_positions: within("its text context", text, 448..=448)?,
        decoder_layers: within("its number of decoder layers", decoder, 1..=64)?,
        mels: within("its number of mel bands", mels, 80..=128)?,
        file: length,
    };
    if (text_width, text_heads) != (width, heads) || width % heads != 0 {
        return Err("its encoder and decoder do not fit together".to_owned());
    }
    Ok(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: [i32; 12] = [MAGIC, 51_865, 1_500, 512, 8, 6, 448, 512, 8, 6, 80, 1];

    fn parse_numbers(numbers: &[i32], length: u64) -> Result<WhisperDims, String> {
        parse(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>(), length)
    }

    #[test]
    fn base_is_read_and_planned() {
        let base = parse_numbers(&BASE, 147_951_465).unwrap();
        let mib = base.planned_bytes().0 >> 20;
        assert!((360..370).contains(&mib), "{mib}");
    }

    #[test]
    fn the_graphs_of_base_are_planned_as_measured() {
        let base = parse_numbers(&BASE, 147_951_465).unwrap();
        let mb = base.planned_bytes_of_graphs(29_049_670 + 50_055_441).0 / 1_000_000;
        assert!((247..265).contains(&mb), "{mb}");
    }

    #[test]
    fn what_whisper_cpp_would_believe_is_refused() {
        for (at, number, said) in [
            (0, 1, "ggml"),
            (1, -1, "vocabulary is -1"),
            (1, i32::MAX, "vocabulary"),
            (2, 3_000, "audio context"),
            (3, 1 << 30, "width"),
            (4, 0, "heads"),
            (4, 7, "do not fit together"),
            (5, 100_000, "encoder layers"),
            (7, 384, "do not fit together"),
            (9, 0, "decoder layers"),
            (10, 0, "mel bands"),
        ] {
            let mut numbers = BASE;
            numbers[at] = number;
            let why = parse_numbers(&numbers, 147_951_465).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert!(parse_numbers(&BASE[..11], 147_951_465).unwrap_err().contains("44 bytes"));
    }
}
