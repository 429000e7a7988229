//! GGUF, the container of llama.cpp's models: typed metadata, then a table of tensors, then their
//! data.
//!
//! The layout follows the GGUF specification, versions 2 and 3, little-endian. A file is untrusted
//! input: every count and size in it is capped by a named constant, checked against the rest of the
//! file, and added with checked arithmetic before any allocation depends on it. [`Header::parse`]
//! is a pure function of the bytes.

mod binder;
mod fault;
mod parts;
mod reader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod types;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use sotto_kernels::BlockType;

use super::LlmError;
use super::checkpoint::map_file;
use super::error::unmapped;
use super::tensors::held_bytes;
use crate::sniff;
pub use binder::Blocks;
pub use fault::GgufFault;
pub(super) use parts::first_of;
use reader::Reader;

/// First bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: [u32; 2] = [2, 3];

/// Limit of metadata entries: the largest models have about 60 entries and 1,200 tensors, mixtures
/// of experts some thousands.
pub const MAX_METADATA: u64 = 4096;
pub const MAX_TENSORS: u64 = 16_384;
/// Limit of array elements: present vocabularies reach 262,144 tokens, their merges about twice
/// that.
pub const MAX_ARRAY: u64 = 1 << 22;
/// Limit of a string in bytes: the longest are chat templates, a few kilobytes.
pub const MAX_STRING: u64 = 1 << 20;
/// Limit of a name in bytes: the specification allows keys of 65,535 and tensor names of 64; real
/// ones stay under 50.
pub const MAX_NAME: u64 = 256;
pub const MAX_DIMS: u32 = 4;
/// Limit of elements of one tensor: far above any single matrix, far below a possible overflow of
/// its bytes.
pub const MAX_ELEMENTS: u64 = 1 << 40;
pub const DEFAULT_ALIGNMENT: u64 = 32;
pub const MAX_ALIGNMENT: u64 = 1 << 16;

/// A model file, or the parts of a split one, mapped into memory, with a checked header.
pub struct Gguf {
    /// Files in order, at least one. The metadata are those of the first.
    files: Vec<Mapped>,
    header: Header,
    blocks: Blocks,
}

/// A file in memory.
struct Mapped {
    path: PathBuf,
    map: Arc<Mmap>,
}

/// Header of a file: everything before the tensor data. Spans point into the file.
#[derive(Debug)]
pub struct Header {
    metadata: HashMap<String, GgufValue>,
    tensors: HashMap<String, GgufTensor>,
}

/// Place and format of a tensor in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    pub name: String,
    /// Dimensions, innermost (contiguous) first as in the file: a matrix W[rows, cols] has `[cols,
    /// rows]`.
    pub dims: Vec<usize>,
    pub kind: BlockType,
    /// Number of the file among those of the model.
    pub file: usize,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    List(List),
}

/// An array of scalars or strings. It stays in the file until it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    of: reader::ValueKind,
    len: usize,
    span: Range<usize>,
}

impl Gguf {
    /// Opens a file. Any part of a split model will do; the others must be beside it.
    pub fn open(path: &Path) -> Result<Self, LlmError> {
        let (file, header) = Mapped::open(path)?;
        let mut gguf = parts::gather(file, header)?;
        gguf.blocks = gguf.count_blocks();
        Ok(gguf)
    }

    /// Kinds of the blocks: layers, and those that predict further tokens.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The file, or the first part.
    pub fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// All files of the model, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// The file that holds the data of `tensor`.
    pub fn map_of(&self, tensor: &GgufTensor) -> &Arc<Mmap> {
        &self.files[tensor.file].map
    }

    /// The data of `tensor`.
    pub fn bytes(&self, tensor: &GgufTensor) -> &[u8] {
        &self.map_of(tensor)[tensor.span.clone()]
    }

