//! Writes a safetensors file tensor by tensor: the entries must be known first, the data follow as
//! they are computed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::header::Dtype;

/// Alignment of the data of the first tensor, so that all elements are aligned to their own size.
const ALIGNMENT: usize = 8;

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    pub name: String,
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
}

impl TensorSpec {
    pub fn new(name: impl Into<String>, dtype: Dtype, dims: &[usize]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, dims: dims.to_vec() }
    }

    pub fn bytes(&self) -> u64 {
        let element = self.dtype.kind().map_or(size_of::<u32>(), |kind| kind.block_bytes()) as u64;
        self.dims.iter().map(|&dim| dim as u64).product::<u64>() * element
    }
}

/// A file being written. The data of the entries are written in their order.
pub struct CheckpointWriter {
    file: BufWriter<File>,
    left: u64,
}

impl CheckpointWriter {
    /// Begins a file that will hold `entries`, whose types are F32, F16, BF16 or U32.
    pub fn create(path: &Path, entries: &[TensorSpec], metadata: &[(&str, &str)]) -> io::Result<CheckpointWriter> {
        let header = header(entries, metadata);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        Ok(CheckpointWriter { file, left: entries.iter().map(TensorSpec::bytes).sum() })
    }

    /// Writes the next bytes of data.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let more = || io::Error::other("more data than the header promises");
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(more)?;
        self.file.write_all(bytes)
    }

    /// Ends the file after all data, and waits until it is on disk.
    pub fn finish(self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("less data than the header promises"));
        }
        self.file.into_inner()?.sync_all()
    }
}

fn header(entries: &[TensorSpec], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut table = Map::new();
    if !metadata.is_empty() {
        let metadata: Map<_, _> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        table.insert("__metadata__".to_owned(), metadata.into());
    }
    let mut begin = 0;
    for entry in entries {
        let end = begin + entry.bytes();
        let value = json!({ "dtype": entry.dtype.name(), "shape": entry.dims, "data_offsets": [begin, end] });
        table.insert(entry.name.clone(), value);
        begin = end;
    }
    let mut header = Value::from(table).to_string().into_bytes();
    // The format allows spaces after the JSON for alignment.
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    header
}
