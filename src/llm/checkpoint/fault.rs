//! Faults of a checkpoint. [`LlmError`](super::LlmError) adds the path of the file and the next
//! step.

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CheckpointFault {
    #[error("{what} is {value}, the limit is {limit}")]
    TooLarge { what: &'static str, value: u64, limit: u64 },
    #[error("the file ends inside {what}: {wanted} bytes are needed, {left} are left")]
    Truncated { what: &'static str, wanted: u64, left: u64 },
    #[error("it is {0}")]
    OtherFile(&'static str),
    #[error("the JSON is broken: {0}")]
    Json(String),
    #[error("tensor {tensor:?} has the impossible shape {dims:?}")]
    Shape { tensor: String, dims: Vec<u64> },
    #[error("tensor {tensor:?} takes bytes {begin} to {end}, which is no span")]
    Span { tensor: String, begin: u64, end: u64 },
    #[error("tensor {tensor:?} has {found} bytes, but {dtype} values of its shape take {wanted}")]
    Size { tensor: String, dtype: String, found: u64, wanted: u64 },
    #[error("tensor {tensor:?} ends at byte {end} of {data} bytes of data")]
    OutOfFile { tensor: String, end: u64, data: u64 },
    #[error("tensor {tensor:?} begins at byte {begin} and overlaps the tensor before it")]
    Overlap { tensor: String, begin: u64 },
    #[error("{bytes} bytes of data before {before} belong to no tensor")]
    Hole { before: String, bytes: u64 },
    #[error("tensor {0:?} stands in the checkpoint twice")]
    Twice(String),
    #[error("{0:?} is not the plain name of a .safetensors file")]
    ShardName(String),
    #[error("tensor {tensor:?} should be in {shard:?}, but is not")]
    NotInShard { tensor: String, shard: String },
    #[error("{0}")]
    Files(String),
    #[error("{key:?} is missing")]
    MissingKey { key: String },
    #[error("{key:?} is {value}, but {limit}")]
    BadValue { key: String, value: String, limit: String },
    #[error("tensor {tensor:?} is missing")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor:?} is {found}, but {wanted} is needed")]
    Mismatch { tensor: String, found: String, wanted: String },
}