    /// File that holds the metadata.
    fn front(&self) -> &[u8] {
        &self.files[0].map
    }

    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.header.tensors.get(name)
    }

    pub fn tensors(&self) -> impl Iterator<Item = &GgufTensor> {
        self.header.tensors.values()
    }

    /// Bytes that the weights will hold once bound: the file, and the growth of its matrices when
    /// they are packed. Draft blocks count if they are bound too.
    pub fn resident_bytes(&self, drafting: bool) -> u64 {
        let grows = |tensor: &GgufTensor| match tensor.dims[..] {
            [cols, rows] => {
                held_bytes(tensor.kind, rows, cols).map_or(0, |held| held.saturating_sub(tensor.span.len()))
            }
            _ => 0,
        };
        let files = self.files.iter().map(|file| file.map.len() as u64).sum();
        self.tensors().fold(files, |sum, tensor| match drafting || !self.is_drafting(&tensor.name) {
            true => sum.saturating_add(grows(tensor) as u64),
            false => sum.saturating_sub(tensor.span.len() as u64),
        })
    }

    /// Reads a whole number; `None` if the key is absent.
    pub fn number(&self, key: &str) -> Result<Option<u64>, LlmError> {
        self.read(key, "a whole number", |value| match *value {
            GgufValue::Unsigned(n) => Some(n),
            GgufValue::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        })
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, LlmError> {
        self.read(key, "a number", |value| match *value {
            GgufValue::Float(x) => Some(x),
            GgufValue::Unsigned(n) => Some(n as f64),
            GgufValue::Signed(n) => Some(n as f64),
            _ => None,
        })
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, LlmError> {
        self.read(key, "true or false", |value| match *value {
            GgufValue::Bool(b) => Some(b),
            _ => None,
        })
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, LlmError> {
        self.read(key, "text", |value| match value {
            GgufValue::Text(span) => std::str::from_utf8(&self.front()[span.clone()]).ok(),
            _ => None,
        })
    }

    /// Reads the strings of an array, in order.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, LlmError> {
        self.read(key, "an array of texts", |value| match value {
            GgufValue::List(list) => list.texts(self.front()),
            _ => None,
        })
    }

    /// Reads the whole numbers of an array, in order.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<i64>>, LlmError> {
        self.read(key, "an array of whole numbers", |value| match value {
            GgufValue::List(list) => list.numbers(self.front()),
            _ => None,
        })
    }

    /// Reads the whole numbers of an array; `None` if the key is absent or holds no such array.
    pub fn numbers_or_none(&self, key: &str) -> Option<Vec<i64>> {
        self.numbers(key).ok().flatten()
    }

    /// Reads the flags of an array, in order.
    pub fn flags(&self, key: &str) -> Result<Option<Vec<bool>>, LlmError> {
        self.read(key, "an array of true or false", |value| match value {
            GgufValue::List(list) => list.flags(self.front()),
            _ => None,
        })
    }

    pub fn has(&self, key: &str) -> bool {
        self.header.metadata.contains_key(key)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        get: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>, LlmError> {
        let Some(value) = self.header.metadata.get(key) else { return Ok(None) };
        let wrong = || self.damaged(GgufFault::WrongType { key: key.to_owned(), wanted });
        get(value).map(Some).ok_or_else(wrong)
    }

    pub fn damaged(&self, fault: GgufFault) -> LlmError {
        LlmError::Damaged { path: self.path().to_owned(), fault }
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> LlmError {
        LlmError::Unsupported { path: self.path().to_owned(), what: what.into(), supported: supported.into() }
    }
}

impl Mapped {
    fn open(path: &Path) -> Result<(Mapped, Header), LlmError> {
        let map = map_file(path).map_err(|why| unmapped(path, why))?;
        let header = Header::parse(&map).map_err(|fault| refused(path, &map, fault))?;
        Ok((Mapped { path: path.to_owned(), map: Arc::new(map) }, header))
    }
}

/// Error for a file whose header cannot be read. An unsupported tensor type is not damage, and
/// neither is another kind of file.
fn refused(path: &Path, bytes: &[u8], fault: GgufFault) -> LlmError {
    let path = path.to_owned();
    match (fault, sniff::known(bytes)) {
        (GgufFault::TensorType { code, .. }, _) => {
            let what = format!("the weight type {}", types::name(code));
            LlmError::Unsupported { path, what, supported: types::read() }
        }
        (GgufFault::NotGguf, Some(what)) => LlmError::OtherFile { path, what },
        (fault, _) => LlmError::Damaged { path, fault },
    }
}

impl Header {
    pub fn parse(bytes: &[u8]) -> Result<Self, GgufFault> {
        let mut reader = Reader::new(bytes);
        check_version(&mut reader)?;
        let tensor_count = capped("tensor count", reader.u64("tensor count")?, MAX_TENSORS)?;
        let entry_count = capped("metadata count", reader.u64("metadata count")?, MAX_METADATA)?;
        let metadata = read_metadata(&mut reader, entry_count)?;
        let alignment = alignment(&metadata)?;
        let mut entries = Vec::new();
        for _ in 0..tensor_count {
            entries.push(TensorEntry::read(&mut reader)?);
        }
        let data_start = (reader.at() as u64).next_multiple_of(alignment);
        let tensors = place_tensors(entries, data_start, alignment, bytes.len() as u64)?;
        Ok(Header { metadata, tensors })
    }
}

fn check_version(reader: &mut Reader) -> Result<(), GgufFault> {
    let magic = reader.take(4, "magic")?;
    if magic != MAGIC {
        return Err(GgufFault::NotGguf);
    }
    let version = reader.u32("version")?;
    match version {
        v if VERSIONS.contains(&v) => Ok(()),
        v if VERSIONS.contains(&v.swap_bytes()) => Err(GgufFault::BigEndian),
        v => Err(GgufFault::Version(v)),
    }
}

fn read_metadata(reader: &mut Reader, count: u64) -> Result<HashMap<String, GgufValue>, GgufFault> {
    let mut metadata = HashMap::new();
    for _ in 0..count {
        let key = reader.name("metadata key")?;
        let value = reader.value(key)?;
        if metadata.insert(key.to_owned(), value).is_some() {
            return Err(GgufFault::Duplicate { what: "metadata key", name: key.to_owned() });
        }
    }
    Ok(metadata)
}

fn alignment(metadata: &HashMap<String, GgufValue>) -> Result<u64, GgufFault> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&GgufValue::Unsigned(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n),
        Some(&GgufValue::Unsigned(n)) => Err(GgufFault::Alignment(n)),
        Some(_) => Err(GgufFault::WrongType { key: "general.alignment".to_owned(), wanted: "a whole number" }),
    }
}

