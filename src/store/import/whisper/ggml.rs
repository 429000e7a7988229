//! Writer of whisper.cpp's ggml file: a header of eleven numbers, the mel filters, the vocabulary,
//! then each tensor as number of dimensions, length of its name, type (0 f32, 1 f16), dimensions
//! with the fastest first, name, data. All integers are i32, little-endian.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use half::f16;
use tempfile::NamedTempFile;

use super::ct2::Ct2Checkpoint;
use super::{AUDIO_POSITIONS, ImportError, TEXT_POSITIONS, WhisperDims};
use crate::mel::{self, MELS};

const MAGIC: i32 = 0x6767_6d6c;
/// File type "mostly f16": matrices in f16, the rest in f32.
const FILE_TYPE: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Precision {
    F32 = 0,
    F16 = 1,
}

/// Tensor of the target, and the rows of the source variable that fill it.
struct Tensor {
    name: String,
    variable: String,
    /// Expected shape of the whole source variable.
    whole: Vec<usize>,
    rows: Range<usize>,
    /// Row-major dimensions in the target.
    shape: Vec<usize>,
    precision: Precision,
}

impl Tensor {
    /// Creates a tensor from one whole variable: a vector in f32, a matrix in f16.
    fn same(name: impl Into<String>, variable: impl Into<String>, shape: &[usize]) -> Self {
        Tensor {
            name: name.into(),
            variable: variable.into(),
            whole: shape.to_vec(),
            rows: 0..shape[0],
            shape: shape.to_vec(),
            precision: if shape.len() == 1 { Precision::F32 } else { Precision::F16 },
        }
    }

    fn in_f32(self) -> Self {
        Tensor { precision: Precision::F32, ..self }
    }

    /// Gives the same numbers other dimensions.
    fn shaped(self, shape: &[usize]) -> Self {
        Tensor { shape: shape.to_vec(), ..self }
    }

    /// Takes only part `index` of a variable that joins `parts` such tensors along its rows.
    fn part(self, index: usize, parts: usize) -> Self {
        let rows = self.shape[0];
        let mut whole = self.whole;
        whole[0] = rows * parts;
        Tensor { whole, rows: rows * index..rows * (index + 1), ..self }
    }
}

/// Writes the file beside `target` and renames it to `target`.
pub fn write(
    checkpoint: &mut Ct2Checkpoint,
    blueprint: &WhisperDims,
    tokens: &[Vec<u8>],
    target: &Path,
) -> Result<(), ImportError> {
    let io = |source| ImportError::Io { path: target.to_owned(), source };
    let mut out = BufWriter::with_capacity(1 << 17, beside(target).map_err(io)?);
    write_header(&mut out, blueprint).map_err(io)?;
    write_filters(&mut out).map_err(io)?;
    write_tokens(&mut out, tokens).map_err(io)?;
    for tensor in tensors(blueprint) {
        write_tensor(&mut out, checkpoint, &tensor, target)?;
    }
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(target).map(|_: File| ()).map_err(|error| io(error.error))
}

/// Creates a temporary file in the folder of `target`, with the permissions of any new file. It is
/// removed if dropped.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".import-").tempfile_in(folder)
}

fn write_header(out: &mut impl Write, blueprint: &WhisperDims) -> io::Result<()> {
    let WhisperDims { vocabulary, width, heads, encoder_layers, decoder_layers } = *blueprint;
    write_number(out, MAGIC)?;
    for size in [vocabulary, AUDIO_POSITIONS, width, heads, encoder_layers] {
        write_number(out, size as i32)?;
    }
    for size in [TEXT_POSITIONS, width, heads, decoder_layers, MELS] {
        write_number(out, size as i32)?;
    }
    write_number(out, FILE_TYPE)
}

fn write_filters(out: &mut impl Write) -> io::Result<()> {
    write_number(out, MELS as i32)?;
    write_number(out, mel::BINS as i32)?;
    mel::filters().iter().try_for_each(|weight| out.write_all(&weight.to_le_bytes()))
}

fn write_tokens(out: &mut impl Write, tokens: &[Vec<u8>]) -> io::Result<()> {
    write_number(out, tokens.len() as i32)?;
    for token in tokens {
        write_number(out, token.len() as i32)?;
        out.write_all(token)?;
    }
    Ok(())
}

fn write_tensor(
    out: &mut impl Write,
    checkpoint: &mut Ct2Checkpoint,
    tensor: &Tensor,
    target: &Path,
) -> Result<(), ImportError> {
    let io = |source| ImportError::Io { path: target.to_owned(), source };
    write_tensor_header(out, tensor).map_err(io)?;
    let mut sink =
        |numbers: &[f32]| numbers.iter().try_for_each(|&number| write_float(out, number, tensor.precision)).map_err(io);
    checkpoint.rows(&tensor.variable, &tensor.whole, tensor.rows.clone(), &mut sink)
}

fn write_tensor_header(out: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    for number in [tensor.shape.len(), tensor.name.len(), tensor.precision as usize] {
        write_number(out, number as i32)?;
    }
    for &dimension in tensor.shape.iter().rev() {
        write_number(out, dimension as i32)?;
    }
    out.write_all(tensor.name.as_bytes())
}

fn write_float(out: &mut impl Write, number: f32, precision: Precision) -> io::Result<()> {
    match precision {
        Precision::F32 => out.write_all(&number.to_le_bytes()),
        Precision::F16 => out.write_all(&f16::from_f32(number).to_le_bytes()),
    }
}

fn write_number(out: &mut impl Write, number: i32) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

