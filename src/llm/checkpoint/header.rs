//! The header of a safetensors file: a length of eight bytes, then JSON with the place of each
//! tensor.
//!
//! As in the format's own description, offsets count from the end of the header, tensors are
//! contiguous, and the last one ends with the file. The header is untrusted input, so its length
//! and everything in it is capped by a named constant and checked before any allocation depends on
//! it. [`parse`] is a pure function of the bytes. Tensors may begin at any byte: MLX does not pad
//! its headers.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use half::{bf16, f16};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sotto_kernels::BlockType;

use super::{CheckpointFault, json};
use crate::sniff;

/// Limit of tensors in a file: Qwen3.5-2B has 632, the largest mixture of experts of its family
/// some thousands.
pub const MAX_TENSORS: usize = 16_384;
/// Limit of header bytes: published headers take about 120 bytes a tensor.
pub const MAX_HEADER: u64 = 512 * MAX_TENSORS as u64;
/// Limit of dimensions: the convolution over video patches of the vision tower has five.
pub const MAX_DIMS: usize = 8;
/// Limit of elements of one tensor: far above any single matrix, far below a possible overflow of
/// its bytes.
pub const MAX_ELEMENTS: u64 = 1 << 40;
/// Limit of the name of an element type, in bytes.
const MAX_DTYPE: usize = 16;
/// Bytes of the length field before the header.
const LENGTH: usize = 8;

/// Place and format of a tensor in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointTensor {
    pub name: String,
    pub dtype: Dtype,
    /// Outermost dimension first: a matrix W[rows, cols] has `[rows, cols]`.
    pub dims: Vec<usize>,
    /// Byte range in the file.
    pub span: Range<usize>,
}

/// Type of a tensor's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    BF16,
    /// Words of 32 bits, into which MLX packs codes of a few bits.
    U32,
    /// A type that text models here do not use; a skipped vision tower may.
    Other(String),
}

/// Bits of an element for types that occur only in skipped tensors.
const OTHER_BITS: [(&str, u64); 14] = [
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F4", 4),
    ("U16", 16),
    ("I16", 16),
    ("I32", 32),
    ("U64", 64),
    ("I64", 64),
    ("F64", 64),
    ("C64", 64),
];

impl Dtype {
    pub fn name(&self) -> &str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::U32 => "U32",
            Dtype::Other(name) => name,
        }
    }

    fn from_name(name: String) -> Dtype {
        let known = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::U32].into_iter().find(|dtype| dtype.name() == name);
        known.unwrap_or(Dtype::Other(name))
    }

    /// Block type of the kernels; `None` if the elements are not numbers that they read.
    pub fn kind(&self) -> Option<BlockType> {
        match self {
            Dtype::F32 => Some(BlockType::F32),
            Dtype::F16 => Some(BlockType::F16),
            Dtype::BF16 => Some(BlockType::BF16),
            Dtype::U32 | Dtype::Other(_) => None,
        }
    }

    /// Encodes values as little-endian elements, rounded if these are narrower than f32; `None` for
    /// types that are not floats.
    pub fn encode(&self, values: &[f32]) -> Option<Vec<u8>> {
        Some(match self {
            Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::U32 | Dtype::Other(_) => return None,
        })
    }

    /// Bits of an element; `None` for an unknown type.
    fn bits(&self) -> Option<u64> {
        match self {
            Dtype::F32 | Dtype::U32 => Some(32),
            Dtype::F16 | Dtype::BF16 => Some(16),
            Dtype::Other(name) => OTHER_BITS.iter().find(|(known, _)| known == name).map(|(_, bits)| *bits),
        }
    }
}

/// Parses all tensors of a file, in the order of their data. Names the format of a file that is
/// something else.
pub fn parse(file: &[u8]) -> Result<Vec<CheckpointTensor>, CheckpointFault> {
    read(file).map_err(|fault| sniff::known(file).map_or(fault, CheckpointFault::OtherFile))
}

