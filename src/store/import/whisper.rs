//! Conversion of Whisper weights from CTranslate2's `model.bin`, as package registries carry them,
//! to whisper.cpp's ggml file and to two ONNX graphs ([`onnx`]).
//!
//! The CTranslate2 and ggml files hold the same numbers under different names. CTranslate2 joins
//! the rows of query, key and value in one matrix; whisper.cpp needs them separate, with the mel
//! filters and the vocabulary in front. The result depends only on the source, byte for byte, so
//! that a catalogue can list its digest.

mod ct2;
mod ggml;
pub mod onnx;
mod vocabulary;

use std::path::Path;

use super::ImportError;
use crate::mel::MELS;
use ct2::Ct2Checkpoint;

/// Number of audio positions and of text positions of every Whisper up to large-v2, whose mel bands
/// are [`MELS`].
const AUDIO_POSITIONS: usize = 1500;
const TEXT_POSITIONS: usize = 448;
/// Largest accepted sizes: those of Whisper large, with a margin.
const MAX_WIDTH: usize = 4096;
const MAX_LAYERS: usize = 64;
const MAX_VOCABULARY: usize = 100_000;

/// Sizes that a ggml header states.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WhisperDims {
    vocabulary: usize,
    width: usize,
    heads: usize,
    encoder_layers: usize,
    decoder_layers: usize,
}

/// Converts `source/model.bin` with `source/vocabulary.txt` into the file `target`: one of
/// [`onnx::FILES`] by its name, otherwise a ggml file. The file appears whole or not at all.
///
/// For a ggml file memory stays below a megabyte plus the vocabulary; a graph is held in memory
/// twice.
pub fn convert(source: &Path, target: &Path) -> Result<(), ImportError> {
    write(source, target).map_err(ImportError::named)
}

fn write(source: &Path, target: &Path) -> Result<(), ImportError> {
    let mut checkpoint = Ct2Checkpoint::open(&source.join("model.bin"))?;
    let blueprint = WhisperDims::of(&mut checkpoint)?;
    if let Some(file) = onnx::FILES.into_iter().find(|file| target.file_name().is_some_and(|name| name == *file)) {
        return onnx::write(&mut checkpoint, &blueprint, file, target);
    }
    let tokens = vocabulary::read(&source.join("vocabulary.txt"), blueprint.vocabulary)?;
    ggml::write(&mut checkpoint, &blueprint, &tokens, target)
}

impl WhisperDims {
    fn of(checkpoint: &mut Ct2Checkpoint) -> Result<Self, ImportError> {
        let conv = checkpoint.shape("encoder/conv1/weight")?.to_vec();
        let embeddings = checkpoint.shape("decoder/embeddings/weight")?.to_vec();
        let (&[width, mels, 3], &[vocabulary, _]) = (&conv[..], &embeddings[..]) else {
            return Err(checkpoint.refuse(format!("conv1 {conv:?} and embeddings {embeddings:?} are not Whisper's")));
        };
        let blueprint = WhisperDims {
            vocabulary,
            width,
            heads: checkpoint.scalar("encoder/num_heads")?,
            encoder_layers: checkpoint.layers("encoder"),
            decoder_layers: checkpoint.layers("decoder"),
        };
        let decoder_heads = checkpoint.scalar("decoder/num_heads")?;
        blueprint.check(mels, decoder_heads).map_err(|why| checkpoint.refuse(why))?;
        Ok(blueprint)
    }

    fn check(&self, mels: usize, decoder_heads: usize) -> Result<(), String> {
        let within = |what: &str, size: usize, most: usize| match size {
            0 => Err(format!("it has no {what}")),
            size if size > most => Err(format!("{size} {what} are more than the accepted {most}")),
            _ => Ok(()),
        };
        within("channels", self.width, MAX_WIDTH)?;
        within("encoder layers", self.encoder_layers, MAX_LAYERS)?;
        within("decoder layers", self.decoder_layers, MAX_LAYERS)?;
        within("tokens", self.vocabulary, MAX_VOCABULARY)?;
        within("heads", self.heads, self.width)?;
        if !self.width.is_multiple_of(self.heads) || decoder_heads != self.heads {
            return Err(format!(
                "{} channels do not divide among {} encoder and {decoder_heads} decoder heads",
                self.width, self.heads
            ));
        }
        if mels != MELS {
            return Err(format!("it wants {mels} mel bands; only models with {MELS} are converted"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