/// Lists every tensor of the target: 11 + 15 for each encoder layer + 24 for each decoder layer.
fn tensors(blueprint: &WhisperDims) -> Vec<Tensor> {
    let mut tensors = ends(blueprint);
    for layer in 0..blueprint.encoder_layers {
        tensors.extend(layer_tensors("encoder", layer, blueprint.width));
    }
    for layer in 0..blueprint.decoder_layers {
        tensors.extend(layer_tensors("decoder", layer, blueprint.width));
        tensors.extend(cross_attention(layer, blueprint.width));
    }
    tensors
}

/// Tensors before and after the layers.
fn ends(&WhisperDims { vocabulary, width, .. }: &WhisperDims) -> Vec<Tensor> {
    let positions = |side: &str, count| {
        let variable = format!("{side}/position_encodings/encodings");
        Tensor::same(format!("{side}.positional_embedding"), variable, &[count, width]).in_f32()
    };
    let mut tensors = vec![
        positions("encoder", AUDIO_POSITIONS),
        positions("decoder", TEXT_POSITIONS),
        Tensor::same("decoder.token_embedding.weight", "decoder/embeddings/weight", &[vocabulary, width]),
    ];
    for (conv, inputs) in [("conv1", MELS), ("conv2", width)] {
        let (name, variable) = (format!("encoder.{conv}"), format!("encoder/{conv}"));
        tensors.push(Tensor::same(format!("{name}.weight"), format!("{variable}/weight"), &[width, inputs, 3]));
        tensors.push(Tensor::same(format!("{name}.bias"), format!("{variable}/bias"), &[width]).shaped(&[width, 1]));
    }
    tensors.extend(norm("encoder.ln_post", "encoder/layer_norm", width));
    tensors.extend(norm("decoder.ln", "decoder/layer_norm", width));
    tensors
}

/// Tensors of the self-attention and the two-layer perceptron of one layer, each with its norm: 15.
fn layer_tensors(side: &str, layer: usize, width: usize) -> Vec<Tensor> {
    let (block, source) = (format!("{side}.blocks.{layer}"), format!("{side}/layer_{layer}"));
    let (attn, attention) = (format!("{block}.attn"), format!("{source}/self_attention"));
    let joined = format!("{attention}/linear_0");
    let mut tensors = Vec::from(linear(&format!("{attn}.query"), &joined, [width, width], (0, 3)));
    // Keys have no bias in Whisper; their part of the joined bias is zero.
    tensors.extend(linear(&format!("{attn}.key"), &joined, [width, width], (1, 3)).into_iter().take(1));
    tensors.extend(linear(&format!("{attn}.value"), &joined, [width, width], (2, 3)));
    tensors.extend(linear(&format!("{attn}.out"), &format!("{attention}/linear_1"), [width, width], (0, 1)));
    tensors.extend(norm(&format!("{block}.attn_ln"), &format!("{attention}/layer_norm"), width));
    let (mlp, ffn) = (format!("{block}.mlp"), format!("{source}/ffn"));
    tensors.extend(linear(&format!("{mlp}.0"), &format!("{ffn}/linear_0"), [4 * width, width], (0, 1)));
    tensors.extend(linear(&format!("{mlp}.2"), &format!("{ffn}/linear_1"), [width, 4 * width], (0, 1)));
    tensors.extend(norm(&format!("{block}.mlp_ln"), &format!("{ffn}/layer_norm"), width));
    tensors
}

/// Additional tensors of a decoder layer, for attention to the sound: 9.
fn cross_attention(layer: usize, width: usize) -> Vec<Tensor> {
    let attn = format!("decoder.blocks.{layer}.cross_attn");
    let attention = format!("decoder/layer_{layer}/attention");
    let joined = format!("{attention}/linear_1");
    let square = [width, width];
    let mut tensors = Vec::from(linear(&format!("{attn}.query"), &format!("{attention}/linear_0"), square, (0, 1)));
    tensors.extend(linear(&format!("{attn}.key"), &joined, square, (0, 2)).into_iter().take(1));
    tensors.extend(linear(&format!("{attn}.value"), &joined, square, (1, 2)));
    tensors.extend(linear(&format!("{attn}.out"), &format!("{attention}/linear_2"), square, (0, 1)));
    tensors.extend(norm(&format!("{attn}_ln"), &format!("{attention}/layer_norm"), width));
    tensors
}

/// Weight and bias of `[outputs, inputs]`, from part `index` of `parts` in the source.
fn linear(name: &str, source: &str, shape: [usize; 2], (index, parts): (usize, usize)) -> [Tensor; 2] {
    [
        Tensor::same(format!("{name}.weight"), format!("{source}/weight"), &shape).part(index, parts),
        Tensor::same(format!("{name}.bias"), format!("{source}/bias"), &shape[..1]).part(index, parts),
    ]
}

fn norm(name: &str, source: &str, width: usize) -> [Tensor; 2] {
    [
        Tensor::same(format!("{name}.weight"), format!("{source}/gamma"), &[width]),
        Tensor::same(format!("{name}.bias"), format!("{source}/beta"), &[width]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_tensors_as_whisper_cpp_expects() {
        for (layers, count) in [(4, 167), (6, 245)] {
            let blueprint =
                WhisperDims { vocabulary: 51865, width: 64, heads: 1, encoder_layers: layers, decoder_layers: layers };
            let names: std::collections::BTreeSet<_> = tensors(&blueprint).into_iter().map(|t| t.name).collect();
            assert_eq!(names.len(), count);
        }
    }
}