/// A tensor as its table entry declares it, not yet checked against the file.
struct TensorEntry {
    name: String,
    dims: Vec<usize>,
    kind: BlockType,
    bytes: u64,
    offset: u64,
}

impl TensorEntry {
    fn read(reader: &mut Reader) -> Result<Self, GgufFault> {
        let name = reader.name("tensor name")?.to_owned();
        let dim_count = reader.u32("number of dimensions")?;
        if dim_count == 0 || dim_count > MAX_DIMS {
            return Err(GgufFault::Dimensions { tensor: name, count: dim_count });
        }
        let mut dims = Vec::new();
        for _ in 0..dim_count {
            dims.push(reader.u64("dimension")?);
        }
        let code = reader.u32("tensor type")?;
        let offset = reader.u64("tensor offset")?;
        let Some(kind) = BlockType::from_ggml(code) else {
            return Err(GgufFault::TensorType { tensor: name, code });
        };
        let bytes = tensor_bytes(&name, &dims, kind)?;
        // Each dimension is at most MAX_ELEMENTS now, so it fits.
        let dims = dims.into_iter().map(|d| d as usize).collect();
        Ok(TensorEntry { name, dims, kind, bytes, offset })
    }
}

fn tensor_bytes(name: &str, dims: &[u64], kind: BlockType) -> Result<u64, GgufFault> {
    let shape = || GgufFault::Shape { tensor: name.to_owned(), dims: dims.to_vec() };
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim)).ok_or_else(shape)?;
    let block = kind.block_len() as u64;
    if elements == 0 || elements > MAX_ELEMENTS || !dims[0].is_multiple_of(block) {
        return Err(shape());
    }
    (elements / block).checked_mul(kind.block_bytes() as u64).ok_or_else(shape)
}

/// Turns offsets into spans of the file: aligned, inside it, and without overlap.
fn place_tensors(
    mut entries: Vec<TensorEntry>,
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<HashMap<String, GgufTensor>, GgufFault> {
    entries.sort_by_key(|entry| entry.offset);
    let mut tensors = HashMap::with_capacity(entries.len());
    let mut free_from = data_start;
    for TensorEntry { name, dims, kind, bytes, offset } in entries {
        let start = data_start.checked_add(offset);
        let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(bytes)?))) else {
            return Err(GgufFault::OutOfFile { tensor: name, offset, bytes, file_len });
        };
        if end > file_len {
            return Err(GgufFault::OutOfFile { tensor: name, offset, bytes, file_len });
        }
        if !offset.is_multiple_of(alignment) {
            return Err(GgufFault::Misaligned { tensor: name, offset, alignment });
        }
        if start < free_from {
            return Err(GgufFault::Overlap { tensor: name, offset });
        }
        free_from = end;
        // Inside the mapped file, so both fit in usize.
        let tensor = GgufTensor { name: name.clone(), dims, kind, file: 0, span: start as usize..end as usize };
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(GgufFault::Duplicate { what: "tensor", name });
        }
    }
    Ok(tensors)
}

fn capped(what: &'static str, value: u64, limit: u64) -> Result<u64, GgufFault> {
    if value > limit { Err(GgufFault::TooLarge { what, value, limit }) } else { Ok(value) }
}
