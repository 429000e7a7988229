//! Notes about a model that is used despite something unusual.

use std::path::PathBuf;

use super::prompt_cache::CacheNote;

/// A note for the user of a model.
#[derive(Debug, thiserror::Error)]
pub enum Note {
    #[error(transparent)]
    Model(#[from] ModelNote),
    #[error(transparent)]
    Cache(#[from] CacheNote),
}

/// How a model was interpreted if its files leave something open or contradict themselves.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelNote {
    #[error("{path} was trained for {own} tokens, so the context is {own} instead of {usual}")]
    Context { path: PathBuf, own: usize, usual: usize },

    #[error(
        "{path} does not say how text is cut (tokenizer.ggml.pre): it is cut as {cut} does, as its architecture suggests"
    )]
    Cut { path: PathBuf, cut: &'static str },

    #[error("{path} does not say which tokens are markers: those that look like <|name|> are taken for some")]
    Markers { path: PathBuf },

    #[error("{path} says that block {block} predicts further tokens, but it is an ordinary layer: it is used as one")]
    OrdinaryBlock { path: PathBuf, block: u64 },

    #[error("{path} has only a part of a block that drafts ({tensor:?} is missing), so nothing is drafted")]
    NoDraft { path: PathBuf, tensor: String },
}