fn read(file: &[u8]) -> Result<Vec<CheckpointTensor>, CheckpointFault> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH>() else {
        let (wanted, left) = (LENGTH as u64, file.len() as u64);
        return Err(CheckpointFault::Truncated { what: "the length of the header", wanted, left });
    };
    let (length, left) = (u64::from_le_bytes(*length), rest.len() as u64);
    if length > MAX_HEADER {
        return Err(CheckpointFault::TooLarge { what: "header length", value: length, limit: MAX_HEADER });
    }
    if length > left {
        return Err(CheckpointFault::Truncated { what: "the header", wanted: length, left });
    }
    let Table(entries) = json::parse(&rest[..length as usize])?;
    place(entries, LENGTH as u64 + length, left - length)
}

/// Contents of the JSON, not yet checked against the file.
struct Table(Vec<(String, TensorSpec)>);

#[derive(Deserialize)]
struct TensorSpec {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor)
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let (mut seen, mut entries) = (HashSet::new(), Vec::new());
        while let Some(key) = json::next_key(&mut map, &mut seen)? {
            if key == "__metadata__" {
                map.next_value::<json::Entries<String>>()?;
                continue;
            }
            if entries.len() == MAX_TENSORS {
                return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Table(entries))
    }
}

struct Dims(Vec<u64>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(DimsVisitor)
    }
}

struct DimsVisitor;

impl<'de> Visitor<'de> for DimsVisitor {
    type Value = Dims;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
        let mut dims = Vec::new();
        while let Some(dim) = seq.next_element()? {
            if dims.len() == MAX_DIMS {
                return Err(A::Error::custom(format_args!("more than {MAX_DIMS} dimensions")));
            }
            dims.push(dim);
        }
        Ok(Dims(dims))
    }
}

/// Turns offsets into spans of the file: each has the size of its shape, and together they are
/// contiguous up to the end of the file.
fn place(
    entries: Vec<(String, TensorSpec)>,
    data_start: u64,
    data: u64,
) -> Result<Vec<CheckpointTensor>, CheckpointFault> {
    let mut entries = entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut free_from = 0;
    for (name, TensorSpec { dtype, shape: Dims(dims), data_offsets: (begin, end) }) in entries {
        if dtype.len() > MAX_DTYPE {
            let (what, limit) = ("the length of a dtype", MAX_DTYPE as u64);
            return Err(CheckpointFault::TooLarge { what, value: dtype.len() as u64, limit });
        }
        let dtype = Dtype::from_name(dtype);
        check_size(&name, &dtype, &dims, begin, end)?;
        if end > data {
            return Err(CheckpointFault::OutOfFile { tensor: name, end, data });
        }
        if begin < free_from {
            return Err(CheckpointFault::Overlap { tensor: name, begin });
        }
        if begin > free_from {
            return Err(CheckpointFault::Hole { before: format!("tensor {name:?}"), bytes: begin - free_from });
        }
        free_from = end;
        // Inside the mapped file, so both fit in usize; each dimension is at most MAX_ELEMENTS, or
        // another one is 0.
        let span = (data_start + begin) as usize..(data_start + end) as usize;
        tensors.push(CheckpointTensor { name, dtype, dims: dims.into_iter().map(|dim| dim as usize).collect(), span });
    }
    match data - free_from {
        0 => Ok(tensors),
        bytes => Err(CheckpointFault::Hole { before: "the end of the file".to_owned(), bytes }),
    }
}

fn check_size(name: &str, dtype: &Dtype, dims: &[u64], begin: u64, end: u64) -> Result<(), CheckpointFault> {
    let Some(found) = end.checked_sub(begin) else {
        return Err(CheckpointFault::Span { tensor: name.to_owned(), begin, end });
    };
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let possible = dims.iter().all(|&dim| dim <= MAX_ELEMENTS);
    let Some(elements) = elements.filter(|&elements| possible && elements <= MAX_ELEMENTS) else {
        return Err(CheckpointFault::Shape { tensor: name.to_owned(), dims: dims.to_vec() });
    };
    let Some(bits) = dtype.bits() else { return Ok(()) };
    let wanted = (elements * bits).div_ceil(8);
    match found == wanted {
        true => Ok(()),
        false => {
            let (tensor, dtype) = (name.to_owned(), dtype.name().to_owned());
            Err(CheckpointFault::Size { tensor, dtype, found, wanted })
        }
    }
}
