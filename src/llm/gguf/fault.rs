//! Faults of a GGUF file. [`LlmError`](super::LlmError) adds the path and the next step.

use super::{MAX_ALIGNMENT, MAX_DIMS};

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum GgufFault {
    #[error("not a GGUF file (it does not begin with \"GGUF\")")]
    NotGguf,
    #[error("the GGUF file is big-endian; only little-endian files are read")]
    BigEndian,
    #[error("GGUF version {0} is not known (2 and 3 are)")]
    Version(u32),
    #[error("the file ends inside {what}: {wanted} bytes are needed, {left} are left")]
    Truncated { what: &'static str, wanted: u64, left: u64 },
    #[error("{what} is {value}, the limit is {limit}")]
    TooLarge { what: &'static str, value: u64, limit: u64 },
    #[error("{what} is not UTF-8")]
    NotUtf8 { what: &'static str },
    #[error("metadata {key:?} has the unknown value type {code}")]
    ValueType { key: String, code: u32 },
    #[error("metadata {key:?} is an array of arrays, which no supported model has")]
    NestedArray { key: String },
    #[error("metadata {key:?} is not {wanted}")]
    WrongType { key: String, wanted: &'static str },
    #[error("metadata {key:?} is missing")]
    MissingKey { key: String },
    #[error("metadata {key:?} is {value}, but {limit}")]
    BadValue { key: String, value: String, limit: String },
    #[error("{what} {name:?} appears twice")]
    Duplicate { what: &'static str, name: String },
    #[error("general.alignment is {0}; it must be a power of two up to {MAX_ALIGNMENT}")]
    Alignment(u64),
    #[error("tensor {tensor:?} has {count} dimensions; 1 to {MAX_DIMS} are possible")]
    Dimensions { tensor: String, count: u32 },
    #[error("tensor {tensor:?} has the type {code}, which this engine does not read")]
    TensorType { tensor: String, code: u32 },
    #[error("tensor {tensor:?} has the impossible shape {dims:?}")]
    Shape { tensor: String, dims: Vec<u64> },
    #[error(
        "tensor {tensor:?} at offset {offset} with {bytes} bytes reaches past the end of the file ({file_len} bytes)"
    )]
    OutOfFile { tensor: String, offset: u64, bytes: u64, file_len: u64 },
    #[error("tensor {tensor:?} at offset {offset} is not aligned to {alignment}")]
    Misaligned { tensor: String, offset: u64, alignment: u64 },
    #[error("tensor {tensor:?} at offset {offset} overlaps the tensor before it")]
    Overlap { tensor: String, offset: u64 },
    #[error("tensor {tensor:?} is missing")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor:?} is {found}, but the metadata ask for {wanted}")]
    TensorMismatch { tensor: String, found: String, wanted: String },
}
